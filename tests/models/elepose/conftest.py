"""People, and a small ElePose that was trained on them for a moment."""

import pytest

from probpose.data import load
from probpose.data.planar import with_true_keypoints
from probpose.models.elepose.config import ElePoseConfig
from probpose.models.elepose.model import ElePose
from probpose.training.loop import train_stages
from probpose.training.specs import TrainingConfig

SMALL = dict(hidden=24, prior_hidden=12, prior_blocks=3, bases=10, rotations=5, prior_lr=1e-3, lr=1e-3, branch_blocks=1)
QUICK = TrainingConfig(6, 16, device="cpu", progress=False)


@pytest.fixture(scope="session")
def small():
    "A configuration that costs nothing, with changes."
    return lambda **changes: ElePoseConfig(**SMALL | changes)


@pytest.fixture(scope="session")
def quick():
    return QUICK


@pytest.fixture(scope="session")
def people():
    return load("synthetic", split="train", size=64)


@pytest.fixture(scope="session")
def trained(people):
    return train_stages(ElePose(ElePoseConfig(**SMALL)), with_true_keypoints(people), QUICK).trained
