"Human3.6M: one person in every layout is one person, seen where the layout says; what is damaged is named."

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import roma
import torch

from probpose.bodies.body import load_body
from probpose.core.batches import tensor_leaves
from probpose.core.errors import ConfigError
from probpose.data import load
from probpose.data.captured import make_captured
from probpose.data.h36m import ACTIONS, TRAIN_SUBJECTS, find_h36m, h36m_frames
from probpose.data.h36m_cameras import CAMERAS
from probpose.data.motions import bone_angles, load_motions
from probpose.evidence.gaussians import render_gaussians
from probpose.geometry.conversions import convert, rest_pose
from probpose.geometry.skeletons import H36M_17, H36M_17_OF_32, MPII_16
from probpose.studies import open_study

FOCAL, CENTRE = np.array([1150.0, 1140.0]), np.array([505.0, 498.0])
RADIAL, TANGENTIAL = np.array([-0.2, 0.2, 0.01]), np.array([0.001, -0.002])


def videopose_pixels(points):
    "VideoPose3D's projection, written out."
    rays = points[..., :2] / points[..., 2:]
    r2 = (rays**2).sum(-1, keepdims=True)
    radial = 1 + RADIAL[0] * r2 + RADIAL[1] * r2**2 + RADIAL[2] * r2**3
    tangential = (TANGENTIAL * rays).sum(-1, keepdims=True)
    return FOCAL * (rays * (radial + tangential) + TANGENTIAL * r2) + CENTRE


def pinhole(points, focal=FOCAL, centre=CENTRE):
    return focal * points[..., :2] / points[..., 2:] + centre


def place_of(camera):
    "Quaternion (w, x, y, z) from a camera's axes to the world's (z up), and where it stands, metres."
    angle = np.deg2rad(90 * camera + 20)
    forward = np.array([-np.cos(angle), -np.sin(angle), 0.0])
    down = np.array([0.0, 0.0, -1.0])
    axes = np.stack([np.cross(down, forward), down, forward], -1)
    x, y, z, w = roma.rotmat_to_unitquat(torch.from_numpy(axes)).tolist()
    return [w, x, y, z], axes, -5 * forward + np.array([0.3, 0.1, 1.6])


def camera_tables(subjects):
    inner = [
        dict(
            id=name,
            center=CENTRE.tolist(),
            focal_length=FOCAL.tolist(),
            radial_distortion=RADIAL.tolist(),
            tangential_distortion=TANGENTIAL.tolist(),
        )
        for name in CAMERAS
    ]
    outer = [dict(orientation=place_of(k)[0], translation=(1000 * place_of(k)[2]).tolist()) for k in range(4)]
    tables = {"h36m_cameras_intrinsic_params": inner}
    return tables | {"h36m_cameras_extrinsic_params": {s: outer for s in subjects} | {"S2": [{}] * 4}}


def write_videopose3d(
    folder, turning, subjects=("S9", "S11"), takes=("Directions 1", "Photo"), frames=70, detections=None
):
    "Files of VideoPose3D; gives what every camera sees: (subject, take, camera) → (frames, 32, 3)."
    positions, seen, views = {}, {}, {}
    for subject in subjects:
        for number, take in enumerate(takes):
            _, axes, place = place_of(0)
            world = turning("h36m_32", frames, 10.0 * number) @ axes.T + place
            positions.setdefault(subject, {})[take] = world.astype(np.float32)
            for k in range(4):
                _, axes, place = place_of(k)
                views[subject, take, k] = (world - place) @ axes
            flat = [videopose_pixels(views[subject, take, k][:, list(H36M_17_OF_32)]) for k in range(4)]
            seen.setdefault(subject, {})[take] = [one.astype(np.float32) for one in flat]
    np.savez_compressed(folder / "data_3d_h36m.npz", positions_3d=positions)
    about = {"num_joints": 17, "keypoints_symmetry": [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]]}
    np.savez_compressed(folder / "data_2d_h36m_gt.npz", positions_2d=seen, metadata=about)
    if detections:
        longer = {
            s: {t: [np.concatenate([c, c[-2:]]) + 1 for c in clips] for t, clips in takes.items()}
            for s, takes in seen.items()
        }
        about |= {"layout_name": detections}
        np.savez_compressed(folder / "data_2d_h36m_cpn.npz", positions_2d=longer, metadata=about)
    (folder / "cameras.json").write_text(json.dumps(camera_tables(subjects)))
    return views


