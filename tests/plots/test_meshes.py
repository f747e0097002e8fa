"Bodies: upright, side by side, thinned alike, and coloured by numbers."

import numpy as np
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, NotFiniteError, ShapeError, UnknownNameError
from probpose.plots.meshes import mesh_figure
from probpose.plots.scenes import VIEWS
from probpose.plots.style import to_drawing_axes

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


def meshes(fig):
    return [trace for trace in fig.data if trace.type == "mesh3d"]


FIGURES = {
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


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_reads_on_light_and_dark_and_stays_small(name, check_style):
    check_style(FIGURES[name]())


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
