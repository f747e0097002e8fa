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
from probpose.geometry.skeletons import SMPL_24


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


@pytest.fixture(scope="session")
def smpl_folder(tmp_path_factory, body):
    "A folder with files in SMPL's layout whose resting bodies have the joints of the open one, and hands."
    from smplx.vertex_ids import vertex_ids

    folder = tmp_path_factory.mktemp("smpl")
    rest, rng = body.rest.double().numpy(), np.random.default_rng(0)
    rest = np.concatenate([rest, rest[20:22] + [[0.08, 0, 0], [-0.08, 0, 0]]])
    owner = np.arange(6890) % 24
    vertices = rest[owner] + 0.03 * rng.normal(size=(6890, 3))
    vertices[:24] = rest
    for name, place in (("nose", [0, 0.05, 0.1]), ("leye", [0.03, 0.08, 0.08]), ("reye", [-0.03, 0.08, 0.08])):
        vertices[vertex_ids["smplh"][name]] = rest[15] + place
    for name, place in (("lear", [0.08, 0.05, 0]), ("rear", [-0.08, 0.05, 0])):
        vertices[vertex_ids["smplh"][name]] = rest[15] + place
    vertices[111] = rest[15] + [0, 0.2, 0]  # the crown
    owner[[111, *(vertex_ids["smplh"][name] for name in ("nose", "leye", "reye", "lear", "rear"))]] = 15
    shapes = np.zeros((6890, 3, 10))
    shapes[..., 0] = 0.05 * (vertices - vertices.mean(0))  # the first component is size
    for number, gender in enumerate(("NEUTRAL", "FEMALE", "MALE")):
        np.savez(
            folder / f"SMPL_{gender}.npz",
            v_template=vertices * (1 + 0.03 * number),
            f=np.array([[0, 1, 2]]),
            weights=np.eye(24)[owner],
            J_regressor=np.eye(24, 6890),
            kintree_table=np.stack([[0, *SMPL_24.parents[1:]], np.arange(24)]),
            shapedirs=shapes,
            posedirs=np.zeros((6890, 3, 207)),
        )
    return folder