def test_videopose3d(tmp_path, turning):
    views = write_videopose3d(tmp_path, turning)
    frames = h36m_frames(tmp_path, "test")
    assert len(frames) == 2 * 2 * 4 * 2, "every 64th of 70 frames of two takes of two people from four cameras"
    assert set(frames.action) == {"Directions", "Photo"} and set(frames.subject) == {"S9", "S11"}
    for (subject, take, k), points in views.items():
        rows = frames.clip == f"{subject}/{take}.{CAMERAS[k]}"
        true = points[::64][:, list(H36M_17_OF_32)]
        part = frames[rows]
        assert np.allclose(part.poses.numpy(), true, atol=1e-4)
        assert np.abs(part.camera.project(part.poses).numpy() - videopose_pixels(true)).max() < 0.1
        assert part.camera.image_size == (1000, 1002)


def test_videopose3d_left_up_and_world(tmp_path, turning):
    write_videopose3d(tmp_path, turning, takes=("Walking",))
    first = h36m_frames(tmp_path, "test")[0]  # the camera that the person faces at first
    seen = first.poses[0] - first.poses[0, :1]
    assert torch.allclose(seen, rest_pose("h36m_17"), atol=1e-4)
    left, right = (H36M_17.index(f"{side}_wrist") for side in ("left", "right"))
    assert seen[right, 1] < seen[H36M_17.index("head"), 1] and seen[right, 0] < 0 < seen[left, 0]
    world = first.camera.to_world(first.poses)[0]
    assert world[H36M_17.index("head"), 1] > world[H36M_17.index("pelvis"), 1] + 0.5, "y points up in our world"
    assert first.camera.position[0, 1] == pytest.approx(1.6, abs=1e-4)


def test_postures_of_a_body(tmp_path, turning):
    write_videopose3d(tmp_path, turning)
    motions = load_motions("h36m", "test", size=6, path=tmp_path)
    assert len(motions) == 6 and motions.poses[0, H36M_17.index("head"), 1] > motions.poses[0, 0, 1] + 0.4
    assert bone_angles(load_body(), motions)[:, [1, 2, 4, 5, 11, 12, 14, 15]].median() < 5, "limbs point the same way"


def test_steps_and_splits(tmp_path, turning, refused):
    write_videopose3d(tmp_path, turning, subjects=("S1", "S5", "S6", "S7", "S8"), takes=("Walking",), frames=10)
    frames = h36m_frames(tmp_path, "train")
    assert len(frames) == 5 * 4 * 3 and sorted(set(frames.subject)) == ["S1", "S5", "S6", "S7", "S8"]
    assert len(h36m_frames(tmp_path, "train", step=1)) == 5 * 4 * 10
    refused(lambda: h36m_frames(tmp_path, "test"), "S9", "complete")
    refused(lambda: h36m_frames(tmp_path, "train", step=0.5), "step", error=ConfigError)


def test_the_damaged_sequence_is_left_out(tmp_path, turning):
    write_videopose3d(tmp_path, turning, ("S9", "S11"), takes=("Directions", "Directions 1"), frames=3)
    clips = set(h36m_frames(tmp_path, "test").clip)
    assert len(clips) == 15 and "S11/Directions.54138969" not in clips
    assert {"S9/Directions.54138969", "S11/Directions 1.54138969", "S11/Directions.55011271"} <= clips


