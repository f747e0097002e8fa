"AGORA: people of converted data frames land on their pixels; data frames themselves are refused."

import pickle

import numpy as np
import pandas as pd
import pytest

from probpose.data import load
from probpose.data.agora import IMAGE_SIZE, agora_frames, read_agora
from probpose.geometry.skeletons import H36M_17, SMPL_24

COUNT = 6


def content_of(turning, **changes):
    joints = turning("smpl_24", COUNT) + [0.0, 0.0, 6.0]
    focal = np.repeat([3000.0, 5333.0], COUNT // 2)[:, None, None]
    pixels = focal * joints[..., :2] / joints[..., 2:] + (np.array(IMAGE_SIZE) - 1) / 2
    content = {
        "imgPath": np.repeat(["a.png", "b.png"], COUNT // 2),
        "isValid": np.array([1, 1, 0, 1, 1, 1], bool),
        "occlusion": np.array([0, 10, 0, 95, 30, 0.0]),
        "gt_joints_2d": pixels,
        "gt_joints_3d": joints,
    } | changes
    return {key: value for key, value in content.items() if value is not None}


def test_valid_people(tmp_path, turning):
    content = content_of(turning)
    np.savez(tmp_path / "validation_0.npz", **content)
    frames = agora_frames(tmp_path, "test")
    rows = [0, 1, 4, 5]
    assert len(frames) == 4 and frames.clip.tolist() == ["a.png", "a.png", "b.png", "b.png"]
    limbs = H36M_17.both_sides("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
    same = [SMPL_24.landmarks.index(H36M_17.landmarks[joint]) for joint in limbs]
    assert np.allclose(frames.poses[:, limbs], content["gt_joints_3d"][rows][:, same], atol=1e-4)
    seen = frames.camera.project(frames.poses)[:, limbs].numpy()
    assert np.abs(seen - content["gt_joints_2d"][rows][:, same]).max() < 0.1
    assert np.allclose(frames.camera.focal[:, 0], [3000, 3000, 5333, 5333], rtol=1e-4)
    left, right, head = (H36M_17.index(name) for name in ("left_wrist", "right_wrist", "head"))
    assert frames.poses[0, right, 1] < frames.poses[0, head, 1] and frames.poses[0, right, 0] < frames.poses[0, left, 0]
    (tmp_path / "train_0.pkl").write_bytes(pickle.dumps(content))
    assert len(load("agora", path=tmp_path)) == 4, "a pickled dictionary of arrays"


def test_data_frames_are_refused_with_the_way_out(tmp_path, turning, refused):
    frame = pd.DataFrame({key: list(value) for key, value in content_of(turning).items()})
    frame.to_pickle(tmp_path / "train_0.pkl")
    refused(lambda: agora_frames(tmp_path), "train_0.pkl", "pandas", "not run", "numpy.savez")
    refused(lambda: agora_frames(tmp_path, "test"), "validation", "agora.is.tue.mpg.de")


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(gt_joints_3d=None), ("gt_joints_3d is missing",)),
        (dict(gt_joints_3d=np.zeros((COUNT, 17, 3))), ("gt_joints_3d", "22")),
        (dict(gt_joints_3d=np.zeros((COUNT, 24, 3))), ("gt_joints_3d",)),
        (dict(gt_joints_2d=np.zeros((COUNT, 24, 2))), ("gt_joints_2d", "px apart")),
        (dict(isValid=np.zeros(COUNT)), ("isValid", "none")),
        (dict(isValid=np.ones(3)), ("isValid", "(6,)")),
    ],
)
def test_damaged_files(tmp_path, turning, refused, changes, words):
    np.savez(tmp_path / "train_0.npz", **content_of(turning, **changes))
    refused(lambda: read_agora(tmp_path / "train_0.npz"), "train_0.npz", *words)


def test_units_and_hostile_files(tmp_path, turning, refused, trap):
    joints = content_of(turning)["gt_joints_3d"]
    np.savez(tmp_path / "train_0.npz", **content_of(turning, gt_joints_3d=100 * joints))
    refused(lambda: agora_frames(tmp_path), "train_0.npz, gt_joints_3d", "look like centimetres")
    np.savez(tmp_path / "train_0.npz", **content_of(turning, imgPath=np.array([trap] * COUNT, dtype=object)))
    refused(lambda: agora_frames(tmp_path), "train_0.npz, imgPath", "not run")
