"MPI-INF-3DHP: one person in both layouts is one person, seen where the layout says; what is damaged is named."

import h5py
import numpy as np
import pytest
import torch
from scipy.io import savemat

from probpose.core.errors import ConfigError
from probpose.data import load
from probpose.data.mpi_inf_3dhp import SETTINGS, mpi_inf_3dhp_frames, read_3dhp_cameras
from probpose.geometry.conversions import rest_pose
from probpose.geometry.skeletons import H36M_17

TRAIN_ORDER = [4, 23, 24, 25, 18, 19, 20, 3, 5, 6, 7, 9, 10, 11, 14, 15, 16]  # Human3.6M-17 among the 28 joints
TEST_ORDER = [14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4]  # and among the 17 of the test set


def pinhole(points, focal=1500.0, centre=1024.0):
    return focal * points[..., :2] / points[..., 2:] + centre


def cells(values):
    found = np.empty((len(values), 1), dtype=object)
    for k, value in enumerate(values):
        found[k, 0] = value
    return found


def write_train(folder, turning, subject="S1", sequence="Seq1", frames=9, scale=1.1, **changes):
    views = [turning("mpi_inf_3dhp_28", frames, 10.0 * k) for k in range(14)]
    content = {
        "annot2": cells([pinhole(view).reshape(frames, 56) for view in views]),
        "annot3": cells([1000 * view.reshape(frames, 84) for view in views]),
        "univ_annot3": cells([1000 * scale * view.reshape(frames, 84) for view in views]),
        "frames": np.arange(frames)[:, None],
    } | changes
    path = folder / subject / sequence / "annot.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {name: value for name, value in content.items() if value is not None})
    return views


def write_test(folder, turning, takes=tuple(SETTINGS), frames=8, **changes):
    views = {}
    for number, take in enumerate(takes):
        views[take] = view = turning("mpi_inf_3dhp_test_17", frames, 30.0 * number)
        content = {
            "annot2": pinhole(view)[:, None],
            "annot3": 1000 * view[:, None],
            "univ_annot3": 1100 * view[:, None],
            "valid_frame": np.array([1, 0] + [1] * (frames - 2), dtype=float)[:, None],
            "bb_crop": np.zeros((frames, 34)),
            "activity_annotation": np.repeat([1.0, 4.0], frames // 2)[:, None],
        } | changes
        path = folder / "mpi_inf_3dhp_test_set" / take / "annot_data.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            for name, value in content.items():
                if value is not None:
                    file[name] = value
    return views


@pytest.fixture
def all_takes(tmp_path, turning):
    for subject in range(1, 9):
        for sequence in (1, 2):
            views = write_train(tmp_path, turning, f"S{subject}", f"Seq{sequence}")
    return views


def test_train(tmp_path, turning, all_takes):
    frames = mpi_inf_3dhp_frames(tmp_path, "train", universal=False)
    assert len(frames) == 16 * 8 * 3 and set(frames.action) == {"green screen"}
    assert len(set(frames.subject)) == 8 and len(set(frames.clip)) == 16 * 8
    for number in (0, 4, 8):
        part = frames[frames.clip == f"S8/Seq2.{number}"]
        true = all_takes[number][::4][:, TRAIN_ORDER]
        assert np.allclose(part.poses.numpy(), true, atol=1e-4)
        assert np.abs(part.camera.project(part.poses).numpy() - pinhole(true)).max() < 0.1
    first = frames[frames.clip == "S1/Seq1.0"].poses[0]
    assert torch.allclose(first - first[:1], rest_pose("h36m_17"), atol=1e-4)
    left, right, head = (H36M_17.index(name) for name in ("left_wrist", "right_wrist", "head"))
    assert first[right, 1] < first[head, 1] and first[right, 0] < first[left, 0], "the right hand is raised"
    shared = mpi_inf_3dhp_frames(tmp_path, "train", cameras=[3])
    assert np.allclose(shared.poses.numpy()[:3], 1.1 * all_takes[3][::4][:, TRAIN_ORDER], atol=1e-3)
    assert (
        np.abs(shared.camera.project(shared.poses).numpy()[:3] - pinhole(all_takes[3][::4][:, TRAIN_ORDER])).max() < 1
    )


def test_a_training_set_may_have_gaps(tmp_path, turning):
    write_train(tmp_path, turning, "S2", "Seq2")
    with pytest.warns(UserWarning, match="15 of 16.*S1/Seq1"):
        frames = mpi_inf_3dhp_frames(tmp_path, "train", step=1, cameras=[1])
    assert len(frames) == 9 and set(frames.subject) == {"S2"}


CALIBRATION = """Skeletool Camera Calibration File V1.0
name          0
  sensor      10 10
  size        2048 2048
  animated    0
  intrinsic   {focal} 0 1024 0 0 {focal} 1024 0 0 0 1 0 0 0 0 1
  extrinsic   1 0 0 100 0 -1 0 1500 0 0 -1 3000 0 0 0 1
  radial      0
name          1
  sensor      10 10
  size        2048 2048
  animated    0
  intrinsic   1500.0 0 1024 0 0 1500.0 1024 0 0 0 1 0 0 0 0 1
  extrinsic   0 0 1 0 0 -1 0 1500 1 0 0 3000 0 0 0 1
  radial      0
"""


@pytest.mark.filterwarnings("ignore:.*training takes")
def test_calibration(tmp_path, turning, refused):
    write_train(tmp_path, turning)
    path = tmp_path / "S1/Seq1/camera.calibration"
    path.write_text(CALIBRATION.format(focal=1500.0))
    frames = mpi_inf_3dhp_frames(tmp_path, "train", cameras=[0, 1, 2])
    assert torch.allclose(frames.camera.position[0], torch.tensor([-0.1, 1.5, 3.0]), atol=1e-5)
    world = frames.camera.to_world(frames.poses)[0]
    assert world[H36M_17.index("head"), 1] > world[0, 1] + 0.5, "y points up"
    path.write_text(CALIBRATION.format(focal=900.0))
    refused(lambda: mpi_inf_3dhp_frames(tmp_path, "train"), "annot.mat", "camera 0", "px apart")
    for text in ("", "name 0\n  intrinsic 1 2 3\n", "name 0\n  extrinsic x"):
        path.write_text(text)
        refused(lambda: read_3dhp_cameras(path), "camera.calibration")


def test_test_set(tmp_path, turning):
    views = write_test(tmp_path, turning)
    frames = mpi_inf_3dhp_frames(tmp_path, "test", universal=False)
    assert len(frames) == 6 * 7, "one of eight frames of each take is not valid"
    for setting, takes in (("green screen", "12"), ("studio", "34"), ("outdoor", "56")):
        assert set(frames.subject[frames.action == setting]) == {f"TS{k}" for k in takes}
    assert set(frames.clip[frames.subject == "TS3"]) == {"TS3/activity 1", "TS3/activity 4"}
    valid = [0, *range(2, 8)]
    for take, view in views.items():
        part, true = frames[frames.subject == take], view[valid][:, TEST_ORDER]
        assert np.allclose(part.poses.numpy(), true, atol=1e-4)
        assert np.abs(part.camera.project(part.poses).numpy() - pinhole(true)).max() < 0.1
    assert torch.allclose(frames.poses[0] - frames.poses[0, :1], rest_pose("h36m_17"), atol=1e-4)
    data = load("mpi_inf_3dhp", split="test", path=tmp_path)
    assert len(data) == 42 and torch.allclose(data.root, 1.1 * frames.poses[:, 0], atol=1e-4)
    assert set(data.action) == {"green screen", "studio", "outdoor"}


def test_an_incomplete_test_set_is_refused(tmp_path, turning, refused):
    write_test(tmp_path, turning, ("TS1", "TS2", "TS3", "TS5", "TS6"))
    refused(lambda: mpi_inf_3dhp_frames(tmp_path, "test"), "TS4", "vcai.mpi-inf.mpg.de")
    refused(lambda: mpi_inf_3dhp_frames(tmp_path, "train", cameras=[14]), "0 to 13", error=ConfigError)


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(annot2=None), ("annot2", "missing")),
        (dict(univ_annot3=np.zeros((8, 1, 28, 3))), ("univ_annot3", "(8, 1, 28, 3)")),
        (dict(valid_frame=np.zeros((8, 1))), ("valid_frame", "0 are")),
        (dict(valid_frame=np.ones((5, 1))), ("valid_frame", "8 frames")),
        (dict(univ_annot3=np.zeros((8, 1, 17, 3))), ("univ_annot3", "bones of 0")),
        (dict(annot2=np.zeros((8, 1, 17, 2))), ("univ_annot3",)),
    ],
)
def test_damaged_test_files(tmp_path, turning, refused, changes, words):
    write_test(tmp_path, turning, **changes)
    refused(lambda: mpi_inf_3dhp_frames(tmp_path, "test"), "TS1", "annot_data.mat", *words)


