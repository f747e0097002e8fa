"""Pictures of the everyday world against slow oracles: rays, garments, things, surroundings, shadows."""

from dataclasses import replace

import numpy as np
import pytest
import roma
import torch

from probpose.geometry.crops import to_picture
from probpose.rendering.backdrops import Lights
from probpose.rendering.looks import Draws
from probpose.rendering.outfits import Garment, Hair, Outfit, random_outfit, rest_places
from probpose.rendering.renderer import Renderer
from probpose.rendering.scenes import EverydayConfig, everyday_scenes, random_scene
from probpose.rendering.solids import Solids
from probpose.rendering.surroundings import Material, Surroundings

pytest.importorskip("warp")

RED, GREEN, BLUE, YELLOW = (0.8, 0.08, 0.08), (0.08, 0.8, 0.08), (0.08, 0.08, 0.8), (0.8, 0.8, 0.05)
EVENLY = Lights(torch.tensor([[0.0, -0.8, -0.6]] * 2), torch.zeros(2, 3), torch.full((3,), 0.9))
LEVEL = torch.tensor([[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
ALONE = everyday_scenes(
    others=(1.0,),
    occluded=0.0,
    clutter=0.0,
    cut=0.0,
    elevation=(0.0, 10.0),
    everyday=EverydayConfig(0.0, 0.0, 0.0, 0.0, None),
)


def bare(seed=0):
    "Somebody whose garments lie on the skin."
    outfit = random_outfit(Draws(torch.Generator().manual_seed(seed)))
    garments = tuple(replace(garment, thickness=0.0, skirt=False) for garment in outfit.garments)
    return replace(outfit, hair=replace(outfit.hair, thickness=0.0), garments=garments)


def marching(picture_size, box, thing, depths):
    "How far each ray gets until the thing's own formula says inside; infinite where it never does."
    grid = (torch.arange(picture_size) + 0.5) / picture_size * float(box[2]) - float(box[2]) / 2
    rays = torch.stack(
        [*torch.meshgrid(grid + box[0], grid + box[1], indexing="xy"), torch.ones(picture_size, picture_size)], -1
    )
    local = (rays[None] * depths[:, None, None, None] - thing.centre[0]) @ thing.axes[0]
    if thing.tube[0]:
        long = thing.half[0, 0]
        axis = torch.cat([local[..., :1].clamp(-long, long), torch.zeros_like(local[..., 1:])], -1)
        inside = (local - axis).norm(dim=-1) <= thing.half[0, 1]
    else:
        inside = (local.abs() <= thing.half[0]).all(-1)
    return torch.where(inside.any(0), depths[inside.int().argmax(0)], torch.inf)


def nearest_hit(vertices, faces, origin, direction):
    "Distance along a ray to the nearest triangle, or infinity (Möller & Trumbore 1997)."
    a, b, c = (vertices[faces[:, k]].double() - origin for k in range(3))
    direction = direction.double().expand_as(a)
    e1, e2 = b - a, c - a
    p, q = torch.linalg.cross(direction, e2), torch.linalg.cross(-a, e1)
    scale = 1 / (e1 * p).sum(-1)
    u, v, t = -(a * p).sum(-1) * scale, (direction * q).sum(-1) * scale, (e2 * q).sum(-1) * scale
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 1e-4)
    return float(t[hit].min()) if hit.any() else float("inf")


@pytest.mark.parametrize("seed", range(5))
def test_masks_nest_and_agree_with_a_cast_of_the_person_alone(body, renderer, seed, photograph):
    scene, vertices, _ = photograph(body, seed, everyday_scenes())
    picture = renderer.render(vertices, scene)
    alone = renderer.render(vertices[:1], replace(scene, looks=scene.looks[:1], solids=Solids.none()))
    assert torch.equal(alone.person, picture.person) and torch.equal(alone.visible, alone.person)
    assert not (picture.visible & ~picture.person).any() and not (picture.person & ~picture.mask).any()
    assert torch.equal(picture.depth[picture.visible], alone.depth[picture.visible])
    assert (picture.depth <= alone.depth).all() and torch.isinf(picture.depth[picture.owner < 0]).all()
    share = (picture.person & (picture.owner >= scene.people)).sum() / picture.person.sum()
    assert picture.object_share == pytest.approx(float(share)) and picture.object_occlusion == (share > 0.01)


@pytest.mark.parametrize("seed", range(4))
def test_whoever_wears_nothing_thick_has_the_outline_of_the_plain_renderer(body, renderer, seed, photograph):
    scene, vertices, _ = photograph(body, seed, everyday_scenes())
    scene = replace(scene, looks=tuple(bare(seed + k) for k in range(scene.people)), film=None)
    picture = renderer.render(vertices, scene)
    for person in range(scene.people):
        plain = renderer._plain(vertices[person], scene.box, (1.0, 0.0, 0.0)).person
        mine = (picture.crowd >> person & 1).bool()
        assert (plain ^ mine).sum() <= 1, "an edge of a triangle may round the other way"


def test_thick_clothes_reach_further_and_by_their_thickness(body, photograph):
    scene, vertices, _ = photograph(body, 2, ALONE)
    renderer, outfit = Renderer(body, 256, "cpu"), bare(3)
    coat = Garment(-0.5, 0.57, RED, sleeve=0.7, thickness=0.03)
    thin, thick = (
        renderer.render(vertices, replace(scene, looks=(replace(outfit, garments=(replace(coat, thickness=t),)),)))
        for t in (0.0, 0.03)
    )
    pixel = float(scene.box[2]) / 256 * float(vertices[0, :, 2].mean())  # m
    reach = 2 * int(np.ceil(0.045 / pixel)) + 1
    near = torch.nn.functional.max_pool2d(thin.person[None].float(), reach, 1, reach // 2)[0].bool()
    assert thick.person.sum() > 1.05 * thin.person.sum() and not (thick.person & ~near).any()
    assert (thin.person & ~thick.person).sum() < 0.003 * thin.person.sum()


def cover(places, outfit):
    "Slowly: the colour of each place (V, 3) by the rules in words, and whether it is far from every edge."
    colours, sure = [], []
    for x, y, z in places.tolist():
        x = abs(x)
        arm = x > 0.17 and y > 0.4
        edges, colour = [], outfit.skin
        for garment in reversed(outfit.garments):
            depth, width = garment.neckline
            throat = garment.top - depth * min(max(z / 0.06, 0), 1) * max(1 - x / width, 0)
            inside = x < garment.sleeve if arm else garment.bottom < y < throat
            if not arm and garment.gap >= 0 and z > 0:
                inside = inside and x > garment.gap
                edges.append(abs(x - garment.gap))
            edges += [abs(x - garment.sleeve)] if arm else [abs(y - garment.bottom), abs(y - throat)]
            colour = garment.colour if inside else colour
        colours.append(colour)
        sure.append(min(edges) > 0.025 and abs(x - 0.17) > 0.03 and y < 0.55 and x < 0.7)
    return torch.tensor(colours), torch.tensor(sure)


def test_garments_cover_what_they_should_on_posed_bodies(body, photograph):
    garments = (
        Garment(-0.15, 0.6, GREEN, sleeve=0.6, gap=0.05, roughness=0.0, thickness=0.002),
        Garment(-0.3, 0.1, BLUE, roughness=0.0, thickness=0.002),
        Garment(-0.02, 0.57, YELLOW, sleeve=0.3, neckline=(0.1, 0.08), roughness=0.0, thickness=0.002),
    )
    outfit = Outfit(RED, RED, RED, Hair((1.0,) * 6, 1.0, 0.0, RED), garments)
    renderer, still = Renderer(body, 192, "cpu"), torch.eye(3).repeat(22, 1, 1)
    places = rest_places(renderer.rest, body.rest, body.points("coco_17", still, torch.zeros(11))[:5])
    colour, sure = cover(places, outfit)
    palette, right, every = torch.tensor([RED, GREEN, BLUE, YELLOW]), [], set()
    for seed in range(4):
        scene, vertices, _ = photograph(body, seed, ALONE)
        picture = renderer.render(vertices, replace(scene, looks=(outfit,), lights=EVENLY))
        column, row = to_picture(vertices[0], scene.box, 192).round().long().clamp(0, 191).unbind(-1)
        near = (picture.depth[row, column] - vertices[0, :, 2]).abs() < 0.01
        seen = sure & near & (picture.owner[row, column] == 0)
        drawn = torch.nn.functional.normalize(picture.image[row, column].float(), dim=-1)
        found = (drawn @ torch.nn.functional.normalize(palette, dim=-1).T).argmax(-1)
        right.append((palette[found] == colour).all(-1)[seen])
        every |= set(found[seen].tolist())
    assert len(torch.cat(right)) > 2000 and torch.cat(right).float().mean() > 0.97
    assert every == {0, 1, 2, 3}, "skin, jacket, trousers and shirt are all to be seen"


def test_a_skirt_spans_the_gap_between_the_legs(body, renderer):
    rotations = torch.eye(3).repeat(1, 22, 1, 1)
    for joint, angle in ((1, 0.3), (2, -0.3)):
        rotations[:, joint] = roma.euler_to_rotmat("z", torch.tensor([angle]))
    view = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    rotations[:, 0] = view
    points = body.points("coco_17", rotations, torch.zeros(1, 11))
    scene = random_scene(points, view, ALONE, torch.Generator().manual_seed(0))
    vertices = body.vertices(rotations, torch.zeros(1, 11)) + scene.translations[:, None]
    knees = to_picture(points[0, 13:15] + scene.translations[0], scene.box, renderer.size)
    column, row = knees.mean(0).round().long().tolist()
    for skirt, there in ((True, True), (False, False)):
        outfit = replace(bare(), garments=(Garment(-0.6, 0.1, BLUE, skirt=skirt),))
        picture = renderer.render(vertices, replace(scene, looks=(outfit,)))
        assert bool(picture.person[row, column]) == there
        assert not there or picture.image[row, column].argmax() == 2, "and is blue"


@pytest.mark.parametrize("tube", [False, True])
def test_things_are_where_they_are(body, renderer, tube, photograph, solid):
    scene, vertices, _ = photograph(body, 1, ALONE)
    turn = roma.rotvec_to_rotmat(torch.tensor([0.4, -0.7, 0.3]))
    thing = solid(tube, [0.05, -0.03, 2.0], [0.3, 0.1, 0.2], turn)
    box = torch.tensor([0.0, 0.0, 0.5])
    far = replace(scene, solids=thing, box=box, translations=scene.translations + 100)
    renderer.render(vertices, scene)  # makes what dresses people
    owner, depth = (torch.as_tensor(part) for part in renderer._dressed(vertices + 100.0, far, box)[2:0:-1])
    wanted = marching(renderer.size, box, thing, torch.linspace(1.4, 2.6, 600))
    found = owner == 1
    assert 0.01 < found.float().mean() < 0.9 and (found != wanted.isfinite()).float().mean() < 0.005
    both = found & wanted.isfinite()
    assert (wanted[both] - depth[both]).abs().max() < 0.02


def test_surroundings_are_the_sides_of_a_box(body, renderer, photograph):
    "Against the nearest of six planes, ray by ray; above the walls is the sky."
    scene, vertices, _ = photograph(body, 0, ALONE)
    colours = torch.tensor([RED, GREEN, (0.8, 0.8, 0.8), BLUE, YELLOW, (0.05, 0.8, 0.8)])
    materials = tuple(Material(tuple(c), tuple(c), roughness=0.0) for c in colours.tolist())
    materials = tuple(replace(m, top=2.2) if k != 3 else m for k, m in enumerate(materials))
    axes = LEVEL @ roma.rotvec_to_rotmat(torch.tensor([0.2, 0.5, 0.1]))
    low, high, sky = (-1.5, -1.3, -2.0), (1.2, 1.5, 3.0), ((0.7, 0.1, 0.7), (0.7, 0.1, 0.7))
    for open_air in (False, True):
        around = Surroundings(axes, low, high, materials, (), sky if open_air else None, shadow=0.0)
        box = torch.tensor([0.1, 0.0, 2.0])
        image = renderer._dressed(vertices + 100.0, replace(scene, backdrop=around), box)[0]
        grid = (torch.arange(renderer.size) + 0.5) / renderer.size * 2 - 1
        rays = torch.stack([*torch.meshgrid(grid + 0.1, grid, indexing="xy"), torch.ones(len(grid), len(grid))], -1)
        turned = (rays @ axes.T)[..., None, :]
        planes = torch.tensor([low, high])[:, :].T.flatten()[None, None]  # low x, high x, low y, …
        far = planes / turned.repeat_interleave(2, -1)[..., 0, :]
        side = far.where(far > 0, torch.inf).argmin(-1)
        order = torch.tensor([1, 0, 3, 2, 5, 4])[side]  # materials are high, low, high, …
        rise = (far.gather(-1, side[..., None])[..., 0] * turned[..., 0, 1]) - low[1]
        palette = torch.cat([colours, torch.tensor([sky[0]])])
        wanted = torch.where(torch.tensor(open_air) & (order != 3) & ((rise > 2.2) | (order == 2)), 6, order)
        found = torch.nn.functional.normalize(image.float(), dim=-1)
        found = (found @ torch.nn.functional.normalize(palette, dim=-1).T).argmax(-1)
        assert (found == wanted).float().mean() > 0.985 and len(wanted.unique()) >= 4


def test_shadows_lie_where_the_way_to_the_light_is_barred(body, photograph):
    scene, vertices, _ = photograph(body, 5, replace(ALONE, elevation=(35.0, 36.0)))
    renderer = Renderer(body, 96, "cpu")
    scene = replace(scene, looks=(bare(),), solids=Solids.none(), box=scene.box * torch.tensor([1.0, 1.0, 1.8]))
    light = torch.nn.functional.normalize(scene.backdrop.axes[1] + 0.7 * scene.backdrop.axes[0], dim=0)
    lights = replace(EVENLY, directions=torch.stack([light, light]))
    dark, bright = (
        renderer.render(
            vertices, replace(scene, lights=lights, backdrop=replace(scene.backdrop, shadow=s, sharpness=1.0))
        )
        for s in (0.9, 0.0)
    )
    ratio = dark.image.float().sum(-1) / bright.image.float().sum(-1).clamp(min=1)
    up, height = scene.backdrop.axes[1], scene.backdrop.height
    barred, free = [], []
    for row in range(30, 96, 4):
        for column in range(2, 96, 4):
            share = (torch.tensor([column, row]) + 0.5) / 96 - 0.5
            ray = torch.tensor([*(scene.box[:2] + share * scene.box[2]).tolist(), 1.0])
            fall = float(ray @ up)
            if dark.owner[row, column] >= 0 or fall >= 0 or bright.image[row, column].sum() < 60:
                continue
            spot = ray * (-height / fall)
            if (spot - vertices[0].mean(0)).norm() < 1.6:
                hit = nearest_hit(vertices[0], body.faces, spot, light)
                (barred if hit < torch.inf else free).append(float(ratio[row, column]))
    assert len(barred) > 3 and len(free) > 20
    assert np.mean(barred) < 0.7 < 0.9 < np.mean(free)


def test_the_same_scene_has_the_same_bits_whatever_was_rendered_before(body, renderer, photograph):
    scene, vertices, _ = photograph(body, 11, everyday_scenes())
    before = renderer.render(vertices, scene)
    renderer.render(*reversed(photograph(body, 12, everyday_scenes())[:2]))
    fresh = Renderer(body, renderer.size, "cpu").render(vertices, scene)
    for name in ("image", "depth", "owner", "crowd"):
        assert torch.equal(getattr(before, name), getattr(fresh, name)), name
