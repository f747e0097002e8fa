"""A tiny detector, and pictures that it can learn."""

import pytest
import torch

from probpose.core.batches import PoseBatch
from probpose.core.devices import make_generator
from probpose.vision.hrnet import HeatmapDetector, HeatmapDetectorConfig
from probpose.vision.pictures import heatmap_targets


class Spots:
    "People of spots: every joint of them has a place, in cells of a map of half the picture's size, and a colour."

    fingerprint = "spots"

    def __init__(self, count=32, size=64, seed=0):
        self.keypoints = 3 + (size / 2 - 7) * torch.rand(count, 21, 2, generator=make_generator(seed))
        colours = torch.zeros(21, 3)
        colours[0], colours[1], colours[2] = torch.eye(3)  # nose, and two eyes that change places in the mirror
        drawn = heatmap_targets(self.keypoints * 2 + 0.5, size, 3.0)
        self.images = (255 * torch.einsum("njhw,jc->nhwc", drawn, colours).clamp(0, 1)).to(torch.uint8)

    def __len__(self):
        return len(self.images)

    def to(self, device):
        return self

    def batch(self, index):
        return PoseBatch(
            images=self.images[index],
            keypoints_true=2 * self.keypoints[index] + 0.5,
            rotations=torch.eye(3).expand(len(index), 22, 3, 3),
            betas=torch.zeros(len(index), 11),
        )


@pytest.fixture(scope="session")
def tiny():
    return HeatmapDetectorConfig(
        input_size=64, stem_width=16, head_width=16, zoom=0.05, colour=0.05, noise=0.01, blur=0.0, erase=0.0, lr=4e-3
    )


@pytest.fixture(scope="session")
def spots():
    return Spots


@pytest.fixture(scope="module")
def detector(tiny):
    return HeatmapDetector(tiny)
