"""Evidence and a batch that the tests of models share."""

import pytest
import torch

from probpose.core.batches import PoseBatch
from probpose.data import load
from probpose.evidence.detections import Detections


@pytest.fixture
def detections():
    g = torch.Generator().manual_seed(1)
    scores = torch.ones(4, 16)
    scores[:2, 15] = 0.1
    return Detections.from_keypoints(torch.rand(4, 16, 2, generator=g) * 200 + 100, scores)


@pytest.fixture
def batch(detections):
    poses = torch.randn(4, 17, 3, generator=torch.Generator().manual_seed(2)) * 0.3
    return PoseBatch(detections, poses - poses[:, :1])


@pytest.fixture(scope="module")
def data():
    "Synthetic frames with heatmaps."
    return load("synthetic", split="test", size=64)


@pytest.fixture
def seen(data):
    "Six of them with their heatmaps."
    return data.batch(torch.arange(6), heatmaps=True)


@pytest.fixture
def settings_read():
    "Which settings of its configuration a model reads while it computes features."

    def read(model, batch):
        config, names = model.config, set()

        class Watched:
            def __getattr__(self, name):
                names.add(name)
                return getattr(config, name)

        model.config = Watched()
        try:
            model.features(batch)
        finally:
            model.config = config
        return names

    return read
