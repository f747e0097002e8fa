"""Figures of pictures and surfaces: upright, small, readable on any background, and true to masks and points."""

import base64
import io
import json

import numpy as np
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, NotFiniteError, ShapeError, UnknownNameError
from probpose.plots.meshes import mesh_figure
from probpose.plots.pictures import image_grid, mask_outline, overlay_figure
from probpose.plots.scenes import VIEWS
from probpose.plots.style import GREY, to_drawing_axes

pytest.importorskip("PIL")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=make_generator(seed))


def ball(radius=0.4, rings=60):
    "A ball of rings × rings vertices with a hat: the tip of the first vertex shows which way is up."
    a, b = torch.meshgrid(
        torch.linspace(0, torch.pi, rings), torch.linspace(0, 2 * torch.pi, rings + 1)[:-1], indexing="ij"
    )
    points = radius * torch.stack([a.sin() * b.cos(), -a.cos(), a.sin() * b.sin()], -1).reshape(-1, 3)
    points[:rings, 1] -= 0.5
    cell = torch.arange((rings - 1) * rings)
    right = cell // rings * rings + (cell % rings + 1) % rings
    return points, torch.cat(
        [torch.stack([cell, right, cell + rings], -1), torch.stack([right, right + rings, cell + rings], -1)]
    )


BALL, FACES = ball()
BODIES = BALL + 0.05 * noise(8, 1, 3)
Y, X = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
MASKS = torch.stack([((X - 100 - 20 * i) / 40).square() + ((Y - 128) / 90).square() < 1 for i in range(5)])
IMAGES = torch.where(MASKS[..., None], torch.tensor([200, 160, 120]), (X // 2)[None, ..., None]).to(torch.uint8)
POINTS = torch.tensor([[25.0, 30.0], [30.0, 20.0], [35.0, 40.0], [40.0, 30.0], [45.0, 30.0]])
SAMPLES = POINTS + 5 * noise(100, 5, 2)

FIGURES = {
    "grid": lambda: image_grid(IMAGES, [f"picture {i}" for i in range(5)]),
    "one picture": lambda: image_grid(IMAGES[0]),
    "overlay": lambda: overlay_figure(IMAGES, SAMPLES, POINTS, MASKS, list("abcde")),
    "overlay without a mask": lambda: overlay_figure(IMAGES, SAMPLES),
    "row": lambda: mesh_figure(BODIES, FACES, target=BALL, names=["mode", *map(str, range(7))]),
    "menu": lambda: mesh_figure(
        BODIES,
        FACES,
        target=BALL,
        arrangement="menu",
        image=IMAGES[0],
        hypotheses_2d=noise(8, 17, 2) + 30,
        mask=MASKS[0],
        target_2d=POINTS,
    ),
    "row and picture": lambda: mesh_figure(BODIES, FACES, image=IMAGES[0], hypotheses_2d=noise(8, 17, 2) + 30, most=3),
    "coloured": lambda: mesh_figure(BODIES, FACES, intensity=BODIES[0, :, 1].abs(), most=2, target=BALL),
    "one body": lambda: mesh_figure(BALL, FACES, floor=False, cell=None),
}


def entries(fig):
    "Names in the legend."
    return [trace.name for trace in fig.data if trace.type != "image" and trace.showlegend]


def meshes(fig):
    return [trace for trace in fig.data if trace.type == "mesh3d"]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_reads_on_light_and_dark_and_stays_small(name):
    fig = FIGURES[name]()
    text = fig.to_json()
    assert len(text) < 900_000 and not any(
        f'"{colour}"' in json.dumps(json.loads(text)["data"]).lower()
        for colour in ("white", "black", "#fff", "#ffffff", "#000", "#000000")
    )
    template = fig.layout.template.layout
    assert all((fig.layout[owner] or template[owner]) == "rgba(0,0,0,0)" for owner in ("paper_bgcolor", "plot_bgcolor"))
    assert (fig.layout.font.color or template.font.color) == GREY
    assert all(
        (template.margin[side] if fig.layout.margin[side] is None else fig.layout.margin[side]) <= 2 for side in "lrb"
    )
    assert len(set(entries(fig))) == len(entries(fig)), "no legend entry twice"


# --- pictures ---


def test_pictures_are_the_images():
    from PIL import Image

    fig = image_grid(IMAGES[:2], columns=1)
    for trace, image in zip(fig.data, IMAGES):
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(trace.source.split(",")[1])))).astype(int)
        assert np.abs(seen - image.numpy()).mean() < 4
    assert fig.layout.yaxis.range[0] > fig.layout.yaxis.range[1] and fig.layout.yaxis2.scaleanchor == "x2"


