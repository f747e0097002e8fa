"The selector: its menu switches the traces of one method and nothing else."

import numpy as np
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, NotFiniteError, ShapeError, UnknownNameError
from probpose.evidence.gaussians import Gaussians, render_gaussians
from probpose.geometry.conversions import rest_pose
from probpose.plots.methods import method_selector
from probpose.plots.style import to_drawing_axes

PERSON = rest_pose("h36m_17")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=make_generator(seed))


HYPOTHESES = PERSON + 0.05 * noise(200, 17, 3)
POINTS = 31 + 24 * rest_pose("mpii_16")[:, :2]
COVARIANCE = torch.diag_embed(4 + 20 * noise(16, 2).square())
FIT = Gaussians(torch.ones(16), POINTS, COVARIANCE, torch.ones(16, dtype=torch.bool), torch.zeros(16))
MAPS = render_gaussians(FIT)
METHODS = {f"method {i}": PERSON + 0.02 * (i + 1) * noise(40, 17, 3, seed=i) for i in range(7)}
FLAT = {name: POINTS + 2 * noise(40, 16, 2) for name in METHODS}
FIGURES = {
    "selector": lambda: method_selector(METHODS, MAPS, POINTS, PERSON, FLAT, density={"method 2": noise(40)}),
    "selector, space only": lambda: method_selector({"one": PERSON}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_reads_on_light_and_dark_and_stays_small(name, check_style):
    check_style(FIGURES[name]())


def test_menu_switches_each_methods_traces_and_nothing_else():
    fig = method_selector(METHODS, MAPS, POINTS, PERSON, FLAT, selected="method 4")
    (menu,) = fig.layout.updatemenus
    assert [button.label for button in menu.buttons] == list(METHODS) and menu.active == 4
    assert {button.method for button in menu.buttons} == {"restyle"} and all(
        list(button.args[0]) == ["visible"] for button in menu.buttons
    )
    switched = menu.buttons[0].args[1]
    visible = np.array([button.args[0]["visible"] for button in menu.buttons])
    assert len(set(switched)) == len(switched) and (visible.sum(0) == 1).all(), (
        "each switched trace belongs to one method"
    )
    assert [fig.data[i].visible for i in switched] == visible[4].tolist()
    assert {fig.data[i].name for i in switched} == {"hypotheses", "projected hypotheses"}
    assert all(trace.visible is None for i, trace in enumerate(fig.data) if i not in switched)
    assert sum(trace.type == "heatmap" for trace in fig.data) == 1
    assert fig.layout.uirevision and fig.layout.scene.uirevision and len(fig.data) < 110


def test_menu_shows_every_hypothesis_and_its_projection_in_fixed_axes():
    fig = method_selector(METHODS, MAPS, POINTS, PERSON, FLAT)
    menu, everything = (
        fig.layout.updatemenus[0],
        np.concatenate([to_drawing_axes(h).reshape(-1, 3) for h in METHODS.values()]),
    )
    for (name, hypotheses), button in zip(METHODS.items(), menu.buttons):
        mine = [fig.data[i] for i, on in zip(button.args[1], button.args[0]["visible"]) if on]
        drawn = {v for trace in mine if trace.type == "scatter3d" for v in trace.x if v is not None}
        assert drawn == set(to_drawing_axes(hypotheses)[..., 0].ravel().tolist())
        (cloud,) = [trace for trace in mine if trace.type == "scatter"]
        assert np.allclose(np.stack([cloud.x, cloud.y], -1), FLAT[name].reshape(-1, 2).numpy(), atol=0.051)
    for axis, values in zip(("xaxis", "yaxis", "zaxis"), everything.T):
        low, high = fig.layout.scene[axis].range
        assert low <= values.min() and values.max() <= high
    assert list(fig.layout.xaxis.range) == [-0.5, 63.5] and list(fig.layout.yaxis.range) == [63.5, -0.5]


def test_without_a_density_lonely_hypotheses_are_faint():
    crowd = PERSON + 0.01 * noise(20, 17, 3)
    fig = method_selector({"one": torch.cat([crowd, PERSON[None] + torch.tensor([2.0, 0.0, 0.0])])})
    seen = {
        trace.opacity: max(v for v in trace.x if v is not None)
        for trace in fig.data
        if trace.name == "hypotheses" and trace.opacity is not None
    }
    assert len(seen) == 3 and seen[min(seen)] > 2 > max(seen[opacity] for opacity in sorted(seen)[1:])


def test_menu_thins_hypotheses_and_projections_alike():
    fig = method_selector(
        {"one": HYPOTHESES}, hypotheses_2d={"one": torch.arange(200.0)[:, None, None].expand(200, 16, 2)}, most=5
    )
    cloud = next(trace for trace in fig.data if trace.type == "scatter" and trace.visible)
    kept = np.unique(cloud.x).astype(int)
    drawn = {v for trace in fig.data if trace.type == "scatter3d" and trace.visible for v in trace.x if v is not None}
    assert len(kept) == 5 and drawn == set(to_drawing_axes(HYPOTHESES[kept])[..., 0].ravel().tolist())


def test_selector_of_many_hypotheses_stays_small():
    many = {f"method {i}": PERSON + noise(1000, 17, 3) for i in range(7)}
    assert (
        len(method_selector(many, MAPS, POINTS, PERSON, {name: POINTS + noise(1000, 16, 2) for name in many}).to_json())
        < 400_000
    )


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ConfigError, lambda: method_selector({})),
        (ConfigError, lambda: method_selector([HYPOTHESES])),
        (ConfigError, lambda: method_selector(METHODS, most=0)),
        (ConfigError, lambda: method_selector(METHODS, density=torch.ones(40))),
        (UnknownNameError, lambda: method_selector(METHODS, selected="other")),
        (UnknownNameError, lambda: method_selector(METHODS, hypotheses_2d={"other": FLAT["method 1"]})),
        (UnknownNameError, lambda: method_selector(METHODS, view="below")),
        (ShapeError, lambda: method_selector({"one": HYPOTHESES[:, :16]})),
        (ShapeError, lambda: method_selector(METHODS, target=HYPOTHESES)),
        (ShapeError, lambda: method_selector(METHODS, heatmaps=MAPS[None])),
        (ShapeError, lambda: method_selector(METHODS, keypoints=POINTS[:5])),
        (ShapeError, lambda: method_selector(METHODS, hypotheses_2d={"method 1": FLAT["method 1"][:39]})),
        (ShapeError, lambda: method_selector(METHODS, density={"method 1": torch.ones(39)})),
        (NotFiniteError, lambda: method_selector({"one": HYPOTHESES * float("nan")})),
    ],
)
def test_bad_input_is_refused(error, call):
    with pytest.raises(error, match="expected"):
        call()
