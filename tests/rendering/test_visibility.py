"""Which joints a picture shows."""

import math
from dataclasses import replace

import pytest
import roma
import torch

from probpose.core.errors import NotFiniteError, ShapeError
from probpose.geometry.skeletons import COCO_17
from probpose.rendering.scenes import SceneConfig
from probpose.rendering.visibility import joint_visibility, tolerances

pytest.importorskip("warp")


def test_a_wall_hides_everything_and_a_wall_behind_nothing(body, renderer, photograph, solid):
    scene, vertices, joints = photograph(body, 2, SceneConfig(others=(1.0,), cut=0.0))
    front, behind = (replace(scene, solids=solid(False, [0.0, 0.0, z], [9.0, 9.0, 0.02])) for z in (0.5, 30.0))
    hidden, free = renderer.render(vertices, front), renderer.render(vertices, behind)
    assert hidden.object_occlusion and not hidden.visible.any() and hidden.person.any()
    assert not joint_visibility(joints[0], hidden.depth, scene.box).any()
    assert not free.object_occlusion and torch.equal(free.visible, free.person)


def test_joints_outside_the_picture_behind_the_camera_or_behind_others_are_not_seen():
    depth, box = torch.full((64, 64), math.inf), torch.tensor([0.0, 0.0, 1.0])
    points = torch.tensor([[0.0, 0.0, 4.0], [2.1, 0.0, 4.0], [0.0, -2.1, 4.0], [0.0, 0.0, -4.0], [1.9, 1.9, 4.0]])
    assert joint_visibility(points, depth, box).tolist() == [True, False, False, False, True]
    depth[:, :32] = 3.0
    points = torch.tensor([[-1.0, 0.0, 4.0], [1.0, 0.0, 4.0], [-1.0, 0.0, 3.1]])
    assert joint_visibility(points, depth, box).tolist() == [False, True, True]
    assert joint_visibility(points, depth, box, torch.tensor([1.2, 0.1, 0.05])).tolist() == [True, True, False]
    assert joint_visibility(points.expand(2, 3, 3), depth.expand(2, 64, 64), box.expand(2, 3)).shape == (2, 3)
    with pytest.raises(NotFiniteError):
        joint_visibility(math.nan * points, depth, box)
    with pytest.raises(ShapeError, match="leading"):
        joint_visibility(points.expand(2, 3, 3), depth, box)


def test_self_occlusion_by_the_trunk_counts(body, renderer):
    rotations = torch.eye(3).repeat(22, 1, 1)
    rotations[0] = torch.diag(torch.tensor([-1.0, -1.0, 1.0]))  # seen from behind
    rotations[16] = roma.euler_to_rotmat("yz", torch.tensor([-1.3, -1.0]))  # left arm before the belly
    marks, place, box = (
        body.points("coco_17", rotations, torch.zeros(11)),
        torch.tensor([0.0, 0.0, 4.0]),
        torch.tensor([0.0, 0.0, 0.6]),
    )
    drawn = renderer._plain(body.vertices(rotations, torch.zeros(11)) + place, box, (1.0, 0.0, 0.0))
    seen = dict(
        zip(COCO_17.joints, joint_visibility(marks + place, drawn.depth, box, tolerances(COCO_17.landmarks)).tolist())
    )
    assert (
        not seen["nose"] and not seen["left_eye"] and seen["right_wrist"] and seen["right_elbow"] and seen["left_knee"]
    )
