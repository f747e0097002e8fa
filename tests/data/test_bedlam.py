"BEDLAM's and HuMR's archives: bodies land on their pixels; what is damaged is named."

import numpy as np
import pytest
import roma
import torch

from probpose.bodies.body import load_body
from probpose.data import load
from probpose.data.bedlam import bedlam_bodies, bedlam_frames, read_bedlam, read_humr
from probpose.data.posed import place_points, rest_pelvis
from probpose.geometry.skeletons import BODY_JOINTS, COCO_17, H36M_17

K = np.array([[1400.0, 0, 640.0], [0, 1400.0, 360.0], [0, 0, 1]])
COUNT = 6


def true_people(columns=165):
    "Rotation vectors in camera axes, shapes, and where joints are: right arm raised, facing the camera."
    body, rng = load_body(), np.random.default_rng(3)
    vectors = 0.1 * rng.normal(size=(COUNT, columns // 3, 3))
    turn = roma.rotmat_to_rotvec(torch.diag(torch.tensor([1.0, -1.0, -1.0])).double()).numpy()
    vectors[:, 0] = turn
    vectors[:, BODY_JOINTS.index("r_shoulder")] = [0.0, 0.0, -1.2]
    betas = 0.5 * rng.normal(size=(COUNT, 11))
    rotations = roma.rotvec_to_rotmat(torch.from_numpy(vectors[:, :22]).float())
    pelvis = torch.tensor([[0.1 * k - 0.3, 0.05, 3.5] for k in range(COUNT)])
    places = {
        name: place_points(body, name, rotations, torch.from_numpy(betas).float(), pelvis).numpy()
        for name in ("joints", "coco_17", "h36m_17")
    }
    translation = pelvis - rest_pelvis(body, torch.from_numpy(betas).float())
    return vectors.reshape(COUNT, columns), betas, places, translation.numpy()


def pixels_of(points):
    return 1400 * points[..., :2] / points[..., 2:] + [640, 360]


def write_bedlam(path, shifted=True, **changes):
    vectors, betas, places, translation = true_people()
    outer = np.tile(np.eye(4), (COUNT, 1, 1))
    outer[:, :3, 3] = [0.2, -0.1, 0.5]
    gtkps = np.concatenate([pixels_of(places["joints"]), np.zeros((COUNT, 105, 2))], 1)
    content = {
        "imgname": np.array([f"seq_{k:06d}/seq_{k:06d}_0000.png" for k in range(COUNT)]),
        "center": gtkps[:, :22].mean(1),
        "scale": np.full(COUNT, 2.5),
        "pose_cam": vectors,
        "pose_world": vectors,
        "shape": betas,
        "trans_cam": translation - (outer[:, :3, 3] if shifted else 0),
        "gtkps": gtkps,
        "cam_int": np.tile(K, (COUNT, 1, 1)),
        "cam_ext": outer,
        "gender": np.array(["female"] * COUNT),
        "sub": np.array(["rp_anna", "rp_bob"] * (COUNT // 2)),
        "motion_info": np.array(["walk"] * COUNT, dtype=object),
    } | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return places


@pytest.mark.parametrize("shifted", [True, False])
def test_bedlam(tmp_path, shifted):
    path = tmp_path / "all_npz_training/scene_6fps.npz"
    places = write_bedlam(path, shifted)
    people = read_bedlam(path, load_body())
    assert np.allclose(people.poses, places["h36m_17"], atol=1e-4), "the reading that matches the pixels"
    assert np.allclose(people.points("joints", load_body()), places["joints"], atol=1e-4)
    assert set(people.subject) == {"rp_anna", "rp_bob"} and people.image[2].startswith("seq_000002")
    assert torch.allclose(people.crop.size, torch.tensor(500.0)) and people.camera.image_size == (1280, 720)
    (again,) = bedlam_bodies(tmp_path, "train", load_body())
    assert again.fingerprint == people.fingerprint


def test_left_is_left_and_motions(tmp_path):
    write_bedlam(tmp_path / "npz_train/scene.npz")
    frames = bedlam_frames(tmp_path, "train", load_body())
    first = frames.poses[0] - frames.poses[0, :1]
    left, right, head = (H36M_17.index(name) for name in ("left_wrist", "right_wrist", "head"))
    assert first[right, 0] < first[left, 0] and first[right, 1] < first[head, 1] + 0.2 < first[left, 1]
    moved = read_bedlam(tmp_path / "npz_train/scene.npz", load_body()).motions()
    assert moved.poses[0, head, 1] - moved.poses[0, 0, 1] > 0.4, "y points up in the world"


def test_without_a_licensed_body(tmp_path, refused, monkeypatch):
    write_bedlam(tmp_path / "npz_train/scene.npz")
    monkeypatch.delenv("PROBPOSE_BODIES", raising=False)
    refused(lambda: load("bedlam", path=tmp_path), "SMPLX_NEUTRAL.npz", "smpl-x.is.tue.mpg.de")
    refused(lambda: bedlam_frames(tmp_path, "test"), "*val*", "bedlam.is.tue.mpg.de")


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(pose_cam=None), ("pose_cam is missing",)),
        (dict(pose_cam=np.zeros((COUNT, 63))), ("pose_cam", "66")),
        (dict(pose_cam=np.full((COUNT, 165), np.nan)), ("pose_cam", "finite")),
        (dict(trans_cam=np.zeros((5, 3))), ("trans_cam", "(6, 3)")),
        (dict(gtkps=np.zeros((COUNT, 17, 2))), ("gtkps", "22 joints")),
        (dict(gtkps=np.zeros((COUNT, 127, 2))), ("gtkps", "px apart")),
        (dict(cam_int=np.zeros((COUNT, 3))), ("cam_int", "(6, 3, 3)")),
        (dict(shape=np.full((COUNT, 11), 70.0)), ("shape",)),
        (dict(center=np.array(["a"] * COUNT)), ("center",)),
    ],
)
def test_damaged_archives(tmp_path, refused, changes, words):
    path = tmp_path / "train/scene.npz"
    write_bedlam(path, **changes)
    refused(lambda: read_bedlam(path, load_body()), "scene.npz", *words)


def test_hostile_and_truncated_archives(tmp_path, refused, trap):
    path = tmp_path / "train/scene.npz"
    write_bedlam(path, sub=np.array([trap] * COUNT, dtype=object))
    refused(lambda: read_bedlam(path, load_body()), "scene.npz, sub", "not run")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(lambda: read_bedlam(path, load_body()), "scene.npz", "cut short")


def write_humr(path, columns=165, **changes):
    vectors, betas, places, _ = true_people(columns)
    points = pixels_of(places["coco_17"])
    seen = np.concatenate([points[..., ::-1], np.full((COUNT, 17, 1), 0.9)], -1)
    seen[0, 9] = [5, 5, 0.02]
    content = {
        "imgname": np.array([f"{k}.jpg" for k in range(COUNT)]),
        "center": points.mean(1),
        "scale": np.full(COUNT, 2.0),
        "pose_cam": vectors,
        "shape": betas,
        "vitpose": seen,
        "gt_coco_25j": np.zeros((COUNT, 25, 2)),
        "cam_int": np.tile(K, (COUNT, 1, 1)),
        "orig_shape": np.tile([720, 1280], (COUNT, 1)),
        "gender": np.array(["m", "f"] * (COUNT // 2)),
    } | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return places, points


def test_humr(tmp_path):
    path = tmp_path / "3dpw_test.npz"
    places, points = write_humr(path)
    people = read_humr(path, load_body())
    assert np.allclose(people.poses, places["h36m_17"], atol=2e-2), "the place is found by the pixels"
    relative = places["h36m_17"] - places["joints"][:, :1]
    assert np.allclose(people.poses - people.pelvis[:, None], relative, atol=1e-4)
    found = people.detections.crop.from_map(people.detections.keypoints)
    knee = points[1, COCO_17.index("left_knee")]
    assert np.allclose(found[1, 4], knee, atol=0.05), "x and y are told apart"
    data = bedlam_frames(path, "test", load_body())
    assert data.detections is not None and len(data) == COUNT


def test_humr_with_gendered_bodies(tmp_path):
    path = tmp_path / "emdb.npz"
    places, _ = write_humr(path, 72, valid_emdb_mask=np.array([1, 1, 0, 1, 1, 1], bool), cam_int=None)
    body = load_body()
    people = read_humr(path, {"male": body, "female": body})
    assert people.image.tolist() == ["0.jpg", "1.jpg", "3.jpg", "4.jpg", "5.jpg"]
    assert people.gender.tolist() == ["male", "female", "female", "male", "female"]
    relative = (places["h36m_17"] - places["joints"][:, :1])[[0, 1, 3, 4, 5]]
    assert np.allclose(people.poses - people.pelvis[:, None], relative, atol=1e-4)
    assert torch.allclose(people.camera.focal, torch.tensor(np.hypot(720, 1280), dtype=torch.float32))
    write_humr(path, 72, gender=np.array([0, 1, -1, 0, 1, 0]))
    assert set(read_humr(path, {g: body for g in ("male", "female", "neutral")}).gender) == {
        "male",
        "female",
        "neutral",
    }


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(vitpose=np.zeros((COUNT, 25, 3))), ("vitpose", "17")),
        (
            dict(vitpose=np.random.default_rng(0).uniform(0, 700, (COUNT, 17, 3)) * [1, 1, 0.001] + [0, 0, 0.3]),
            ("vitpose",),
        ),
        (dict(cam_int=None, orig_shape=None), ("cam_int or orig_shape",)),
        (dict(imgname=None), ("imgname",)),
    ],
)
def test_damaged_humr_files(tmp_path, refused, changes, words):
    path = tmp_path / "a.npz"
    write_humr(path, **changes)
    refused(lambda: read_humr(path, load_body()), "a.npz", *words)


def test_swapped_detections_are_noticed(tmp_path, refused):
    path = tmp_path / "a.npz"
    _, points = write_humr(path)
    write_humr(path, vitpose=np.concatenate([points, np.full((COUNT, 17, 1), 0.9)], -1))
    refused(lambda: read_humr(path, load_body()), "a.npz, vitpose", "px apart")