@pytest.mark.filterwarnings("ignore:.*training takes")
@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(annot2=None), ("annot2", "missing; found annot3")),
        (dict(annot2=cells([np.zeros((9, 34))] * 14)), ("annot2, cell 0", "56")),
        (dict(univ_annot3=cells([np.zeros((9, 84))] * 3)), ("annot.mat",)),
        (dict(univ_annot3=np.zeros((14, 84))), ("univ_annot3, cell 0",)),
        (dict(univ_annot3=cells([np.array(["os.system('true')"])] * 14)), ("univ_annot3, cell 0",)),
        (dict(annot2=cells([np.full((5, 56), 7.0)] * 14)), ("camera 0", "5, got 9")),
    ],
)
def test_damaged_training_files(tmp_path, turning, refused, changes, words):
    write_train(tmp_path, turning, **changes)
    refused(lambda: mpi_inf_3dhp_frames(tmp_path, "train"), "annot.mat", *words)


@pytest.mark.filterwarnings("ignore:.*training takes")
def test_units_and_truncated_files(tmp_path, turning, refused):
    views = write_train(tmp_path, turning)
    metres = cells([view.reshape(9, 84) for view in views])
    write_train(tmp_path, turning, univ_annot3=metres)
    refused(lambda: mpi_inf_3dhp_frames(tmp_path, "train"), "univ_annot3, camera 0", "look like metres")
    path = tmp_path / "S1/Seq1/annot.mat"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(lambda: mpi_inf_3dhp_frames(tmp_path, "train"), "annot.mat", "cut short")
    write_test(tmp_path, turning)
    path = tmp_path / "mpi_inf_3dhp_test_set/TS1/annot_data.mat"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(lambda: mpi_inf_3dhp_frames(tmp_path, "test"), "annot_data.mat", "HDF5")