def test_detections_of_videopose3d(tmp_path, turning, refused):
    views = write_videopose3d(tmp_path, turning, detections="h36m")
    data = load("h36m", split="test", path=tmp_path)
    assert len(data) == 32 and data.belief is None and data.split == "test" and data.name == "h36m"
    true = convert(
        torch.from_numpy(videopose_pixels(views["S9", "Photo", 2][64:65][:, list(H36M_17_OF_32)])), H36M_17, MPII_16
    )
    row = data[(data.clip == f"S9/Photo.{CAMERAS[2]}")][1]
    assert torch.allclose(row.crop.from_map(row.detections.keypoints).double(), true + 1, atol=1e-2)
    assert torch.allclose(row.crop.from_map(row.keypoints_true).double(), true, atol=0.1)
    np.savez(tmp_path / "data_2d_h36m_other.npz", positions_2d={})
    refused(lambda: h36m_frames(tmp_path, "test"), "data_2d_h36m_cpn.npz", "data_2d_h36m_other.npz")
    assert len(h36m_frames(tmp_path / "data_2d_h36m_cpn.npz", "test")) == 32
    refused(lambda: h36m_frames(tmp_path / "data_2d_h36m_other.npz", "test"), "metadata", "layout_name")


def test_simulated_detections_see_through_the_own_camera(tmp_path, turning):
    write_videopose3d(tmp_path, turning, frames=200)
    data, again = (load("h36m", split="test", path=tmp_path, size=20) for _ in range(2))
    assert data.fingerprint == again.fingerprint and len(data) == 20 and data.belief is not None
    landed = data.crop.to_map(convert(data.image_points(), H36M_17, MPII_16))
    assert torch.allclose(landed, data.keypoints_true, atol=1e-2)
    hard = load("h36m", split="hard", path=tmp_path)
    assert hard.split == "hard" and hard.hard.all() and len(hard) < 400


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda p: p["S9"]["Photo"].__imul__(1000), ("S9/Photo", "look like millimetres")),
        (lambda p: p["S9"].update(Photo=p["S9"]["Photo"][:, :16]), ("S9/Photo", "(70, 16, 3)")),
        (lambda p: p["S9"].update(Photo=[1, 2]), ("S9/Photo", "(2,)")),
        (lambda p: p["S9"]["Photo"].__setitem__((5, 26), p["S9"]["Photo"][5, 25]), ("frame 5", "RShoulder – RElbow")),
        (lambda p: p["S9"]["Photo"].__setitem__((5, 26), np.nan), ("S9/Photo", "frame 5", "NaN")),
        (lambda p: p["S9"].update(Juggling=p["S9"]["Photo"]), ("S9/Juggling", "Directions")),
        (lambda p: p.update(S9=3), ("positions_3d", "S9")),
    ],
)
def test_damaged_positions(tmp_path, turning, refused, damage, words):
    write_videopose3d(tmp_path, turning)
    path = tmp_path / "data_3d_h36m.npz"
    positions = np.load(path, allow_pickle=True)["positions_3d"].item()
    damage(positions)
    np.savez(path, positions_3d=positions)
    refused(lambda: h36m_frames(tmp_path, "test", step=1), "data_3d_h36m.npz", *words)


def test_wrong_cameras_are_noticed(tmp_path, turning, refused):
    write_videopose3d(tmp_path, turning)
    tables = camera_tables(["S9"])
    outer = tables["h36m_cameras_extrinsic_params"]["S9"]
    outer[0], outer[1] = outer[1], outer[0]
    (tmp_path / "cameras.json").write_text(json.dumps(tables))
    refused(lambda: h36m_frames(tmp_path, "test"), "data_2d_h36m_gt.npz", "S9/Directions 1/0")
    (tmp_path / "cameras.json").unlink()
    refused(lambda: h36m_frames(tmp_path, "test"), "h36m_dataset.py", "camera-parameters.json")


def test_truncated_and_hostile_archives(tmp_path, turning, refused, trap):
    write_videopose3d(tmp_path, turning)
    path = tmp_path / "data_3d_h36m.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(lambda: h36m_frames(tmp_path, "test"), "data_3d_h36m.npz", "cut short")
    np.savez(path, positions_3d=np.array({"S9": {"Photo": trap}}, dtype=object))
    refused(lambda: h36m_frames(tmp_path, "test"), "data_3d_h36m.npz, positions_3d", "Path.touch", "not run")
    np.savez(path, positions=np.zeros(3))
    refused(lambda: h36m_frames(tmp_path, "test"), "positions_3d is missing; found positions")


