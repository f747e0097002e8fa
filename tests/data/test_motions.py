"""Rotations for bodies: from captured rotations, from positions, and from files that do not fit."""

import numpy as np
import pytest
import roma
import torch

from probpose.core.errors import ConfigError, DataFileError, NotFiniteError, ShapeError, UnknownNameError
from probpose.data.motions import (
    TURNED_BONES,
    Motions,
    bone_angles,
    global_rotations,
    load_motions,
    local_rotations,
    retarget,
    rotations_from_poses,
)
from probpose.geometry.rotations import smallest_rotation
from probpose.geometry.skeletons import BODY_JOINTS, H36M_17


def posed(body, count, seed=0, size=0.4):
    g = torch.Generator().manual_seed(seed)
    turns = roma.rotvec_to_rotmat(size * torch.randn(count, 22, 3, generator=g))
    return turns, body.points("h36m_17", turns, torch.zeros(count, 11))


def labels(count):
    return tuple(np.array(["x"] * count) for _ in range(3))


def test_cmu_bones_point_where_the_capture_points(cmu_path, body):
    motions = load_motions("cmu", "train", size=1500, path=cmu_path, body=body)
    angles = bone_angles(body, motions)
    assert angles.median() < 5 and angles.median(0).values.max() < 10
    rotations = motions.rotations
    assert torch.allclose(rotations.mT @ rotations, torch.eye(3).expand_as(rotations), atol=1e-4)


def test_cmu_rotations_and_positions_tell_the_same(cmu_path, body):
    "The two ways to rotations agree on the arms' directions; only the captured one knows the twist."
    captured = load_motions("cmu", "test", size=300, path=cmu_path, body=body)
    from_positions = Motions(
        rotations_from_poses(captured.poses, body), captured.poses, captured.action, captured.subject, captured.clip
    )
    assert bone_angles(body, from_positions).median() < 5
    assert set(captured.subject) <= {"06", "09", "12", "14"} and len(captured) == 300


def test_cmu_without_rotations_uses_positions(cmu_path, tmp_path, body):
    (tmp_path / "cmu_h36m17_30hz.npz").symlink_to(cmu_path / "cmu_h36m17_30hz.npz")
    assert bone_angles(body, load_motions("cmu", "test", size=50, path=tmp_path, body=body)).median() < 5


def test_a_damaged_rotations_file_is_named(cmu_path, tmp_path, body):
    (tmp_path / "cmu_h36m17_30hz.npz").symlink_to(cmu_path / "cmu_h36m17_30hz.npz")
    other = tmp_path / "cmu_daz_localrot_30hz.npz"
    other.write_bytes(b"PK nothing")
    with pytest.raises(DataFileError, match="localrot"):
        load_motions("cmu", "test", size=5, path=tmp_path, body=body)
    np.savez(other, quat_xyzw=np.zeros((3, 19, 4)), joint_names=np.array(["hip"] * 19))
    with pytest.raises(DataFileError, match="do not belong together"):
        load_motions("cmu", "test", size=5, path=tmp_path, body=body)


def test_retargeting_is_exact_where_only_the_rest_differs(body):
    "A source whose bones stand at other angles at rest: after retargeting all turned bones agree."
    turns, _ = posed(body, 40)
    crooked = global_rotations(turns, body.parents)
    target = torch.zeros(40, 17, 3)
    rest = body.points("h36m_17", body.mean_pose, torch.zeros(11))
    g = torch.Generator().manual_seed(1)
    for joint, end in TURNED_BONES.items():
        i = H36M_17.joints.index(end)
        bone = rest[i] - rest[H36M_17.parents[i]] + 0.05 * torch.randn(3, generator=g)
        target[:, i] = (crooked[:, BODY_JOINTS.index(joint)] @ bone[:, None])[..., 0]
    for i in range(1, 17):  # from bones to places
        target[:, i] += target[:, H36M_17.parents[i]]
    found = Motions(retarget(turns, target, body), target, *labels(40))
    limbs = [H36M_17.joints.index(name) - 1 for name in ("LKnee", "RFoot", "LElbow", "RWrist")]
    assert bone_angles(body, found)[:, limbs].mean() < 3


def test_positions_give_back_bones_and_hinges(body):
    turns, poses = posed(body, 60, seed=2, size=0.25)
    found = Motions(rotations_from_poses(poses, body), poses, *labels(60))
    assert bone_angles(body, found).median() < 2


def test_turning_the_world_turns_only_the_first_rotation(body):
    _, poses = posed(body, 5)
    turn = roma.rotvec_to_rotmat(torch.tensor([0.3, 2.0, -0.5]))
    plain, turned = rotations_from_poses(poses, body), rotations_from_poses(poses @ turn.mT, body)
    assert torch.allclose(turn @ plain[:, 0], turned[:, 0], atol=1e-4) and torch.allclose(
        plain[:, 1:], turned[:, 1:], atol=1e-3
    )


def test_trees_are_inverse(body):
    turns, _ = posed(body, 3)
    assert torch.allclose(local_rotations(global_rotations(turns, body.parents), body.parents), turns, atol=1e-5)


def test_smallest_rotation_of_opposites_and_nothing():
    a = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 0]])
    found = smallest_rotation(a, -a)
    assert torch.allclose(found[:2] @ a[:2, :, None], -a[:2, :, None], atol=1e-5) and torch.allclose(
        found[2], torch.eye(3), atol=1e-6
    )


def test_synthetic_people_are_the_same_every_time_and_split(body):
    one, two = (load_motions("synthetic", "test", size=11, body=body) for _ in range(2))
    assert torch.equal(one.rotations, two.rotations) and not set(one.subject) & set(
        load_motions("synthetic", "train", size=50, body=body).subject
    )
    assert len(one[torch.tensor([True] + [False] * 10)]) == 1


def test_bad_arguments(body):
    turns, poses = posed(body, 4)
    with pytest.raises(ShapeError, match="17"):
        rotations_from_poses(poses[:, :16], body)
    with pytest.raises(NotFiniteError):
        rotations_from_poses(poses * torch.nan, body)
    with pytest.raises(ShapeError, match="4, 22, 3, 3"):
        retarget(turns[:3], poses, body)
    with pytest.raises(UnknownNameError, match="synthetic"):
        load_motions("totalcapture")
    with pytest.raises(ConfigError, match="size"):
        load_motions("synthetic", size=10**9)


def test_double_precision_stays_double(body):
    poses = load_motions("synthetic", "test", 5, body=body).poses.double()
    still = torch.eye(3).expand(len(poses), 22, 3, 3)
    for made, single in (
        (rotations_from_poses(poses, body), rotations_from_poses(poses.float(), body)),
        (retarget(still, poses, body), retarget(still, poses.float(), body)),
    ):
        assert made.dtype == torch.float64 and (made - single).abs().max() < 1e-3