def test_a_picture_covers_the_map():
    (trace,) = overlay_figure(IMAGES[0]).data
    assert (
        trace.x0 - trace.dx / 2 == pytest.approx(-0.5)
        and trace.x0 + 255.5 * trace.dx == pytest.approx(63.5)
        and trace.y0 == trace.x0
        and trace.dy == trace.dx
    )


def test_samples_outside_of_the_mask_are_triangles():
    fig = overlay_figure(IMAGES, SAMPLES, POINTS, MASKS, most=1000)
    drawn = {i: {} for i in range(5)}
    for trace in fig.data:
        if trace.type == "scatter" and len(trace.x) > 1 or (trace.type == "scatter" and trace.x[0] is not None):
            drawn[int((trace.xaxis or "x")[1:] or 1) - 1].setdefault(trace.name, trace)
    for i in range(5):
        x, y = ((SAMPLES[:, i].round(decimals=2) + 0.5) * 4).floor().long().T
        inside = MASKS[i, y.clamp(0, 255), x.clamp(0, 255)] | (x < 0) | (y < 0) | (x > 255) | (y > 255)
        assert (
            len(drawn[i]["samples"].x) == inside.sum()
            and len(drawn[i]["samples outside of the mask"].x) == (~inside).sum()
        )
        assert (
            drawn[i]["samples"].marker.symbol,
            drawn[i]["samples outside of the mask"].marker.symbol,
            drawn[i]["ground truth"].marker.symbol,
        ) == ("circle", "triangle-up", "star")
        assert np.allclose([drawn[i]["ground truth"].x[0], drawn[i]["ground truth"].y[0]], POINTS[i])
    assert entries(fig) == ["samples", "samples outside of the mask", "ground truth", "person mask"]
    assert entries(overlay_figure(IMAGES, SAMPLES)) == ["samples"] and not entries(overlay_figure(IMAGES))


def test_points_may_differ_from_image_to_image():
    fig = overlay_figure(IMAGES[:2], [noise(9, 3, 2) + 30, noise(4, 2) + 30], [POINTS[:3], POINTS[:1]])
    clouds = [trace for trace in fig.data if trace.name == "samples" and trace.x[0] is not None]
    assert [len(trace.x) for trace in clouds] == [27, 4]
    thinned = overlay_figure(IMAGES[:1], noise(500, 1, 2) + 30, most=50)
    assert [len(t.x) for t in thinned.data if t.name == "samples" and t.x[0] is not None] == [50]


def area(loop):
    x, y = np.asarray(loop).T
    return 0.5 * np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])


def test_outlines_enclose_the_mask():
    for mask in MASKS:
        (loop,) = mask_outline(mask)
        assert (loop[0] == loop[-1]).all() and area(loop) == pytest.approx(float(mask.sum()), rel=0.02)
        assert (
            abs(loop[:, 0].min() - (float(mask.any(0).nonzero()[0]) - 0.5)) < 1e-9
            and abs(loop[:, 1].max() - (float(mask.any(1).nonzero()[-1]) + 0.5)) < 1e-9
        )
    parts = MASKS[0] & (Y < 110) | MASKS[0] & (Y > 140)
    assert len(mask_outline(parts)) == 2
    ring = MASKS[0] & ~(((X - 100) / 10).square() + ((Y - 128) / 10).square() < 1)
    assert sum(area(loop) for loop in mask_outline(ring)) == pytest.approx(float(ring.sum()), rel=0.02), (
        "a hole runs the other way"
    )
    assert not mask_outline(MASKS[0] & False) and len(mask_outline(MASKS[0] | True)) == 1


