"""Joint orders, trees and mirror images."""

import dataclasses

import pytest
import torch

from probpose.core.errors import ShapeError, SkeletonError, UnknownNameError
from probpose.geometry.conversions import convert
from probpose.geometry.skeletons import (
    CPS_JOINTS,
    H36M_17,
    PCK_JOINTS_14,
    SIDE_COLOURS,
    SKELETONS,
    SYMMETRIC_BONES,
    Skeleton,
)

NAMES = list(SKELETONS)


@pytest.mark.parametrize("name", NAMES)
def test_skeleton_is_one_tree_with_a_mirror(name):
    body = SKELETONS[name]
    assert body.name == name
    assert len(body.bones) == body.num_joints - 1
    reached = {body.root}
    for _ in range(body.num_joints):
        reached |= {child for parent, child in body.bones if parent in reached}
    assert reached == set(range(body.num_joints))
    assert body.sides.count("left") == body.sides.count("right") == len(body.left_right)
    for joint, side in enumerate(body.sides):
        assert side == (
            "left"
            if body.landmarks[joint].startswith("left_")
            else "right"
            if body.landmarks[joint].startswith("right_")
            else "centre"
        )
        assert body.colours[joint] == SIDE_COLOURS[side]
        assert body.index(body.joints[joint]) == joint
        swapped = {"left": "right", "right": "left"}.get(side, side)
        assert body.landmarks[body.mirror_order[joint]] == body.landmarks[joint].replace(side, swapped, 1)


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="mpii_16"):
        convert(torch.zeros(17, 3), "h36m_17", "mpii_17")
    with pytest.raises(UnknownNameError, match="RWrist"):
        H36M_17.index("RHand")


@pytest.mark.parametrize("name", NAMES)
def test_flip_is_an_involution_and_keeps_bones(name):
    body = SKELETONS[name]
    poses = torch.randn(3, body.num_joints, 3)
    flipped = body.flip(poses)
    assert torch.equal(body.flip(flipped), poses)
    for left, right in body.left_right:
        assert torch.equal(flipped[:, left, 1:], poses[:, right, 1:]) and torch.equal(
            flipped[:, left, 0], -poses[:, right, 0]
        )
    with pytest.raises(ShapeError):
        body.flip(poses[:, 1:])


def test_skeletons_are_frozen_and_hashable():
    assert len({*SKELETONS.values()}) == len(NAMES)
    with pytest.raises(dataclasses.FrozenInstanceError):
        H36M_17.name = "other"
    with pytest.raises(TypeError):
        SKELETONS["mine"] = H36M_17


@pytest.mark.parametrize("parents", [(-1, -1, 0), (-1, 2, 1), (-1, 0, 9), (1, 2, 0)])
def test_broken_trees_are_refused(parents):
    with pytest.raises(SkeletonError):
        Skeleton("broken", ("a", "b", "c"), parents, ())


def test_protocol_subsets():
    assert PCK_JOINTS_14 == (1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 14, 15, 16)
    assert 7 not in CPS_JOINTS and len(CPS_JOINTS) == 16
    assert len(SYMMETRIC_BONES) == 5
    for left, right in SYMMETRIC_BONES:
        assert tuple(H36M_17.mirror_order[j] for j in left) == right and {left, right} <= set(H36M_17.bones)
