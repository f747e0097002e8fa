"""Frames with heatmaps."""

import pytest
import torch

from probpose.data import load


@pytest.fixture(scope="module")
def data():
    return load("synthetic", split="test", size=64)


@pytest.fixture
def seen(data):
    return data.batch(torch.arange(6), heatmaps=True)
