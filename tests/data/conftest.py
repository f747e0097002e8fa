"Data that several test files look at."

import math
from pathlib import Path

import numpy as np
import pytest

from probpose.bodies.body import load_body
from probpose.core.errors import DataFileError
from probpose.data import load
from probpose.data.synthetic import synthetic_frames
from probpose.geometry.conversions import rest_pose


@pytest.fixture(scope="session")
def train():
    "Six hundred synthetic people, photographed."
    return load("synthetic", size=600)


@pytest.fixture(scope="session")
def poses():
    "World poses of 64 synthetic people."
    return synthetic_frames("test", size=64).poses


@pytest.fixture(scope="session")
def body():
    "The open body."
    pytest.importorskip("smplx")
    return load_body()


@pytest.fixture(scope="session")
def turn():
    def make(axis, degrees):
        "A rotation matrix, written out."
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        return {
            "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
            "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
            "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
        }[axis]

    return make


@pytest.fixture(scope="session")
def turning(turn):
    def make(name, frames=6, facing=0.0):
        """One person, right hand raised, who turns and walks before a camera: (frames, J, 3) metres, camera axes.

        Frame 0 faces the camera, as far as `facing` degrees allow.
        """
        steps = np.arange(frames)[:, None, None]
        pose = rest_pose(name).double().numpy()
        turned = np.stack([pose @ turn("y", facing + 25 * k).T for k in range(frames)])
        return turned + np.array([0.0, -0.1, 5.0]) + steps / frames * np.array([0.9, 0.3, -1.0])

    return make


@pytest.fixture
def refused():
    def check(call, *words, error=DataFileError):
        "The call raises this error, whose message holds the words."
        with pytest.raises(error) as caught:
            call()
        assert all(word in str(caught.value) for word in words), str(caught.value)

    return check


@pytest.fixture
def trap(tmp_path):
    class Trap:
        "Makes a file where it is unpickled."

        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    yield Trap()
    assert not (tmp_path / "ran").exists()