def write_fetched(folder, turning, who="S9", action="Walking", frames=30, **changes):
    "One file of h36m-fetch; gives what the cameras see, millimetres."
    views = [turning("h36m_32", frames, 15.0 * k)[::5] for k in range(2)]
    rows = len(views[0])
    content = {
        "pose/2d": np.concatenate([videopose_pixels(view) for view in views]),
        "pose/3d-univ": 1000 * np.concatenate(views),
        "camera": np.repeat([int(name) for name in CAMERAS[:2]], rows),
        "frame": np.tile(np.arange(0, frames, 5) + 1, 2),
        "subject": np.full(2 * rows, int(who[1:])),
        "action": np.full(2 * rows, 13),
        **{f"intrinsics/{name}": np.array([FOCAL[0], CENTRE[0], FOCAL[1], CENTRE[1]]) for name in CAMERAS[:2]},
    } | changes
    path = folder / "processed" / who / action / "annot.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            if values is not None:
                file[name] = values
    return views


def test_h36m_fetch(tmp_path, turning):
    views = write_fetched(tmp_path, turning, frames=140)
    write_fetched(tmp_path, turning, "S11")
    frames = h36m_frames(tmp_path, "test")
    frames = frames[frames.subject == "S9"]
    assert frames.clip.tolist() == 3 * [f"S9/Walking.{CAMERAS[0]}"] + 3 * [f"S9/Walking.{CAMERAS[1]}"]
    for k in range(2):
        true = views[k][[0, 13, 26]][:, list(H36M_17_OF_32)]  # frames 1, 66 and 131 of 140
        part = frames[3 * k : 3 * k + 3]
        assert np.allclose(part.poses.numpy(), true, atol=1e-4)
        assert np.abs(part.camera.project(part.poses).numpy() - videopose_pixels(true)).max() < 0.1
    assert torch.allclose(frames.poses[0] - frames.poses[0, :1], rest_pose("h36m_17"), atol=1e-4)
    assert len(load("h36m", split="test", path=tmp_path)) == 8


def test_train_subjects_of_h36m_fetch(tmp_path, turning, refused):
    for who in ("S1", "S5", "S6", "S7"):
        write_fetched(tmp_path, turning, who)
    refused(lambda: h36m_frames(tmp_path, "train"), "S8", "complete")
    write_fetched(tmp_path, turning, "S8")
    assert len(h36m_frames(tmp_path, "train")) == 5 * 2 * 6


@pytest.mark.parametrize(
    "changes, words",
    [
        (lambda c: {"pose/2d": None}, ("pose/2d", "missing")),
        (lambda c: {"pose/3d-univ": c["pose/3d-univ"] / 1000}, ("pose/3d-univ", "look like metres")),
        (lambda c: {"pose/2d": c["pose/2d"][:-1]}, ("pose/2d (11, 32, 2)",)),
        (lambda c: {"pose/3d-univ": c["pose/3d-univ"] * [1, -1, 1]}, (CAMERAS[0], "the other way")),
        (lambda c: {"pose/3d-univ": c["pose/3d-univ"][..., [0, 2, 1]]}, (CAMERAS[0],)),
        (lambda c: {"subject": c["subject"] * 0 + 5}, ("subject", "S9")),
        (lambda c: {f"intrinsics/{CAMERAS[1]}": np.array([1150.0, 1140.0, 505.0, 498.0])}, ("fx, cx, fy, cy",)),
        (lambda c: {"pose/2d": np.array(["x"] * 12, dtype=h5py.string_dtype())}, ("pose/2d", "object")),
    ],
)
def test_damaged_fetched_files(tmp_path, turning, refused, changes, words):
    write_fetched(tmp_path, turning)
    with h5py.File(tmp_path / "processed/S9/Walking/annot.h5") as file:
        content = {key: file[key][()] for key in ("pose/2d", "pose/3d-univ", "subject")}
    write_fetched(tmp_path, turning, **changes(content))
    refused(lambda: h36m_frames(tmp_path, "test"), "annot.h5", *words)