def test_outlines_of_pixels_that_touch_at_a_corner():
    chess = (X[:6, :6] + Y[:6, :6]) % 2 == 0
    loops = mask_outline(chess)
    assert sum(len(loop) > 1 for loop in loops) == len(loops) >= 1


# --- surfaces ---


@pytest.mark.parametrize("view", list(VIEWS))
@pytest.mark.parametrize("arrangement", ["row", "menu"])
def test_bodies_stand_upright_in_every_view(view, arrangement):
    fig = mesh_figure(BODIES, FACES, target=BALL, view=view, arrangement=arrangement)
    for trace in meshes(fig):
        assert max(trace.z) > 0.7 and min(trace.z) < -0.2, "the hat is on top"
    assert (fig.layout.scene.camera.up.x, fig.layout.scene.camera.up.y, fig.layout.scene.camera.up.z) == (0, 0, 1)
    for axis, letter in (("xaxis", "x"), ("yaxis", "y"), ("zaxis", "z")):
        low, high = fig.layout.scene[axis].range
        values = np.concatenate([trace[letter] for trace in meshes(fig)])
        assert low <= values.min() and values.max() <= high
    spans = np.array([np.ptp(fig.layout.scene[axis].range) for axis in ("xaxis", "yaxis", "zaxis")])
    assert np.ptp(spans / [fig.layout.scene.aspectratio[k] for k in "xyz"]) < 1e-6, "a metre is as long on every axis"


@pytest.mark.parametrize("view", ["front", "side", "oblique", {"x": -1, "y": -1, "z": 0.2}])
def test_bodies_in_a_row_do_not_hide_each_other(view):
    fig = mesh_figure(BODIES, FACES, target=BALL, view=view, most=4)
    eye = fig.layout.scene.camera.eye
    right = np.array([-eye.y, eye.x]) / np.hypot(eye.x, eye.y)
    places = [np.stack([trace.x, trace.y], -1) @ right for trace in meshes(fig)]
    assert len(places) == 5 and all(a.max() < b.min() for a, b in zip(places, places[1:])), "from left to right, apart"
    (labels,) = [trace for trace in fig.data if trace.name == "names"]
    assert labels.text[-1] == "ground truth" and len(labels.text) == 5


def test_thinned_surfaces_keep_the_shape_and_the_order():
    fig = mesh_figure(BODIES, FACES, arrangement="menu", most=3, floor=False, cell=0.05)
    kept = [0, 4, 7]  # evenly chosen
    for i, trace, body in zip(kept, meshes(fig), to_drawing_axes(BODIES)[kept]):
        drawn = np.stack([trace.x, trace.y, trace.z], -1)
        assert len(drawn) < len(body) / 3 and np.abs(drawn[:, None] - body[None]).sum(-1).min(1).max() < 2e-3, (
            "vertices of the body itself"
        )
        assert trace.name == f"hypothesis {i + 1}" and max(map(max, (trace.i, trace.j, trace.k))) < len(drawn)
    whole = meshes(mesh_figure(BALL, FACES, cell=None, floor=False))[0]
    assert len(whole.x) == len(BALL) and len(whole.i) == len(FACES)


