"Frames, bodies and small networks on which both versions are compared. Nothing here tests how fast anything is."

import importlib.util

import pytest
import torch

from probpose.benchmarks.plain.bodies import shared_body
from probpose.data import load
from probpose.models.diffpose.config import diffpose_config
from probpose.models.diffpose.model import DiffPose


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def frames():
    return load("synthetic", size=64)


@pytest.fixture(scope="session")
def body():
    missing = [name for name in ("smplx", "warp", "timm") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install 'probpose[mesh,smplx]'")
    return shared_body()


@pytest.fixture(scope="session")
def small_diffusion():
    "Makes a DiffPose with few weights."

    def make(**changes):
        return DiffPose(diffpose_config("smoke", **{"hidden": 32, "condition_features": 24, "steps": 6} | changes))

    return make