def write_cdf(path, values):
    cdfwrite = pytest.importorskip("cdflib").cdfwrite
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    file = cdfwrite.CDF(path, cdf_spec={"Compressed": 0})
    about = {"Variable": "Pose", "Data_Type": 44, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": [*values.shape]}
    file.write_var(about, var_data=values.astype(np.float32)[None])
    file.close()


def write_cdfs(folder, turning, names, frames=20, flat=True):
    views = {}
    for number, name in enumerate(names):
        views[name] = turning("h36m_32", frames, 20.0 * number)
        for home in (folder / "S9/MyPoseFeatures", folder / "S11/MyPoseFeatures"):
            write_cdf(home / f"D3_Positions_mono/{name}.cdf", 1000 * views[name].reshape(frames, 96))
            if flat:
                write_cdf(home / f"D2_Positions/{name}.cdf", videopose_pixels(views[name]).reshape(frames, 64))
    return views


def test_cdf(tmp_path, turning, refused):
    names = ["Directions.54138969", "Directions.55011271", "WalkingDog 1.54138969"]
    views = write_cdfs(tmp_path, turning, names)
    frames = h36m_frames(tmp_path, "test", step=5)
    frames = frames[frames.subject == "S11"]
    assert sorted(set(frames.clip)) == ["S11/Directions.55011271", "S11/WalkingDog 1.54138969"] and len(frames) == 8
    assert set(frames.action) == {"Directions", "WalkDog"}
    true = views["WalkingDog 1.54138969"][::5][:, list(H36M_17_OF_32)]
    part = frames[frames.action == "WalkDog"]
    assert np.allclose(part.poses.numpy(), true, atol=1e-4)
    assert np.abs(part.camera.project(part.poses).numpy() - videopose_pixels(true)).max() < 0.1


def test_cdf_with_a_camera_file(tmp_path, turning, refused):
    write_cdfs(tmp_path, turning, ["Walking.54138969"], flat=False)
    refused(lambda: h36m_frames(tmp_path, "test"), "Walking.54138969.cdf", "D2_Positions", "h36m_dataset.py")
    (tmp_path / "cameras.json").write_text(json.dumps(camera_tables(["S9", "S11"])))
    frames = h36m_frames(tmp_path, "test")
    assert torch.allclose(frames.camera.focal[0], torch.from_numpy(FOCAL).float())
    assert frames.camera.position[0, 1] == pytest.approx(1.6, abs=1e-4)
    write_cdfs(tmp_path, turning, ["Walking.54138969"])
    assert len(h36m_frames(tmp_path, "test")) == 2, "the pixels beside agree with the camera"


def test_damaged_cdf(tmp_path, turning, refused):
    write_cdfs(tmp_path, turning, ["Walking.54138969"])
    path = tmp_path / "S11/MyPoseFeatures/D3_Positions_mono/Walking.54138969.cdf"
    whole = path.read_bytes()
    path.write_bytes(pickle.dumps(whole))
    refused(lambda: h36m_frames(tmp_path, "test"), "Walking.54138969.cdf", "CDF")
    write_cdf(path, np.zeros((20, 51)))
    refused(lambda: h36m_frames(tmp_path, "test"), "Walking.54138969.cdf, Pose", "96")
    write_cdf(path, np.zeros((20, 96)))
    refused(lambda: h36m_frames(tmp_path, "test"), "Walking.54138969.cdf, Pose", "bones of 0")
    write_cdf(path, 1000 * turning("h36m_32", 19).reshape(19, 96))
    refused(lambda: h36m_frames(tmp_path, "test"), "D2_Positions", "19 frames")


def coordinate_major(points):
    return points.transpose(0, 2, 1).reshape(len(points), -1)


def write_poseflow(folder, turning, subjects=("S9", "S11"), frames=5, name="testset_h36m.pickle", **changes):
    "PoseFlow's pickle; gives what it says of every take, in the order of the published tables."
    tree, takes = {}, []
    rng = np.random.default_rng(0)
    for subject in subjects:
        tree[subject] = {action: {"0": {c: {} for c in CAMERAS}, "1": {c: {} for c in CAMERAS}} for action in ACTIONS}
        for action in ("Directions", "Walking"):
            for sub in "01":
                for k, camera in enumerate(CAMERAS):
                    if (subject, action, sub, camera) == ("S11", "Directions", "0", "54138969"):
                        continue
                    poses = turning("h36m_17", frames, 30.0 * k)
                    points = convert(torch.from_numpy(pinhole(poses, 1145.0, [500.0, 501.0])), H36M_17, MPII_16)
                    found = (points.numpy() - [500, 480]) * 64 / 700 + 31.5
                    fit = np.concatenate(
                        [
                            rng.uniform(0.3, 1.1, (frames, 16, 1)),
                            found,
                            rng.uniform(1.8, 4.5, (frames, 16, 1)),
                            rng.uniform(-3, 3, (frames, 16, 1)),
                            rng.uniform(1.8, 4.5, (frames, 16, 1)),
                            np.full((frames, 16, 1), 0.01),
                        ],
                        -1,
                    )
                    fit[0, 3, 3 + 2 * (k % 2)] = 5.5
                    entry = {
                        "imgpath": [f"/{subject}/{action} {sub}.{camera}/{4 * i}.jpg" for i in range(1, frames + 1)],
                        "3d_gt": coordinate_major(1000 * poses),
                        "2d_hrnet": coordinate_major(found).astype(np.float32),
                        "gaussfit": fit.reshape(frames, 112),
                    } | changes
                    tree[subject][action][sub][camera] = {k: v for k, v in entry.items() if v is not None}
                    takes.append(SimpleNamespace(subject=subject, action=action, poses=poses, fit=fit, found=found))
    (folder / name).write_bytes(pickle.dumps(tree, protocol=4))
    return takes


def test_poseflow_takes_every_16th_frame_of_an_action(tmp_path, turning):
    takes = write_poseflow(tmp_path, turning)
    frames = h36m_frames(tmp_path, "test")
    for action, count in (("Directions", 3), ("Walking", 3)):  # 75 and 80 frames
        whole = np.concatenate([take.poses for take in takes if take.action == action])[::16]
        part = frames[frames.action == action]
        assert len(part) == len(whole) and count <= len(whole)
        assert np.allclose(part.poses.numpy(), whole, atol=1e-4)
    assert len(h36m_frames(tmp_path, "test", step=4)) == 155
    assert torch.allclose(frames.poses[0] - frames.poses[0, :1], rest_pose("h36m_17"), atol=1e-4)


def test_poseflow_evidence(tmp_path, turning):
    takes = write_poseflow(tmp_path, turning)
    data = load("h36m", split="test", path=tmp_path, seed=1)
    assert data.seed == 1 and data.detections.skeleton == "mpii_16"
    first, bells = takes[0], data.detections.gaussians
    assert np.allclose(data.detections.keypoints[0], first.found[0], atol=1e-4)
    assert np.allclose(bells.mean[0], first.found[0], atol=1e-4)
    assert np.allclose(data.detections.scores[0], first.fit[0, :, 0].clip(0, 1), atol=1e-6)
    y, x = np.mgrid[:64, :64]
    amplitude, x0, y0, wide, theta, high, _ = first.fit[0, 3]
    a = np.cos(theta) ** 2 / (2 * wide**2) + np.sin(theta) ** 2 / (2 * high**2)
    b = -np.sin(2 * theta) / (4 * wide**2) + np.sin(2 * theta) / (4 * high**2)
    c = np.sin(theta) ** 2 / (2 * wide**2) + np.cos(theta) ** 2 / (2 * high**2)
    bell = amplitude * np.exp(-(a * (x - x0) ** 2 + 2 * b * (x - x0) * (y - y0) + c * (y - y0) ** 2))
    assert np.allclose(render_gaussians(bells[0])[3], bell, atol=1e-4)
    assert np.allclose(data.keypoints_true[0], first.found[0], atol=0.05), "the crop is found again"
    assert data.with_beliefs().belief.weights.shape[-1] == 2


def test_the_hard_subset_is_of_every_stored_frame(tmp_path, turning):
    takes = write_poseflow(tmp_path, turning)
    hard = load("h36m", split="hard", path=tmp_path)
    assert len(hard) == len(takes), "the first frame of every take has a width of 5.5 px"
    assert hard.hard.all() and len(load("h36m", split="hard", path=tmp_path, size=7)) == 7


def test_a_chapter_takes_it(tmp_path, turning):
    write_poseflow(tmp_path, turning, frames=40)
    write_poseflow(tmp_path, turning, TRAIN_SUBJECTS, frames=6, name="trainset_h36m.pickle")
    run = open_study("poseflow", tier="smoke", dataset="h36m", path=str(tmp_path)).run(["mean_pose"]).runner
    result = run.result()
    assert result.dataset == "h36m" and {entry["subset"] for entry in result.records} >= {"all", "hard"}
    assert len(run.train_data) == 384 and set(run.test_data.subject) == {"S9", "S11"}


def test_real_cameras_beside_the_pickles(tmp_path, turning):
    write_poseflow(tmp_path, turning)
    (tmp_path / "cameras.json").write_text(json.dumps(camera_tables(["S9", "S11"])))
    frames = h36m_frames(tmp_path, "test")
    assert torch.allclose(frames.camera.focal[0], torch.from_numpy(FOCAL).float())
    assert frames.camera.position[0, 1] == pytest.approx(1.6, abs=1e-4)


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict([("3d_gt", None)]), ("S9/Directions/0/54138969", "create_data.py")),
        (dict([("3d_gt", np.zeros((5, 48)))]), ("3d_gt", "(5, 48)")),
        (dict([("3d_gt", np.zeros((5, 51)))]), ("3d_gt", "bones of 0")),
        (dict([("2d_hrnet", np.zeros((4, 32)))]), ("as many rows",)),
        (dict([("gaussfit", np.full((5, 112), np.nan))]), ("gaussfit", "NaN")),
        (dict([("gaussfit", "none")]), ("gaussfit",)),
    ],
)
def test_damaged_pickles(tmp_path, turning, refused, changes, words):
    write_poseflow(tmp_path, turning, **changes)
    refused(lambda: h36m_frames(tmp_path, "test"), "testset_h36m.pickle", *words)


