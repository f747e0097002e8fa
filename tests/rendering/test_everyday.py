"""Scenes of the everyday world: cameras, truncation, contact, the ground, seats; and what of it hides joints."""

import math
from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from probpose.core.errors import ConfigError, ShapeError
from probpose.geometry.crops import to_picture
from probpose.geometry.skeletons import COCO_17
from probpose.rendering.furniture import make_table
from probpose.rendering.looks import Draws
from probpose.rendering.scenes import EverydayConfig, SceneConfig, everyday_scenes, random_scene, random_view
from probpose.rendering.solids import Solids, assemble
from probpose.rendering.visibility import joint_visibility, tolerances

pytest.importorskip("warp")

TOLERANCES = tolerances(COCO_17.landmarks)


def first_hit(vertices, faces, target):
    "How far from the camera, along the ray to a point, a mesh is first met (Möller & Trumbore 1997)."
    a, b, c = (vertices[faces[:, k]].double() for k in range(3))
    direction = torch.nn.functional.normalize(target.double(), dim=0).expand_as(a)
    e1, e2 = b - a, c - a
    p, q = torch.linalg.cross(direction, e2), torch.linalg.cross(-a, e1)
    scale = 1 / (e1 * p).sum(-1)
    u, v, t = -(a * p).sum(-1) * scale, (direction * q).sum(-1) * scale, (e2 * q).sum(-1) * scale
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    return float(t[hit].min()) if hit.any() else math.inf


def standing(body, people=1, turn=0.0, camera=0.0):
    "People who stand upright with hanging arms before a camera that looks down by an angle: joints, view, surfaces."
    rotations = torch.eye(3).repeat(people, 22, 1, 1)
    for joint, angle in ((16, -1.2), (17, 1.2)):
        rotations[:, joint] = roma.euler_to_rotmat("z", torch.tensor([angle]))
    view = roma.euler_to_rotmat("x", torch.tensor([camera])).reshape(3, 3) @ torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    rotations[:, 0] = view @ roma.euler_to_rotmat("y", torch.tensor([turn])).reshape(3, 3)
    betas = torch.zeros(people, body.num_betas)
    return body.points("coco_17", rotations, betas), view, body.vertices(rotations, betas)


def test_cameras_look_from_below_and_from_above():
    config = everyday_scenes()
    views = [random_view(config, torch.Generator().manual_seed(seed)) for seed in range(400)]
    elevation = torch.stack([view.T @ torch.tensor([0.0, 0.0, -1.0]) for view in views])[:, 1].asin().rad2deg()
    assert -30 <= elevation.min() < -25 and 55 < elevation.max() <= 60.01
    share = torch.histc(elevation, 6, -30, 60) / 400
    assert share.min() > 0.1, "evenly"


def test_pictures_are_cut_at_every_side_and_lenses_are_short_and_long(body):
    points, view, _ = standing(body, 1)
    config, beyond, focals, whole = everyday_scenes(cut=1.0), torch.zeros(4), [], 0
    for seed in range(300):
        scene = random_scene(points, view, config, torch.Generator().manual_seed(seed))
        x, y = to_picture(points[0] + scene.translations[0], scene.box, 256).T
        out = torch.stack([(x < 0).sum(), (x >= 256).sum(), (y < 0).sum(), (y >= 256).sum()])
        assert ((x > -1) & (x < 257) & (y > -1) & (y < 257)).sum() >= 5
        whole += int(out.sum() == 0)
        beyond += out > 0
        focals.append(scene.focal)
    assert whole < 6 and (beyond / 300).min() > 0.15 and min(focals) < 600 and max(focals) > 1400
    waist = 0
    for seed in range(200):
        scene = random_scene(points, view, everyday_scenes(), torch.Generator().manual_seed(seed))
        inside = to_picture(points[0] + scene.translations[0], scene.box, 256)[:, 1] < 256
        waist += bool(inside[:7].all() and not inside[13:].any())
    assert 2 <= waist < 60, "now and then only the upper body"


def test_small_people_are_whole(body):
    points, view, _ = standing(body, 1)
    config = everyday_scenes(cut=0.0, everyday=EverydayConfig(small=1.0))
    sizes = []
    for seed in range(60):
        scene = random_scene(points, view, config, torch.Generator().manual_seed(seed))
        pixel = to_picture(points[0] + scene.translations[0], scene.box, 256)
        assert ((pixel > 0) & (pixel < 256)).all()
        sizes.append(float((pixel.amax(0) - pixel.amin(0)).max()))
    assert min(sizes) < 95 and np.median(sizes) < 140


