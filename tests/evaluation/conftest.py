"Frames, and a model whose hypotheses depend on the frame alone."

import numpy as np
import pytest
import torch

from probpose.core.batches import PoseBatch
from probpose.core.devices import make_generator
from probpose.evaluation.evaluate import evaluate


class _Evidence:
    def __init__(self, truth, number):
        self.truth, self.number = truth, number

    def __len__(self):
        return len(self.truth)


class _Frames:
    fingerprint = "frames"

    def __init__(self, n=24, seed=0, labels=True):
        self.poses = 0.3 * torch.randn(n, 17, 3, generator=make_generator(seed)) + torch.tensor([0.5, -1.0, 5.0])
        if labels:
            self.action = np.array(["walk", "sit", "jump"])[np.arange(n) % 3]
            self.subject = np.array(["06", "09"])[np.arange(n) % 2]
            self.hard = torch.arange(n) % 4 == 1

    def __len__(self):
        return len(self.poses)

    def to(self, device):
        return self

    def batch(self, indices):
        return PoseBatch(_Evidence(self.poses[indices], indices), self.poses[indices])


class _Fixed(torch.nn.Module):
    "Hypotheses that depend on the frame alone, so that batches cannot matter."

    has_density = True

    def __init__(self):
        super().__init__()
        self.seen = torch.nn.Parameter(torch.zeros(()))

    def sample(self, detections, n, generator=None):
        assert not self.training and not torch.is_grad_enabled()
        noise = torch.stack(
            [torch.randn(n, 17, 3, generator=torch.Generator().manual_seed(int(i))) for i in detections.number], 1
        )
        return detections.truth + 0.05 * noise + 1.0

    def mode(self, detections):
        return detections.truth * 1.1

    def log_prob(self, poses, detections):
        return -poses.square().sum((-1, -2))


@pytest.fixture(scope="session")
def Evidence():
    return _Evidence


@pytest.fixture(scope="session")
def Frames():
    return _Frames


@pytest.fixture(scope="session")
def Fixed():
    return _Fixed


@pytest.fixture(scope="session")
def values():
    "The values of one metric and statistic, by frame."

    def select(frame, metric, statistic):
        return frame[(frame.metric == metric) & (frame.statistic == statistic)].set_index("frame").value

    return select


@pytest.fixture(scope="session")
def evaluated():
    return evaluate(_Fixed(), _Frames(), n=9, batch_size=7, device="cpu", progress=False)
