"EMDB: bodies of SMPL land on the projected joints of the file; what is damaged is named."

import pickle

import numpy as np
import pytest
import roma
import torch

from probpose.bodies.body import load_body
from probpose.core.errors import ConfigError
from probpose.data import load
from probpose.data.emdb import emdb_bodies, emdb_frames
from probpose.geometry.skeletons import H36M_17, SMPL_24
from probpose.metrics.pose import mpjpe

K = np.array([[1200.0, 0, 720.0], [0, 1200.0, 960.0], [0, 0, 1]])


def forward(rest, vectors, trans):
    "SMPL's joints of one frame, written out: rest joints (24, 3), rotation vectors (24, 3)."
    turns = roma.rotvec_to_rotmat(torch.from_numpy(vectors)).numpy()
    places, whole = [rest[0] + trans], [turns[0]]
    for joint in range(1, 24):
        parent = SMPL_24.parents[joint]
        places.append(places[parent] + whole[parent] @ (rest[joint] - rest[parent]))
        whole.append(whole[parent] @ turns[joint])
    return np.stack(places)


def write_sequence(folder, smpl_folder, name="P3_27_indoor_walk", frames=5, **changes):
    rng = np.random.default_rng(1)
    with np.load(smpl_folder / "SMPL_FEMALE.npz") as file:
        betas = np.array([1.5, *np.zeros(9)])
        rest = file["J_regressor"] @ (file["v_template"] + file["shapedirs"] @ betas)
    vectors = 0.2 * rng.normal(size=(frames, 24, 3))
    vectors[:, 0] = [[0.0, 0.2 * k, 0.0] for k in range(frames)]
    trans = np.array([[0.1 * k, 1.1, 0.2] for k in range(frames)])
    world = np.stack([forward(rest, *pair) for pair in zip(vectors, trans)])
    outer = np.tile(np.eye(4), (frames, 1, 1))
    outer[:, :3, :3] = np.diag([1.0, -1.0, -1.0])
    outer[:, :3, 3] = [[-0.1, 1.2, 4.0 + 0.1 * k] for k in range(frames)]
    seen = np.einsum("tij,tkj->tki", outer[:, :3, :3], world) + outer[:, None, :3, 3]
    kp2d = seen[..., :2] / seen[..., 2:] * 1200 + [720, 960]
    content = {
        "gender": "female",
        "name": name,
        "emdb1": True,
        "emdb2": False,
        "n_frames": frames,
        "good_frames_mask": np.arange(frames) != 1,
        "kp2d": kp2d,
        "camera": {"intrinsics": K, "extrinsics": outer, "width": 1440, "height": 1920},
        "smpl": {
            "poses_root": vectors[:, 0],
            "poses_body": vectors[:, 1:].reshape(frames, 69),
            "trans": trans,
            "betas": betas,
        },
        "bboxes": {"bboxes": np.zeros((frames, 4)), "invalid_idxs": np.array([1])},
    }
    for key, value in changes.items():
        *parents, last = key.split("/")
        place = content
        for parent in parents:
            place = place[parent]
        if value is None:
            del place[last]
        else:
            place[last] = value
    path = folder / "P3" / name.removeprefix("P3_") / f"{name}_data.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))
    return seen, kp2d


@pytest.fixture
def licensed_bodies(smpl_folder, monkeypatch):
    monkeypatch.setenv("PROBPOSE_BODIES", str(smpl_folder))
    return smpl_folder


def test_all_24_joints(tmp_path, licensed_bodies):
    seen, kp2d = write_sequence(tmp_path, licensed_bodies)
    (people,) = emdb_bodies(tmp_path)
    rows = [0, 2, 3, 4]
    assert np.allclose(people.joints, seen[rows], atol=1e-4) and people.joints.shape == (4, 24, 3)
    assert np.abs(people.camera.project(people.joints).numpy() - kp2d[rows]).max() < 0.05
    assert set(people.gender) == {"female"} and people.camera.image_size == (1440, 1920)
    assert people.image[1] == "P3/27_indoor_walk/images/00002.jpg"
    assert set(people.action) == {"indoor_walk"} and set(people.subject) == {"P3"}
    assert mpjpe(people.joints, torch.from_numpy(seen[rows]).float(), protocol="smpl_24").max() < 0.1
    female = load_body(licensed_bodies / "SMPL_FEMALE.npz", num_betas=10)
    assert torch.allclose(people.points("joints", female), people.joints[:, :22], atol=1e-5)