@pytest.mark.parametrize("seed", range(6))
def test_people_touch_and_stand_on_the_floor(body, seed):
    g = torch.Generator().manual_seed(seed)
    config = everyday_scenes(others=(0.0, 0.0, 1.0), everyday=EverydayConfig(contact=1.0))
    view = random_view(config, g)
    rotations = roma.rotvec_to_rotmat(0.25 * torch.randn(3, 22, 3, generator=g))
    for joint, angle in ((16, -1.1), (17, 1.1)):
        rotations[:, joint] = roma.euler_to_rotmat("z", torch.tensor([angle])) @ rotations[:, joint]
    rotations[:, 0] = view @ roma.euler_to_rotmat("y", 6 * torch.rand(3, 1, generator=g))
    betas = torch.zeros(3, body.num_betas)
    surface = body.points("surface", rotations, betas)
    soles = (surface @ view[:, 1]).amin(-1)
    scene = random_scene(body.points("coco_17", rotations, betas), view, config, g, soles)
    placed = surface + scene.translations[:, None]
    gaps = [torch.cdist(placed[0], placed[k]).min() for k in (1, 2)]
    assert min(gaps) < 0.12, "somebody touches the target"
    lowest = -(placed @ view[:, 1]).amin(-1)
    drop = scene.backdrop.height - lowest
    assert (drop - drop[0]).abs().max() < 1e-3, "all stand on one ground"
    assert drop[0] > -1e-3 and (drop[0] < 1e-3 or len(scene.solids)), "or on something"


def test_a_joint_behind_a_table_is_not_visible(body, renderer):
    points, view, surface = standing(body)
    config = everyday_scenes(others=(1.0,), occluded=0.0, clutter=0.0, cut=0.0, everyday=EverydayConfig(0, 0, 0, 0))
    scene = random_scene(points, view, config, torch.Generator().manual_seed(3))
    joints, vertices = points[0] + scene.translations[0], surface + scene.translations[:, None]
    level = torch.tensor([[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
    depth = float(joints[:, 2].mean())
    desk = next(
        parts
        for seed in range(99)
        if len(
            parts := make_table(Draws(torch.Generator().manual_seed(seed)), (-float(joints[0, 0]), depth - 0.7), 0.0)
        )
        == 2
        and parts[1][3][2] > 0.1  # a counter, closed down to the floor
    )
    behind = replace(scene, solids=assemble(desk, level, scene.backdrop.height))
    free = renderer.render(vertices, replace(scene, solids=Solids.none()))
    hidden = renderer.render(vertices, behind)
    assert not free.object_occlusion and hidden.object_occlusion and torch.equal(hidden.person, free.person)
    before, after = (joint_visibility(joints, p.depth, scene.box, TOLERANCES) for p in (free, hidden))
    assert before[[13, 14, 15, 16]].all() and not after[[13, 14, 15, 16]].any(), "knees and ankles"
    assert after[[0, 5, 6]].all(), "but not the head and the shoulders"


@pytest.mark.parametrize("seed", range(8))
def test_whoever_stands_in_front_hides(body, renderer, seed, photograph):
    "Rays to the target's joints against triangles of the others, who are at least as large when dressed."
    config = everyday_scenes(others=(0.0, 0.3, 0.7), occluded=0.0, clutter=0.0, everyday=EverydayConfig(contact=0.8))
    scene, vertices, joints = photograph(body, seed, config)
    picture = renderer.render(vertices, scene)
    seen = joint_visibility(joints[0], picture.depth, scene.box, TOLERANCES)
    pixel = to_picture(joints[0], scene.box, renderer.size)
    inside = ((pixel > 1) & (pixel < renderer.size - 2)).all(-1)
    for k in inside.nonzero()[:, 0].tolist():
        away = float(joints[0, k].norm())
        others = min(first_hit(other, body.faces, joints[0, k]) for other in vertices[1:])
        if others < away - TOLERANCES[k] - 0.06:
            assert not seen[k], COCO_17.joints[k]
    assert not (seen & ~inside & ~((pixel > -1) & (pixel < renderer.size)).all(-1)).any()


def test_in_some_of_these_pictures_somebody_does_hide_joints(body, renderer, photograph):
    config = everyday_scenes(others=(0.0, 0.3, 0.7), occluded=0.0, clutter=0.0, everyday=EverydayConfig(contact=0.8))
    barred = 0
    for seed in range(8):
        scene, vertices, joints = photograph(body, seed, config)
        picture = renderer.render(vertices, scene)
        barred += int((picture.person & (picture.owner > 0) & (picture.owner < scene.people)).sum() > 30)
    assert barred >= 2


def test_scenes_are_the_same_for_the_same_seed_and_leave_global_numbers_alone(body):
    points, view, _ = standing(body, 3)
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    one, two = (random_scene(points, view, everyday_scenes(), torch.Generator().manual_seed(8)) for _ in range(2))
    assert torch.equal(torch.rand(3), wanted)
    assert one.looks == two.looks and one.film == two.film and one.backdrop.materials == two.backdrop.materials
    assert torch.equal(one.solids.packed, two.solids.packed) and torch.equal(one.box, two.box)


@pytest.mark.parametrize("wrong", [dict(contact=1.5), dict(seated=-0.1), dict(held=2.0), dict(small=math.nan)])
def test_impossible_probabilities(wrong):
    with pytest.raises(ConfigError, match="probability"):
        EverydayConfig(**wrong)


def test_settings_and_joints_that_make_no_everyday_scene():
    assert SceneConfig().everyday is None and not SceneConfig().even
    with pytest.raises(ConfigError, match="expected"):
        everyday_scenes(elevation=(60.0, -30.0))
    with pytest.raises(ShapeError, match="17"):
        random_scene(torch.rand(1, 6, 3), torch.eye(3), everyday_scenes())
