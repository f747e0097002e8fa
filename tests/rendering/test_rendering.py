"""Contracts of probpose.rendering: geometry of the cast, masks, visibility, determinism, bad input."""

import math
from dataclasses import replace

import pytest
import roma
import torch

pytest.importorskip("warp")
pytest.importorskip("smplx")

from probpose.bodies.body import load_body
from probpose.core.errors import ConfigError, NoPersonError, NotFiniteError, ShapeError
from probpose.geometry.crops import Crop, box_numbers, to_picture
from probpose.geometry.skeletons import COCO_17
from probpose.rendering.renderer import Renderer
from probpose.rendering.scenes import SceneConfig, Solids, random_look, random_scene, random_view
from probpose.rendering.visibility import joint_visibility, tolerances

SIZE = 96


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def renderer(body):
    return Renderer(body, SIZE, "cpu")


def photograph(body, seed, config=SceneConfig()):
    "A scene, the vertices and the joints of its people, arms hanging."
    g = torch.Generator().manual_seed(seed)
    view = random_view(config, g)
    rotations = roma.rotvec_to_rotmat(0.2 * torch.randn(config.people, 22, 3, generator=g))
    for joint, angle in ((16, -1.2), (17, 1.2)):
        rotations[:, joint] = roma.euler_to_rotmat("z", torch.tensor([angle])) @ rotations[:, joint]
    rotations[:, 0] = view @ roma.euler_to_rotmat("y", 6 * torch.rand(config.people, 1, generator=g))
    betas = torch.randn(config.people, body.num_betas, generator=g)
    joints = body.points("coco_17", rotations, betas)
    scene = random_scene(joints, view, config, g)
    n = scene.people
    return (
        scene,
        body.vertices(rotations[:n], betas[:n]) + scene.translations[:, None],
        joints[:n] + scene.translations[:, None],
    )


@pytest.mark.parametrize("seed", range(5))
def test_masks_nest_and_agree_with_a_cast_of_the_person_alone(body, renderer, seed):
    scene, vertices, joints = photograph(body, seed)
    picture = renderer.render(vertices, scene)
    alone = renderer.render(vertices[:1], replace(scene, looks=scene.looks[:1], solids=Solids.none()))
    assert (
        picture.image.dtype == torch.uint8
        and picture.image.shape == (SIZE, SIZE, 3)
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
def test_vertices_land_on_the_mask_and_nowhere_else(body, renderer, seed):
    scene, vertices, _ = photograph(body, seed, SceneConfig(others=(1.0,), occluded=0.0, clutter=0.0, cut=0.0))
    picture = renderer.render(vertices, scene)
    cell = to_picture(vertices[0], scene.box, SIZE).round().long()
    cell = cell[((cell >= 0) & (cell < SIZE)).all(-1)]
    splat = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    splat[cell[:, 1], cell[:, 0]] = True
    wide = torch.nn.functional.max_pool2d(picture.person[None].float(), 3, 1, 1)[0].bool()
    assert (splat & ~wide).sum() < 0.01 * splat.sum(), (
        "vertices are within a pixel of the mask, but for fingers that are thinner than that"
    )
    near = torch.nn.functional.max_pool2d(splat[None].float(), 5, 1, 2)[0].bool()
    assert not (picture.person & ~near).any(), "every pixel of the mask has a vertex near by"


def test_the_same_scene_has_the_same_bits_whatever_was_rendered_before(body, renderer):
    scene, vertices, _ = photograph(body, 11)
    before = renderer.render(vertices, scene)
    renderer.render(*reversed(photograph(body, 12)[:2]))
    fresh = Renderer(body, SIZE, "cpu")
    for again in (renderer.render(vertices, scene), fresh.render(vertices, scene)):
        for name in ("image", "depth", "owner", "crowd"):
            assert torch.equal(getattr(before, name), getattr(again, name))
    other = renderer.render(vertices, replace(scene, seed=scene.seed + 1, noise=0.1))
    assert not torch.equal(other.image, before.image) and torch.equal(other.depth, before.depth)
    assert (
        before.image.numpy().flags.owndata
        or before.image.data_ptr() != renderer.render(vertices, scene).image.data_ptr()
    )


def test_drawing_touches_no_global_random_numbers(body):
    torch.manual_seed(5)
    first, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    photograph(body, 3)
    assert torch.equal(torch.rand(3), first) and torch.get_num_threads() == threads


def solid(tube, centre, half, turn=None):
    turn = torch.eye(3) if turn is None else turn
    return Solids(torch.tensor([tube]), torch.tensor([centre]), turn[None], torch.tensor([half]), torch.ones(1, 3))


@pytest.mark.parametrize("tube", [False, True])
def test_things_are_where_they_are(body, renderer, tube):
    "Against marching along each ray until the thing's distance function says inside."
    scene, vertices, _ = photograph(body, 1, SceneConfig(others=(1.0,)))
    turn = roma.rotvec_to_rotmat(torch.tensor([0.4, -0.7, 0.3]))
    thing = solid(tube, [0.05, -0.03, 2.0], [0.3, 0.1, 0.2], turn)
    box = torch.tensor([0.0, 0.0, 0.5])
    picture = renderer._cast(vertices + 100.0, renderer.colours(scene.looks), thing, scene.lights, scene.backdrop, box)
    grid = (torch.arange(SIZE) + 0.5) / SIZE * 0.5 - 0.25
    rays = torch.stack([*torch.meshgrid(grid, grid, indexing="xy"), torch.ones(SIZE, SIZE)], -1)
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


def test_a_wall_hides_everything_and_a_wall_behind_nothing(body, renderer):
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


def test_boxes():
    crop = Crop(torch.tensor([[640.0, 512.0], [100.0, 900.0]]), torch.tensor([200.0, 400.0]))
    numbers = box_numbers(crop, torch.tensor([1000.0, 500.0]))
    assert torch.allclose(numbers, torch.tensor([[0.0, 0.0, 0.2], [-1.08, 0.776, 0.8]]))
    for focal in (0.0, -3.0):
        with pytest.raises(ConfigError, match="focal"):
            box_numbers(crop, focal)
    with pytest.raises(NotFiniteError):
        box_numbers(crop, math.nan)
    with pytest.raises(ConfigError, match="outside the image"):
        box_numbers(Crop(torch.tensor([-400.0, 0.0]), torch.tensor(100.0)), 1000.0)
    with pytest.raises(ConfigError, match="positive side"):
        box_numbers(Crop(torch.tensor([4.0, 0.0]), torch.tensor(-1.0)), 1000.0)


def test_bad_pictures(body, renderer):
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


@pytest.mark.parametrize(
    "wrong",
    [
        dict(focal=(0.0, 10.0)),
        dict(focal=(math.nan, 10.0)),
        dict(distance=(4.0, 3.0)),
        dict(cut=-0.1),
        dict(others=()),
        dict(others=(0.5, 0.6)),
        dict(others=(1.0,) + (0.0,) * 8),
        dict(margin=0.0),
        dict(noise=-1.0),
        dict(image_size=(0, 5)),
    ],
)
def test_settings_that_make_no_scene(wrong):
    with pytest.raises(ConfigError, match="expected"):
        SceneConfig(**wrong)


def test_overlay_and_side_view(body, renderer):
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


def test_without_warp_the_error_says_what_to_install(monkeypatch):
    import probpose.rendering.kernels as module

    def missing(name, extra="mesh"):
        raise ConfigError(f"{name}: pip install 'probpose[{extra}]'")

    monkeypatch.setattr(module, "import_optional", missing)
    with pytest.raises(ConfigError, match="pip install"):
        module.import_warp.__wrapped__()