def test_relative_poses_are_refused(tmp_path, turning, refused):
    poses = turning("h36m_17", 5)
    write_poseflow(tmp_path, turning, **{"3d_gt": coordinate_major(1000 * (poses - poses[:, :1]))})
    refused(lambda: h36m_frames(tmp_path, "test"), "3d_gt", "in front of their camera")


def test_other_pickles(tmp_path, turning, refused, trap):
    path = tmp_path / "testset_h36m.pickle"
    path.write_bytes(pickle.dumps({"S9": trap}))
    refused(lambda: h36m_frames(tmp_path, "test"), "testset_h36m.pickle", "Path.touch", "not run")
    path.write_bytes(pickle.dumps([1, 2]))
    refused(lambda: h36m_frames(path, "test"), "a dictionary of subjects", "list")
    write_poseflow(tmp_path, turning, ("S9",))
    refused(lambda: h36m_frames(path, "test"), "S11", "complete")
    write_poseflow(tmp_path, turning)
    refused(lambda: h36m_frames(path, "test", step=6), "multiple of 4", error=ConfigError)


def test_the_richest_layout_counts(tmp_path, turning):
    write_fetched(tmp_path, turning)
    assert find_h36m(tmp_path)[0] == "h36m-fetch"
    write_videopose3d(tmp_path, turning)
    assert find_h36m(tmp_path)[0] == "videopose3d"
    write_poseflow(tmp_path, turning)
    assert find_h36m(tmp_path)[0] == "poseflow"


