"""Images, masks and depth of scenes."""

import math
from dataclasses import replace

import pytest
import roma
import torch

from probpose.core.errors import ConfigError, NoPersonError, NotFiniteError, ShapeError
from probpose.geometry.crops import to_picture
from probpose.rendering.renderer import Renderer
from probpose.rendering.scenes import SceneConfig, Solids, random_look, random_scene

pytest.importorskip("warp")


@pytest.mark.parametrize("seed", range(5))
def test_masks_nest_and_agree_with_a_cast_of_the_person_alone(body, renderer, seed, photograph):
    scene, vertices, joints = photograph(body, seed)
    picture = renderer.render(vertices, scene)
    alone = renderer.render(vertices[:1], replace(scene, looks=scene.looks[:1], solids=Solids.none()))
    assert (
        picture.image.dtype == torch.uint8
        and picture.image.shape == (renderer.size, renderer.size, 3)
        and picture.image.float().std() > 5
    )
    assert torch.equal(alone.person, picture.person) and torch.equal(alone.visible, alone.person)
    assert not (picture.visible & ~picture.person).any() and not (picture.person & ~picture.mask).any()
    assert alone.object_share == 0 and not alone.object_occlusion
    share = (picture.person & (picture.owner >= scene.people)).sum() / picture.person.sum()
    assert picture.object_share == pytest.approx(float(share)) and picture.object_occlusion == (share > 0.01)
    assert torch.equal(picture.depth[picture.visible], alone.depth[picture.visible])
    assert (picture.depth <= alone.depth).all() and torch.isinf(picture.depth[picture.owner < 0]).all()


@pytest.mark.parametrize("seed", range(3))
def test_vertices_land_on_the_mask_and_nowhere_else(body, renderer, seed, photograph):
    scene, vertices, _ = photograph(body, seed, SceneConfig(others=(1.0,), occluded=0.0, clutter=0.0, cut=0.0))
    picture = renderer.render(vertices, scene)
    cell = to_picture(vertices[0], scene.box, renderer.size).round().long()
    cell = cell[((cell >= 0) & (cell < renderer.size)).all(-1)]
    splat = torch.zeros(renderer.size, renderer.size, dtype=torch.bool)
    splat[cell[:, 1], cell[:, 0]] = True
    wide = torch.nn.functional.max_pool2d(picture.person[None].float(), 3, 1, 1)[0].bool()
    assert (splat & ~wide).sum() < 0.01 * splat.sum(), (
        "vertices are within a pixel of the mask, but for fingers that are thinner than that"
    )
    near = torch.nn.functional.max_pool2d(splat[None].float(), 5, 1, 2)[0].bool()
    assert not (picture.person & ~near).any(), "every pixel of the mask has a vertex near by"


def test_the_same_scene_has_the_same_bits_whatever_was_rendered_before(body, renderer, photograph):
    scene, vertices, _ = photograph(body, 11)
    before = renderer.render(vertices, scene)
    renderer.render(*reversed(photograph(body, 12)[:2]))
    fresh = Renderer(body, renderer.size, "cpu")
    for again in (renderer.render(vertices, scene), fresh.render(vertices, scene)):
        for name in ("image", "depth", "owner", "crowd"):
            assert torch.equal(getattr(before, name), getattr(again, name))
    other = renderer.render(vertices, replace(scene, seed=scene.seed + 1, noise=0.1))
    assert not torch.equal(other.image, before.image) and torch.equal(other.depth, before.depth)
    assert (
        before.image.numpy().flags.owndata
        or before.image.data_ptr() != renderer.render(vertices, scene).image.data_ptr()
    )


