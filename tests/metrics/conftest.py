"""Fixtures of this room."""

import pytest
import torch

from probpose.core.devices import make_generator


@pytest.fixture
def g():
    return make_generator(0)


@pytest.fixture
def poses(g):
    target = 0.3 * torch.randn(6, 17, 3, generator=g)
    return target + 0.08 * torch.randn(5, 6, 17, 3, generator=g), target


@pytest.fixture
def bodies(g):
    "Vertices of 4 hypotheses for 3 images, their truth, and the pelvises of both."
    truth = 0.4 * torch.randn(3, 500, 3, generator=g) + torch.tensor([0.1, 0.2, 4.0])
    pred = truth + 0.05 * torch.randn(4, 3, 500, 3, generator=g) + torch.tensor([0.5, 0.0, 1.0])
    return pred, truth, pred[..., :9, :].mean(-2), truth[..., :9, :].mean(-2)
