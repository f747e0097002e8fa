"AMASS: rotations of SMPL's joints become postures of our body, y up; what is damaged is named."

import numpy as np
import pytest
import roma
import torch

from probpose.bodies.body import load_body
from probpose.core.errors import ConfigError
from probpose.data.amass import amass_motions, read_amass
from probpose.data.motions import load_motions
from probpose.geometry.skeletons import BODY_JOINTS, H36M_17


def write_take(folder, data_set="ACCAD", person="Female1", name="walk_poses", frames=24, columns=156, **changes):
    vectors = np.zeros((frames, columns // 3, 3))
    lying_to_standing = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # SMPL's y axis to the world's z
    for k in range(frames):
        turn = roma.rotvec_to_rotmat(torch.tensor([0.0, 0.0, 0.1 * k])) @ lying_to_standing
        vectors[k, 0] = roma.rotmat_to_rotvec(turn).numpy()
    vectors[:, BODY_JOINTS.index("r_shoulder")] = [0.0, 0.0, -1.2]
    content = {
        "poses": vectors.reshape(frames, columns),
        "trans": np.array([[0.01 * k, 0.0, 0.95] for k in range(frames)]),
        "betas": np.zeros(16),
        "gender": np.array("female"),
        "mocap_framerate": np.array(120.0),
        "dmpls": np.zeros((frames, 8)),
    } | changes
    path = folder / data_set / person / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


def test_a_take_stands_upright(tmp_path):
    path = write_take(tmp_path)
    motion = read_amass(path, load_body())
    assert len(motion) == 6, "of 120 frames a second every fourth is kept"
    at = {name: motion.poses[:, H36M_17.index(name)] for name in ("pelvis", "head", "left_wrist", "right_wrist")}
    assert (at["head"][:, 1] > at["pelvis"][:, 1] + 0.4).all() and (at["pelvis"][:, 1] - 0.95).abs().max() < 0.1
    assert (at["right_wrist"][:, 1] > at["left_wrist"][:, 1] + 0.3).all(), "the right arm is raised"
    facing = motion.rotations[0, 0] @ torch.tensor([0.0, 0.0, 1.0])  # bodies look along z
    assert torch.allclose(facing, torch.tensor([0.0, 0.0, 1.0]), atol=1e-5), "the world's -y is our z"
    left = at["left_wrist"][0] - at["right_wrist"][0]
    assert left[0] > 0, "the left of who looks along z, y up, is x"
    assert set(motion.subject) == {"ACCAD/Female1"} and set(motion.clip) == {"walk_poses"}
    thigh = (motion.poses[0, H36M_17.index("left_knee")] - motion.poses[0, H36M_17.index("left_hip")]).norm()
    assert 0.3 < thigh < 0.55


def test_bones_point_where_the_rotations_turn_them(tmp_path):
    motion = read_amass(write_take(tmp_path), load_body())
    again = load_body().points("h36m_17", motion.rotations, torch.zeros(6, load_body().num_betas))
    assert torch.allclose(again - again[:, :1], motion.poses - motion.poses[:, :1], atol=1e-5)
    turns = motion.rotations[3, 0] @ motion.rotations[0, 0].mT
    assert torch.allclose(turns, roma.rotvec_to_rotmat(torch.tensor([0.0, 1.2, 0.0])), atol=1e-4), (
        "about the upright axis"
    )


def test_splits_are_data_sets(tmp_path, refused):
    write_take(tmp_path)
    write_take(tmp_path, "SSM_synced", "1", "jump", mocap_framerate=None, mocap_frame_rate=np.array(30))
    write_take(tmp_path, "HumanEva", "S1")
    write_take(tmp_path, name="shape", poses=None)
    assert set(amass_motions(tmp_path, "train").action) == {"ACCAD"}
    test = amass_motions(tmp_path, "test")
    assert set(test.action) == {"SSM_synced"} and len(test) == 24
    moved = load_motions("amass", "test", size=5, path=tmp_path)
    assert len(moved) == 5 and moved.rotations.shape == (5, 22, 3, 3)
    refused(lambda: amass_motions(tmp_path, rate=0), "rate", error=ConfigError)
    refused(lambda: amass_motions(tmp_path / "ACCAD"), "amass.is.tue.mpg.de")


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(trans=None), ("trans is missing",)),
        (dict(poses=np.zeros((24, 63))), ("poses", "66")),
        (dict(poses=np.full((24, 156), np.nan)), ("poses", "finite")),
        (dict(trans=np.zeros((20, 3))), ("trans", "(6, 3)")),
        (dict(mocap_framerate=np.array(0.0)), ("mocap_framerate",)),
        (dict(mocap_framerate=None), ("mocap_framerate",)),
    ],
)
def test_damaged_takes(tmp_path, refused, changes, words):
    write_take(tmp_path, **changes)
    refused(lambda: amass_motions(tmp_path), "walk_poses.npz", *words)


def test_hostile_takes(tmp_path, refused, trap):
    path = write_take(tmp_path, trans=np.array([trap], dtype=object))
    refused(lambda: amass_motions(tmp_path), "walk_poses.npz, trans", "not run")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(lambda: amass_motions(tmp_path), "walk_poses.npz", "cut short")
