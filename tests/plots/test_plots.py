"""Figures: upright, equal aspect, readable on any background, small, and true to the numbers."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, NotFiniteError, ShapeError, UnknownNameError
from probpose.evidence.gaussians import Gaussians, render_gaussians
from probpose.geometry.conversions import rest_pose
from probpose.geometry.skeletons import SKELETONS
from probpose.plots.curves import (
    bar_comparison,
    box_comparison,
    calibration_figure,
    error_curve,
    over_seeds,
    spread_figure,
    trend_figure,
)
from probpose.plots.maps import ellipse_points, heatmap_overlay, joint_heatmaps
from probpose.plots.methods import method_selector
from probpose.plots.poses import pose_figure, pose_panels, skeleton_figure, two_views
from probpose.plots.scenes import VIEWS
from probpose.plots.style import GREY, to_drawing_axes
from probpose.plots.tables import score_heatmap
from probpose.plots.tradeoffs import tradeoff_figure

PERSON = rest_pose("h36m_17")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=make_generator(seed))


HYPOTHESES = PERSON + 0.05 * noise(200, 17, 3)
POINTS = 31 + 24 * rest_pose("mpii_16")[:, :2]
COVARIANCE = torch.diag_embed(4 + 20 * noise(16, 2).square())
FIT = Gaussians(torch.ones(16), POINTS, COVARIANCE, torch.ones(16, dtype=torch.bool), torch.zeros(16))
MAPS = render_gaussians(FIT)
RUNS = pd.DataFrame(
    [
        dict(variant=v, hypotheses=n, action=a, seed=s, value=50 / n + 4 * s + 9 * (v == "b") + 2 * (a == "sit"))
        for v in "ab"
        for n in (1, 10, 200)
        for a in ("walk", "sit")
        for s in (0, 1, 2)
    ]
)
LEVELS = torch.linspace(0.05, 0.95, 19)
METHODS = {f"method {i}": PERSON + 0.02 * (i + 1) * noise(40, 17, 3, seed=i) for i in range(7)}
FLAT = {name: POINTS + 2 * noise(40, 16, 2) for name in METHODS}
COSTS = pd.DataFrame(
    [
        dict(variant=v, steps=n, seconds=0.02 * n, value=60 + e / n, stderr=0.5)
        for v, e in (("diffusion", 30), ("flow matching", 12))
        for n in (1, 2, 5, 10, 25)
    ]
    + [dict(variant="one step", seconds=0.05, value=63.0)]
)
SCORES = pd.DataFrame(
    [
        dict(variant=v, metric=m, value=float(i + 10 * j))
        for i, v in enumerate("abc")
        for j, m in enumerate(("mpjpe", "pck", "gap"))
        if (v, m) != ("c", "pck")
    ]
)

FIGURES = {
    "pose": lambda: pose_figure(HYPOTHESES, target=PERSON, mode=PERSON + 0.01, density=noise(200)),
    "single pose": lambda: pose_figure(PERSON, floor=False),
    "two views": lambda: two_views(HYPOTHESES, target=PERSON),
    "panels": lambda: pose_panels({"one": HYPOTHESES, "other": PERSON}, target={"one": PERSON}),
    "skeleton": lambda: skeleton_figure("smpl_24", labels="name"),
    "overlay": lambda: heatmap_overlay(MAPS, FIT, POINTS, POINTS + noise(50, 16, 2), POINTS),
    "one map": lambda: heatmap_overlay(MAPS[0]),
    "joints": lambda: joint_heatmaps(MAPS, FIT, POINTS + noise(50, 16, 2), POINTS),
    "curve": lambda: error_curve(RUNS, log_x=True, references={"published": 20.0}),
    "bars": lambda: bar_comparison(RUNS, hatched=["b"]),
    "boxes": lambda: box_comparison(RUNS, group="action"),
    "calibration": lambda: calibration_figure({"model": (LEVELS, LEVELS**2)}),
    "spread": lambda: spread_figure(1000 * HYPOTHESES.std(0)),
    "trend": lambda: trend_figure(noise(5000).square() + 1, noise(5000, seed=1).abs()),
    "selector": lambda: method_selector(METHODS, MAPS, POINTS, PERSON, FLAT, density={"method 2": noise(40)}),
    "selector, space only": lambda: method_selector({"one": PERSON}),
    "tradeoff": lambda: tradeoff_figure(COSTS, within=(60.48, 0.01)),
    "scores": lambda: score_heatmap(SCORES),
}


def opaque_extremes(node):
    "Colours in a figure's JSON that vanish on a white or on a black page."
    if isinstance(node, dict):
        for key, value in node.items():
            if key != "hoverlabel":
                yield from opaque_extremes(value)
    elif isinstance(node, list):
        for value in node[:50]:
            yield from opaque_extremes(value)
    elif isinstance(node, str) and node.lower() in {
        "white",
        "black",
        "#fff",
        "#ffffff",
        "#000",
        "#000000",
        "#2a3f5f",
        "#444",
    }:
        yield node


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_reads_on_light_and_dark_and_stays_small(name):
    fig = FIGURES[name]()
    text = fig.to_json()
    content = json.loads(text)
    assert len(text) < 400_000
    assert not list(opaque_extremes(content["data"])) and not list(opaque_extremes(content["layout"]))
    template = fig.layout.template.layout
    for owner in ("paper_bgcolor", "plot_bgcolor"):
        assert (fig.layout[owner] or template[owner]) == "rgba(0,0,0,0)"
    assert (fig.layout.font.color or template.font.color) == GREY
    assert (fig.layout.legend.orientation or template.legend.orientation) == "h"
    for side in "lrb":
        margin = fig.layout.margin[side]
        assert (template.margin[side] if margin is None else margin) <= 2
    assert len({trace.name for trace in fig.data if trace.showlegend}) == sum(
        bool(trace.showlegend) for trace in fig.data
    ), "no legend entry twice"


@pytest.mark.parametrize("view", list(VIEWS))
def test_people_stand_upright_in_every_view(view):
    fig = pose_figure(PERSON, target=PERSON, view=view)
    heights = np.array([v for trace in fig.data if trace.name == "ground truth" for v in trace.z if v is not None])
    assert heights.max() == pytest.approx(-float(PERSON[:, 1].min()), abs=2e-3)
    assert heights.min() == pytest.approx(-float(PERSON[:, 1].max()), abs=2e-3)
    camera = fig.layout.scene.camera
    assert (camera.up.x, camera.up.y, camera.up.z) == (0, 0, 1)
    assert camera.eye.y < 0 or view == "side", "the viewer stands on the camera's side"


def test_drawing_axes_are_a_rotation():
    assert np.linalg.det(to_drawing_axes(torch.eye(3))) == pytest.approx(1)
    drawn = to_drawing_axes(PERSON)
    assert drawn[16, 0] < 0 < drawn[13, 0], "seen from the front, the right hand is on the left"
    assert np.allclose(
        np.linalg.norm(drawn[1:] - drawn[:-1], axis=-1), (PERSON[1:] - PERSON[:-1]).norm(dim=-1).numpy(), atol=2e-3
    )


@pytest.mark.parametrize("make", [FIGURES["pose"], FIGURES["two views"], FIGURES["panels"]])
def test_aspect_is_equal_and_nothing_is_cut_off(make):
    fig = make()
    for name in [key for key in fig.layout.to_plotly_json() if key.startswith("scene")]:
        scene = fig.layout[name]
        spans = np.array([np.ptp(scene[axis].range) for axis in ("xaxis", "yaxis", "zaxis")])
        scale = spans / [scene.aspectratio[k] for k in "xyz"]
        assert np.allclose(scale, scale[0])
        for axis, letter in (("xaxis", "x"), ("yaxis", "y"), ("zaxis", "z")):
            values = [
                v
                for trace in fig.data
                if trace.scene == (name if name != "scene" else trace.scene) and trace.type == "scatter3d"
                for v in trace[letter]
                if v is not None
            ]
            if name != "scene" or len(fig.layout.annotations) == 0:
                low, high = scene[axis].range
                assert low <= min(values) and max(values) <= high


def test_opacity_follows_the_rank_of_the_density():
    density = torch.arange(30.0) ** 9  # a log-density may span any range
    fig = pose_figure(PERSON + torch.arange(30.0)[:, None, None] / 10, density=density, most=30, floor=False)
    seen = {}
    for trace in fig.data:
        if trace.name == "hypotheses" and trace.opacity is not None:
            seen.setdefault(trace.opacity, []).extend(v for v in trace.x if v is not None)
    means = [np.mean(seen[opacity]) for opacity in sorted(seen)]
    assert len(means) == 5 and means == sorted(means), "the likelier, the clearer"


def test_every_bone_is_drawn():
    for body in SKELETONS.values():
        fig = pose_figure(rest_pose(body), skeleton=body, floor=False)
        segments = sum(sum(v is not None for v in trace.x) for trace in fig.data) / 2
        assert segments == len(body.links)


def test_ellipses_are_level_sets():
    angle = torch.tensor(0.4)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    covariance = (turn @ torch.diag(torch.tensor([9.0, 1.0])) @ turn.T)[None]
    ring = ellipse_points(torch.tensor([[5.0, 7.0]]), covariance, deviations=1.5)[0] - [5, 7]
    assert np.allclose(np.einsum("ti,ij,tj->t", ring, np.linalg.inv(covariance[0].numpy()), ring), 2.25, atol=1e-4)
    farthest = ring[np.linalg.norm(ring, axis=1).argmax()]
    assert abs(np.arctan(farthest[1] / farthest[0]) - 0.4) < 0.1
    assert np.isfinite(ellipse_points(torch.zeros(1, 2), torch.tensor([[[1.0, 0.0], [0.0, -1e-6]]]))).all()


def test_heatmap_rows_point_down():
    fig = heatmap_overlay(MAPS, keypoints=POINTS)
    assert fig.layout.yaxis.range[0] > fig.layout.yaxis.range[1] and fig.layout.yaxis.scaleanchor == "x"
    assert np.allclose(fig.data[0].z / 100, MAPS.amax(0).numpy(), atol=0.006)


def test_curve_shows_mean_and_deviation_over_seeds():
    one = RUNS[RUNS.variant == "a"]
    fig = error_curve(one)
    line = next(trace for trace in fig.data if trace.mode == "lines+markers")
    wanted = one.groupby(["hypotheses", "seed"]).value.mean().groupby("hypotheses").agg(["mean", "std"])
    assert np.allclose(line.y, wanted["mean"]) and list(line.x) == [1, 10, 200]
    band = next(trace for trace in fig.data if trace.fill == "toself")
    assert np.allclose(band.y[:3], wanted["mean"] + wanted["std"]) and np.allclose(
        band.y[3:], (wanted["mean"] - wanted["std"])[::-1]
    )
    assert not any(trace.fill for trace in error_curve(one[one.seed == 0]).data)
    assert not any(trace.fill for trace in error_curve(one[one.seed == 0].drop(columns="seed")).data)


def test_frames_do_not_count_as_seeds():
    frames = pd.DataFrame(
        dict(
            variant="a",
            seed=np.repeat([0, 1], 100),
            value=np.concatenate([np.linspace(0, 20, 100), np.linspace(2, 22, 100)]),
        )
    )
    summary = over_seeds(frames, ["variant"])
    assert (
        summary["mean"][0] == pytest.approx(11)
        and summary["std"][0] == pytest.approx(np.std([10, 12], ddof=1))
        and summary["seeds"][0] == 2
    )


def test_bars_and_boxes_show_the_numbers():
    bars = bar_comparison(RUNS)
    assert np.allclose(
        bars.data[0].y, [RUNS[(RUNS.variant == "a") & (RUNS.action == a)].value.mean() for a in ("walk", "sit")]
    )
    boxes = box_comparison(RUNS, category="variant")
    assert np.allclose(boxes.data[0].median, RUNS.groupby("variant").value.median())
    assert np.allclose(boxes.data[0].upperfence, RUNS.groupby("variant").value.quantile(0.95))


def test_spread_averages_images():
    spread = torch.stack([torch.full((17, 3), 10.0), torch.full((17, 3), 30.0)])
    assert np.allclose(spread_figure(spread).data[0].y, 20)


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


def test_tradeoff_draws_lines_single_markers_and_error_bars():
    fig = tradeoff_figure(COSTS.sample(frac=1, random_state=0), group="variant")
    lines = {trace.name: trace for trace in fig.data}
    assert (
        fig.layout.xaxis.type == "log"
        and lines["one step"].mode == "markers"
        and lines["diffusion"].mode == "lines+markers+text"
    )
    assert list(lines["diffusion"].text) == ["1", "2", "5", "10", "25"] and list(lines["diffusion"].x) == sorted(
        lines["diffusion"].x
    )
    assert list(lines["diffusion"].error_y.array) == [0.5] * 5 and not lines["one step"].error_y.visible
    low, high = fig.layout.yaxis.range
    assert (
        low < 59.9 and high > 90.5 and 10 ** fig.layout.xaxis.range[0] < 0.02 and 10 ** fig.layout.xaxis.range[1] > 0.5
    )
    assert all(
        10 ** fig.layout.xaxis.range[0] <= tick <= 10 ** fig.layout.xaxis.range[1] for tick in fig.layout.xaxis.tickvals
    )


def test_tradeoff_band_and_its_legend():
    fig = tradeoff_figure(COSTS, within=(50.0, 0.02))
    band = next(trace for trace in fig.data if trace.fill == "toself")
    assert set(band.y) == {49.0, 51.0} and band.name == "within 2 % of 50" and fig.layout.yaxis.range[0] < 49
    assert (
        tradeoff_figure(COSTS, within=(50.0, 0.02), within_label="as good as 25 steps").data[0].name
        == "as good as 25 steps"
    )


def test_labels_of_markers_do_not_cover_each_other():
    crowded = pd.DataFrame(
        dict(
            variant=list("abcd"),
            steps=[100, 200, 300, 400],
            seconds=[1.0, 1.0, 1.02, 1.02],
            value=[50.0, 50.2, 50.0, 50.2],
        )
    )
    fig = tradeoff_figure(pd.concat([crowded, pd.DataFrame([dict(variant="far", steps=1, seconds=0.01, value=90.0)])]))
    places = [trace.textposition[0] for trace in fig.data if trace.name in "abcd"]
    assert len(set(places)) == 4


def test_scores_are_coloured_column_by_column():
    fig = score_heatmap(
        SCORES, better={"pck": "higher", "gap": 20.9}, text={"mpjpe": ".2f"}, headings={"pck": "PCK (%)"}
    )
    cells, missing, words = fig.data
    assert [row[0] for row in cells.z] == [1, 0.5, 0], "lower is better"
    assert [row[1] for row in cells.z] == [0, 1, None], "higher is better"
    assert [row[2] for row in cells.z] == [0.2, 1, 0], "21 is closest to 20.9, then 20, then 22"
    assert [row[1] for row in missing.z] == [None, None, 1]
    assert list(words.text) == [
        "<b>0.00</b>",
        "10.0",
        "20.0",
        "1.00",
        "<b>11.0</b>",
        "<b>21.0</b>",
        "2.00",
        "–",
        "22.0",
    ]
    assert list(fig.layout.xaxis.ticktext) == ["mpjpe", "PCK (%)", "gap"] and list(fig.layout.yaxis.ticktext) == [
        "a",
        "b",
        "c",
    ]
    assert words.textfont.color is None, "numbers have the colour of the page's text"
    assert all(
        "rgba" in colour and float(colour.rstrip(")").split(",")[-1]) <= 0.5
        for trace in (cells, missing)
        for _, colour in trace.colorscale
    )


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ShapeError, lambda: pose_figure(HYPOTHESES[:0])),
        (ShapeError, lambda: pose_figure(HYPOTHESES[:, :16])),
        (ShapeError, lambda: pose_figure(HYPOTHESES[:, None])),
        (ShapeError, lambda: pose_figure(HYPOTHESES, target=HYPOTHESES)),
        (ShapeError, lambda: pose_figure(HYPOTHESES, density=torch.ones(3))),
        (ShapeError, lambda: pose_figure(torch.zeros(17, 2))),
        (NotFiniteError, lambda: pose_figure(HYPOTHESES * float("nan"))),
        (UnknownNameError, lambda: pose_figure(HYPOTHESES, view="below")),
        (UnknownNameError, lambda: pose_figure(HYPOTHESES, skeleton="h36m")),
        (ConfigError, lambda: pose_figure(HYPOTHESES, most=0)),
        (ConfigError, lambda: pose_panels({})),
        (ShapeError, lambda: heatmap_overlay(MAPS[None])),
        (ShapeError, lambda: heatmap_overlay(torch.zeros(0, 64, 64))),
        (ShapeError, lambda: heatmap_overlay(MAPS, keypoints=POINTS[:5])),
        (NotFiniteError, lambda: heatmap_overlay(MAPS * float("inf"))),
        (ShapeError, lambda: joint_heatmaps(MAPS[:15])),
        (ShapeError, lambda: ellipse_points(torch.zeros(2, 2), torch.zeros(2, 2))),
        (UnknownNameError, lambda: error_curve(RUNS, x="samples")),
        (UnknownNameError, lambda: error_curve(RUNS.iloc[:0])),
        (ConfigError, lambda: bar_comparison({"a": 1})),
        (UnknownNameError, lambda: box_comparison(RUNS, value="mm")),
        (ShapeError, lambda: calibration_figure((LEVELS, LEVELS[1:]))),
        (ShapeError, lambda: spread_figure(torch.ones(16, 3))),
        (ShapeError, lambda: trend_figure(LEVELS, LEVELS[1:])),
        (ShapeError, lambda: trend_figure([], [])),
        (UnknownNameError, lambda: skeleton_figure("coco_17", labels="all")),
        (ShapeError, lambda: skeleton_figure("coco_17", points=torch.zeros(16, 3))),
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
        (UnknownNameError, lambda: tradeoff_figure(COSTS, x="time")),
        (UnknownNameError, lambda: tradeoff_figure(COSTS.iloc[:0])),
        (ConfigError, lambda: tradeoff_figure(COSTS.assign(seconds=0.0))),
        (ConfigError, lambda: tradeoff_figure(COSTS.assign(value="low"))),
        (ConfigError, lambda: tradeoff_figure(COSTS, within=(60.0, -0.01))),
        (NotFiniteError, lambda: tradeoff_figure(COSTS.assign(value=float("nan")))),
        (UnknownNameError, lambda: score_heatmap(SCORES, rows="method")),
        (UnknownNameError, lambda: score_heatmap(SCORES, better={"pkc": "higher"})),
        (UnknownNameError, lambda: score_heatmap(SCORES, headings={"pkc": "PCK (%)"})),
        (ConfigError, lambda: score_heatmap(SCORES, better="less")),
        (ConfigError, lambda: score_heatmap(SCORES, text="label")),
        (ConfigError, lambda: score_heatmap(pd.concat([SCORES, SCORES]))),
        (NotFiniteError, lambda: score_heatmap(SCORES.assign(value=float("inf")))),
    ],
)
def test_bad_input(error, call):
    with pytest.raises(error):
        call()


def test_calibration_curve_of_the_metrics_module_is_accepted():
    from probpose.metrics.calibration import calibration_curve

    curve = calibration_curve(PERSON + noise(100, 5, 17, 3), PERSON + noise(5, 17, 3, seed=1))
    fig = calibration_figure(curve)
    assert np.allclose(fig.data[1].y, curve.observed.numpy(), atol=1e-3)
    assert np.allclose(
        calibration_figure(pd.DataFrame(dict(levels=LEVELS.numpy(), observed=LEVELS.numpy()))).data[1].x,
        LEVELS.numpy(),
        atol=1e-3,
    )