MEMORY = """
import re, sys
from pathlib import Path
import torch
from probpose.data.captured import make_captured
from probpose.data.h36m import h36m_frames
from probpose.evidence.detections import Detections

def kilobytes(word):
    return int(re.search(word + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

before = kilobytes("VmRSS")
data = make_captured(h36m_frames(sys.argv[1], "test", step=1))
data.batch(torch.arange(64))
print(len(data), 1024 * (kilobytes("VmHWM") - before))
"""


def test_an_epoch_of_millions_fits_into_memory(tmp_path, turning):
    "1.5 million poses with detections in less than 4 GB, by the peak of fewer."
    write_videopose3d(tmp_path, turning, takes=("Walking",), frames=8000, detections="h36m")
    small = make_captured(h36m_frames(tmp_path, "test"))
    size = sum(value.element_size() * value.nelement() for _, value in tensor_leaves(small) if torch.is_tensor(value))
    labels = sum(getattr(small, name).nbytes for name in ("action", "subject", "clip"))
    assert (size + labels) / len(small) * 1.5e6 < 1.6e9
    if not Path("/proc/self/status").is_file():
        pytest.skip("the memory of a process is read from /proc")
    done = subprocess.run([sys.executable, "-c", MEMORY, tmp_path], capture_output=True, text=True, check=True)
    count, peak = map(int, done.stdout.split())
    assert count == 64_000 and peak / count * 1.5e6 < 4e9