def test_left_is_left(tmp_path, licensed_bodies):
    write_sequence(tmp_path, licensed_bodies)
    data = load("emdb", split="test", path=tmp_path)
    assert len(data) == 4 and data.belief is not None
    first = data.poses[0]
    left, right, head = (H36M_17.index(name) for name in ("left_hip", "right_hip", "head"))
    assert first[left, 0] > 0.03 > -0.03 > first[right, 0] and first[head, 1] < -0.4
    assert torch.allclose(data.camera.to_world(emdb_frames(tmp_path).poses)[0, 0, 1], torch.tensor(1.1), atol=0.3)


def test_parts(tmp_path, licensed_bodies, refused):
    write_sequence(tmp_path, licensed_bodies)
    write_sequence(tmp_path, licensed_bodies, "P3_30_outdoor_stairs", emdb1=False, emdb2=True)
    assert [one.clip[0] for part in (1, 2) for one in emdb_bodies(tmp_path, part=part)] == [
        "P3_27_indoor_walk",
        "P3_30_outdoor_stairs",
    ]
    assert len(list(emdb_bodies(tmp_path, part=None))) == 2
    refused(lambda: list(emdb_bodies(tmp_path, part=3)), "part", error=ConfigError)
    refused(lambda: load("emdb", path=tmp_path), "test of EMDB", error=ConfigError)


def test_another_gender_and_no_body(tmp_path, smpl_folder, licensed_bodies, refused, monkeypatch):
    write_sequence(tmp_path, licensed_bodies)
    male = load_body(smpl_folder / "SMPL_MALE.npz", num_betas=10)
    refused(lambda: emdb_frames(tmp_path, body={"male": male}), "female bodies")
    monkeypatch.delenv("PROBPOSE_BODIES")
    refused(lambda: emdb_frames(tmp_path), "SMPL_FEMALE.npz", "register", "smpl.is.tue.mpg.de")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"kp2d": None}, ("kp2d",)),
        ({"camera/extrinsics": None}, ("camera/extrinsics",)),
        ({"camera": 5}, ("camera/intrinsics", "int")),
        ({"smpl/poses_body": np.zeros((5, 63))}, ("smpl/poses_body", "(5, 69)", "(5, 63)")),
        ({"smpl/poses_body": np.full((5, 69), np.inf)}, ("smpl/poses_body", "finite")),
        ({"smpl/trans": np.zeros((4, 3))}, ("smpl/trans", "(5, 3)")),
        ({"smpl/betas": np.full(10, 99.0)}, ("smpl/betas",)),
        ({"good_frames_mask": np.zeros(5, bool)}, ("good_frames_mask",)),
        ({"gender": "other"}, ("gender", "other")),
        ({"kp2d": np.zeros((5, 24, 2))}, ("kp2d", "female", "px apart")),
        ({"camera/extrinsics": np.tile(np.eye(4), (5, 1, 1))}, ("kp2d",)),
        ({"smpl/trans": np.ones((5, 3)) * 1000}, ("kp2d",)),
    ],
)
def test_damaged_sequences(tmp_path, licensed_bodies, refused, changes, words):
    write_sequence(tmp_path, licensed_bodies, **changes)
    refused(lambda: emdb_frames(tmp_path), "P3_27_indoor_walk_data.pkl", *words)


def test_hostile_and_truncated_files(tmp_path, licensed_bodies, refused, trap):
    write_sequence(tmp_path, licensed_bodies)
    path = tmp_path / "P3/27_indoor_walk/P3_27_indoor_walk_data.pkl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    refused(lambda: emdb_frames(tmp_path), "P3_27_indoor_walk_data.pkl", "cut short")
    path.write_bytes(pickle.dumps({"smpl": trap}))
    refused(lambda: emdb_frames(tmp_path), "P3_27_indoor_walk_data.pkl", "not run")