@pytest.mark.parametrize("tube", [False, True])
def test_things_are_where_they_are(body, renderer, tube, photograph, solid):
    "Against marching along each ray until the thing's distance function says inside."
    scene, vertices, _ = photograph(body, 1, SceneConfig(others=(1.0,)))
    turn = roma.rotvec_to_rotmat(torch.tensor([0.4, -0.7, 0.3]))
    thing = solid(tube, [0.05, -0.03, 2.0], [0.3, 0.1, 0.2], turn)
    box = torch.tensor([0.0, 0.0, 0.5])
    picture = renderer._cast(vertices + 100.0, renderer.colours(scene.looks), thing, scene.lights, scene.backdrop, box)
    grid = (torch.arange(renderer.size) + 0.5) / renderer.size * 0.5 - 0.25
    rays = torch.stack([*torch.meshgrid(grid, grid, indexing="xy"), torch.ones(renderer.size, renderer.size)], -1)
    depths = torch.linspace(1.4, 2.6, 600)
    local = (rays[None] * depths[:, None, None, None] - thing.centre[0]) @ turn
    if tube:
        inside = (local - torch.cat([local[..., :1].clamp(-0.3, 0.3), torch.zeros_like(local[..., 1:])], -1)).norm(
            dim=-1
        ) <= 0.1
    else:
        inside = (local.abs() <= thing.half[0]).all(-1)
    hit, found = inside.any(0), picture.owner == 1
    assert 0.01 < found.float().mean() < 0.9 and (hit != found).float().mean() < 0.005
    both = hit & found
    assert (depths[inside.int().argmax(0)][both] - picture.depth[both]).abs().max() < 0.02


def test_bad_pictures(body, renderer, photograph):
    scene, vertices, _ = photograph(body, 7, SceneConfig(others=(1.0,)))
    nan = vertices.clone()
    nan[0, 3, 1] = math.nan
    cases = [
        (vertices[:, :-1], scene, ShapeError, "topology"),
        (vertices.repeat(2, 1, 1), scene, ShapeError, "one mesh for each person"),
        (vertices[0], scene, ShapeError, "expected"),
        (vertices.numpy(), scene, ShapeError, "ndarray"),
        (nan, scene, NotFiniteError, "vertices"),
        (-vertices, scene, NoPersonError, "behind the camera"),
        (vertices + torch.tensor([50.0, 0.0, 0.0]), scene, NoPersonError, "outside the picture"),
        (vertices, replace(scene, box=torch.tensor([0.0, 0.0, 0.0])), ConfigError, "positive side"),
        (vertices, replace(scene, box=torch.tensor([math.nan, 0.0, 1.0])), NotFiniteError, "box"),
        (vertices, replace(scene, box=torch.zeros(4)), ShapeError, "box"),
    ]
    for bad, where, error, words in cases:
        with pytest.raises(error, match=words):
            renderer.render(bad, where)
    with pytest.raises(ShapeError, match="image"):
        renderer.overlay(torch.zeros(5, 5, 3, dtype=torch.uint8), vertices[0], scene.box)
    with pytest.raises(ConfigError):
        Renderer(body, 0)
    for points in (torch.zeros(2, 17, 2), torch.zeros(0, 17, 3), torch.zeros(17, 3)):
        with pytest.raises(ShapeError):
            random_scene(points, torch.eye(3))
    with pytest.raises(NotFiniteError):
        random_scene(torch.full((1, 17, 3), math.nan), torch.eye(3))


def test_overlay_and_side_view(body, renderer, photograph):
    scene, vertices, _ = photograph(body, 4, SceneConfig(others=(1.0,), occluded=0.0, cut=0.0))
    picture = renderer.render(vertices, scene)
    over = renderer.overlay(picture.image, vertices[0], scene.box, opacity=1.0)
    assert torch.equal(over[~picture.person], picture.image[~picture.person]) and not torch.equal(
        over[picture.person], picture.image[picture.person]
    )
    whole, turned = (renderer.from_side(vertices[0], scene.box, angle=angle) for angle in (0.0, 360.0))
    assert (
        torch.equal((whole < 250).any(-1), picture.person) and (whole.int() - turned.int()).abs().float().mean() < 0.5
    )
    assert (renderer.from_side(vertices[0], scene.box) < 250).any()


def test_looks_dress_the_regions(body, renderer):
    look = random_look(torch.Generator().manual_seed(0))
    colours = renderer.colours((replace(look, stripe=0.0), look))
    assert colours.shape == (2, body.vertex_count, 3)
    head = body.skin_joint == 15
    assert {tuple(c) for c in colours[0][head].tolist()} == {
        tuple(look.patches[12].tolist()),
        tuple(look.patches[22].tolist()),
    }, "skin and hair"
    hair = (colours[0][head] == look.patches[22]).all(-1)
    assert (
        0.05 < hair.float().mean() < 0.8
        and renderer.rest[head][hair][:, 1].mean() > renderer.rest[head][~hair][:, 1].mean()
    )
    assert torch.equal(colours[0][body.skin_joint == 20][0], look.patches[12]) and torch.equal(
        colours[0][body.skin_joint == 0][0], look.patches[0]
    )