EPOCH = """
import re, sys
from pathlib import Path
import torch
import probpose.data.dataset
from probpose.data.cameras import CameraConfig
from probpose.data.captured import make_captured
from probpose.data.h36m import h36m_frames
from probpose.evidence.simulated import DetectorConfig
from probpose.models.baselines.martinez import Martinez, MartinezConfig
from probpose.training.loop import train
from probpose.training.specs import TrainingConfig

torch.set_num_threads(1)
probpose.data.dataset.STREAMED = 10_000
clear = DetectorConfig(occluder_rate=0.0, self_occlusion_rate=0.0, truncation_rate=0.0)  # quickly fitted

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def epoch(path):
    data = make_captured(h36m_frames(path, "train", step=1), CameraConfig(cut_probability=0.0), clear)
    config = TrainingConfig(iterations=len(data) // 64, device="cpu", progress=False)
    train(Martinez(MartinezConfig(hidden=16)), data, config)
    return len(data)

epoch(sys.argv[1])
before = peak()  # with all that does not grow with the data
print(epoch(sys.argv[2]), peak() - before)
"""

FEATURES = 320  # bytes of what the small model learns from, of each person; PoseFlow's are 1,057


def test_an_epoch_of_millions_of_simulated_detections_fits_into_memory(tmp_path, turning):
    """1.5 million people in less than 4 GB, of which 0.4 GB are there without data and 1.6 GB PoseFlow's features.

    Of fewer the memory grows by no more than that for each; a data set that is not in its file alone takes 2,500 bytes.
    """
    if not Path("/proc/self/status").is_file():
        pytest.skip("the memory of a process is read from /proc")
    for name, frames in (("few", 200), ("many", 1600)):
        (tmp_path / name).mkdir()
        write_videopose3d(tmp_path / name, turning, TRAIN_SUBJECTS, ("Walking",), frames)
    command = [sys.executable, "-c", EPOCH, tmp_path / "few", tmp_path / "many"]
    environment = {
        "PROBPOSE_CACHE": str(tmp_path / "cache"),
        "MALLOC_MMAP_THRESHOLD_": "65536",
    }  # what is freed is gone
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environment)
    count, grown = map(int, done.stdout.split())
    assert count == 32_000 and grown / count - FEATURES < (4e9 - 0.4e9 - 1.6e9) / 1.5e6