def test_the_menu_switches_bodies_with_their_projections():
    fig = FIGURES["menu"]()
    (menu,) = fig.layout.updatemenus
    switched, owners = menu.buttons[0].args[1], np.array([button.args[0]["visible"] for button in menu.buttons])
    assert [b.label for b in menu.buttons] == [f"hypothesis {i + 1}" for i in (0, 1, 3, 4, 6, 7)] and (
        owners.sum(0) == 1
    ).all()
    assert [fig.data[i].visible for i in switched] == owners[0].tolist()
    assert all(trace.visible is None for i, trace in enumerate(fig.data) if i not in switched)
    for row in owners:
        mine = [fig.data[i] for i, on in zip(switched, row) if on]
        assert sum(t.type == "mesh3d" for t in mine) == 1 and sum(len(t.x) for t in mine if t.type == "scatter") == 17


def test_colours_show_the_numbers():
    fig = FIGURES["coloured"]()
    first, second, truth = meshes(fig)
    assert (
        first.cmin == second.cmin
        and first.cmax == second.cmax
        and first.showscale
        and not second.showscale
        and truth.intensity is None
    )
    assert np.allclose(first.intensity, np.abs(first.z), atol=0.01)
    assert fig.layout.legend.x > 0.3, "beside the scale"


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ShapeError, lambda: image_grid(IMAGES.float())),
        (ShapeError, lambda: image_grid(IMAGES[..., :2])),
        (ShapeError, lambda: image_grid(IMAGES[:0])),
        (ShapeError, lambda: image_grid(IMAGES, ["a"])),
        (ConfigError, lambda: image_grid(IMAGES, columns=0)),
        (ShapeError, lambda: image_grid(IMAGES.permute(0, 3, 1, 2))),
        (ShapeError, lambda: overlay_figure(IMAGES, SAMPLES[:, :4])),
        (ShapeError, lambda: overlay_figure(IMAGES, SAMPLES[..., :1])),
        (ShapeError, lambda: overlay_figure(IMAGES, [SAMPLES[:, 0]])),
        (ShapeError, lambda: overlay_figure(IMAGES, target=POINTS[:3])),
        (ShapeError, lambda: overlay_figure(IMAGES, masks=MASKS.long())),
        (ShapeError, lambda: overlay_figure(IMAGES, masks=MASKS[0])),
        (NotFiniteError, lambda: overlay_figure(IMAGES, SAMPLES * torch.nan)),
        (ConfigError, lambda: overlay_figure(IMAGES, SAMPLES, most=0)),
        (ConfigError, lambda: overlay_figure(IMAGES, SAMPLES, map_size=0)),
        (ShapeError, lambda: mask_outline(MASKS)),
        (ShapeError, lambda: mask_outline(MASKS[0].float())),
        (ShapeError, lambda: mesh_figure(BODIES[None], FACES)),
        (ShapeError, lambda: mesh_figure(BODIES[:0], FACES)),
        (ShapeError, lambda: mesh_figure(BODIES, FACES + 1)),
        (ShapeError, lambda: mesh_figure(BODIES, FACES.float())),
        (ShapeError, lambda: mesh_figure(BODIES, FACES, target=BODIES)),
        (ShapeError, lambda: mesh_figure(BODIES, FACES, names=["a"])),
        (ShapeError, lambda: mesh_figure(BODIES, FACES, names=["a"] * 8)),
        (ShapeError, lambda: mesh_figure(BODIES, FACES, intensity=torch.zeros(3))),
        (ShapeError, lambda: mesh_figure(BODIES, FACES, image=IMAGES[0], hypotheses_2d=noise(7, 17, 2))),
        (ShapeError, lambda: mesh_figure(BODIES, FACES, image=IMAGES[0], mask=MASKS[0].float())),
        (UnknownNameError, lambda: mesh_figure(BODIES, FACES, arrangement="pile")),
        (UnknownNameError, lambda: mesh_figure(BODIES, FACES, view="below")),
        (NotFiniteError, lambda: mesh_figure(BODIES * torch.nan, FACES)),
        (ConfigError, lambda: mesh_figure(BODIES, FACES, cell=0.0)),
        (ConfigError, lambda: mesh_figure(BODIES, FACES, most=0)),
    ],
)
def test_bad_input_is_refused(error, call):
    with pytest.raises(error, match="expected"):
        call()
