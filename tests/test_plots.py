"""Figures: upright, equal aspect, readable on any background, small, and true to the numbers."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from probpose import plots
from probpose.checks import ConfigError, NotFiniteError, ShapeError, UnknownNameError, generator
from probpose.heatmaps import Gaussians, render_gaussians
from probpose.skeletons import SKELETONS, rest_pose

PERSON = rest_pose("h36m_17")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


HYPOTHESES = PERSON + 0.05 * noise(200, 17, 3)
POINTS = 31 + 24 * rest_pose("mpii_16")[:, :2]
COVARIANCE = torch.diag_embed(4 + 20 * noise(16, 2).square())
FIT = Gaussians(torch.ones(16), POINTS, COVARIANCE, torch.ones(16, dtype=torch.bool), torch.zeros(16))
MAPS = render_gaussians(FIT)
RUNS = pd.DataFrame([dict(variant=v, hypotheses=n, action=a, seed=s, value=50 / n + 4 * s + 9 * (v == "b") + 2 * (a == "sit")) for v in "ab" for n in (1, 10, 200) for a in ("walk", "sit") for s in (0, 1, 2)])
LEVELS = torch.linspace(0.05, 0.95, 19)

FIGURES = {
    "pose": lambda: plots.pose_figure(HYPOTHESES, target=PERSON, mode=PERSON + 0.01, density=noise(200)),
    "single pose": lambda: plots.pose_figure(PERSON, floor=False),
    "two views": lambda: plots.two_views(HYPOTHESES, target=PERSON),
    "panels": lambda: plots.pose_panels({"one": HYPOTHESES, "other": PERSON}, target={"one": PERSON}),
    "skeleton": lambda: plots.skeleton_figure("smpl_24", labels="name"),
    "overlay": lambda: plots.heatmap_overlay(MAPS, FIT, POINTS, POINTS + noise(50, 16, 2), POINTS),
    "one map": lambda: plots.heatmap_overlay(MAPS[0]),
    "joints": lambda: plots.joint_heatmaps(MAPS, FIT, POINTS + noise(50, 16, 2), POINTS),
    "curve": lambda: plots.error_curve(RUNS, log_x=True, references={"published": 20.0}),
    "bars": lambda: plots.bar_comparison(RUNS, hatched=["b"]),
    "boxes": lambda: plots.box_comparison(RUNS, group="action"),
    "calibration": lambda: plots.calibration_figure({"model": (LEVELS, LEVELS**2)}),
    "spread": lambda: plots.spread_figure(1000 * HYPOTHESES.std(0)),
    "trend": lambda: plots.trend_figure(noise(5000).square() + 1, noise(5000, seed=1).abs()),
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
    elif isinstance(node, str) and node.lower() in {"white", "black", "#fff", "#ffffff", "#000", "#000000", "#2a3f5f", "#444"}:
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
    assert (fig.layout.font.color or template.font.color) == plots.GREY
    assert (fig.layout.legend.orientation or template.legend.orientation) == "h"
    for side in "lrb":
        margin = fig.layout.margin[side]
        assert (template.margin[side] if margin is None else margin) <= 2
    assert len({trace.name for trace in fig.data if trace.showlegend}) == sum(bool(trace.showlegend) for trace in fig.data), "no legend entry twice"


@pytest.mark.parametrize("view", list(plots.VIEWS))
def test_people_stand_upright_in_every_view(view):
    fig = plots.pose_figure(PERSON, target=PERSON, view=view)
    heights = np.array([v for trace in fig.data if trace.name == "ground truth" for v in trace.z if v is not None])
    assert heights.max() == pytest.approx(-float(PERSON[:, 1].min()), abs=2e-3)
    assert heights.min() == pytest.approx(-float(PERSON[:, 1].max()), abs=2e-3)
    camera = fig.layout.scene.camera
    assert (camera.up.x, camera.up.y, camera.up.z) == (0, 0, 1)
    assert camera.eye.y < 0 or view == "side", "the viewer stands on the camera's side"


def test_drawing_axes_are_a_rotation():
    assert np.linalg.det(plots.upright(torch.eye(3))) == pytest.approx(1)
    drawn = plots.upright(PERSON)
    assert drawn[16, 0] < 0 < drawn[13, 0], "seen from the front, the right hand is on the left"
    assert np.allclose(np.linalg.norm(drawn[1:] - drawn[:-1], axis=-1), (PERSON[1:] - PERSON[:-1]).norm(dim=-1).numpy(), atol=2e-3)


@pytest.mark.parametrize("make", [FIGURES["pose"], FIGURES["two views"], FIGURES["panels"]])
def test_aspect_is_equal_and_nothing_is_cut_off(make):
    fig = make()
    for name in [key for key in fig.layout.to_plotly_json() if key.startswith("scene")]:
        scene = fig.layout[name]
        spans = np.array([np.ptp(scene[axis].range) for axis in ("xaxis", "yaxis", "zaxis")])
        scale = spans / [scene.aspectratio[k] for k in "xyz"]
        assert np.allclose(scale, scale[0])
        for axis, letter in (("xaxis", "x"), ("yaxis", "y"), ("zaxis", "z")):
            values = [v for trace in fig.data if trace.scene == (name if name != "scene" else trace.scene) and trace.type == "scatter3d" for v in trace[letter] if v is not None]
            if name != "scene" or len(fig.layout.annotations) == 0:
                low, high = scene[axis].range
                assert low <= min(values) and max(values) <= high


def test_opacity_follows_the_rank_of_the_density():
    density = torch.arange(30.0) ** 9  # a log-density may span any range
    fig = plots.pose_figure(PERSON + torch.arange(30.0)[:, None, None] / 10, density=density, most=30, floor=False)
    seen = {}
    for trace in fig.data:
        if trace.name == "hypotheses" and trace.opacity is not None:
            seen.setdefault(trace.opacity, []).extend(v for v in trace.x if v is not None)
    means = [np.mean(seen[opacity]) for opacity in sorted(seen)]
    assert len(means) == 5 and means == sorted(means), "the likelier, the clearer"


def test_every_bone_is_drawn():
    for body in SKELETONS.values():
        fig = plots.pose_figure(rest_pose(body), skeleton=body, floor=False)
        segments = sum(sum(v is not None for v in trace.x) for trace in fig.data) / 2
        assert segments == len(body.links)


def test_ellipses_are_level_sets():
    angle = torch.tensor(0.4)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    covariance = (turn @ torch.diag(torch.tensor([9.0, 1.0])) @ turn.T)[None]
    ring = plots.ellipse_points(torch.tensor([[5.0, 7.0]]), covariance, deviations=1.5)[0] - [5, 7]
    assert np.allclose(np.einsum("ti,ij,tj->t", ring, np.linalg.inv(covariance[0].numpy()), ring), 2.25, atol=1e-4)
    farthest = ring[np.linalg.norm(ring, axis=1).argmax()]
    assert abs(np.arctan(farthest[1] / farthest[0]) - 0.4) < 0.1
    assert np.isfinite(plots.ellipse_points(torch.zeros(1, 2), torch.tensor([[[1.0, 0.0], [0.0, -1e-6]]]))).all()


def test_heatmap_rows_point_down():
    fig = plots.heatmap_overlay(MAPS, keypoints=POINTS)
    assert fig.layout.yaxis.range[0] > fig.layout.yaxis.range[1] and fig.layout.yaxis.scaleanchor == "x"
    assert np.allclose(fig.data[0].z / 100, MAPS.amax(0).numpy(), atol=0.006)


def test_curve_shows_mean_and_deviation_over_seeds():
    one = RUNS[RUNS.variant == "a"]
    fig = plots.error_curve(one)
    line = next(trace for trace in fig.data if trace.mode == "lines+markers")
    wanted = one.groupby(["hypotheses", "seed"]).value.mean().groupby("hypotheses").agg(["mean", "std"])
    assert np.allclose(line.y, wanted["mean"]) and list(line.x) == [1, 10, 200]
    band = next(trace for trace in fig.data if trace.fill == "toself")
    assert np.allclose(band.y[:3], wanted["mean"] + wanted["std"]) and np.allclose(band.y[3:], (wanted["mean"] - wanted["std"])[::-1])
    assert not any(trace.fill for trace in plots.error_curve(one[one.seed == 0]).data)
    assert not any(trace.fill for trace in plots.error_curve(one[one.seed == 0].drop(columns="seed")).data)


def test_frames_do_not_count_as_seeds():
    frames = pd.DataFrame(dict(variant="a", seed=np.repeat([0, 1], 100), value=np.concatenate([np.linspace(0, 20, 100), np.linspace(2, 22, 100)])))
    summary = plots.over_seeds(frames, ["variant"])
    assert summary["mean"][0] == pytest.approx(11) and summary["std"][0] == pytest.approx(np.std([10, 12], ddof=1)) and summary["seeds"][0] == 2


def test_bars_and_boxes_show_the_numbers():
    bars = plots.bar_comparison(RUNS)
    assert np.allclose(bars.data[0].y, [RUNS[(RUNS.variant == "a") & (RUNS.action == a)].value.mean() for a in ("walk", "sit")])
    boxes = plots.box_comparison(RUNS, category="variant")
    assert np.allclose(boxes.data[0].median, RUNS.groupby("variant").value.median())
    assert np.allclose(boxes.data[0].upperfence, RUNS.groupby("variant").value.quantile(0.95))


def test_spread_averages_images():
    spread = torch.stack([torch.full((17, 3), 10.0), torch.full((17, 3), 30.0)])
    assert np.allclose(plots.spread_figure(spread).data[0].y, 20)


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ShapeError, lambda: plots.pose_figure(HYPOTHESES[:0])),
        (ShapeError, lambda: plots.pose_figure(HYPOTHESES[:, :16])),
        (ShapeError, lambda: plots.pose_figure(HYPOTHESES[:, None])),
        (ShapeError, lambda: plots.pose_figure(HYPOTHESES, target=HYPOTHESES)),
        (ShapeError, lambda: plots.pose_figure(HYPOTHESES, density=torch.ones(3))),
        (ShapeError, lambda: plots.pose_figure(torch.zeros(17, 2))),
        (NotFiniteError, lambda: plots.pose_figure(HYPOTHESES * float("nan"))),
        (UnknownNameError, lambda: plots.pose_figure(HYPOTHESES, view="below")),
        (UnknownNameError, lambda: plots.pose_figure(HYPOTHESES, skeleton="h36m")),
        (ConfigError, lambda: plots.pose_figure(HYPOTHESES, most=0)),
        (ConfigError, lambda: plots.pose_panels({})),
        (ShapeError, lambda: plots.heatmap_overlay(MAPS[None])),
        (ShapeError, lambda: plots.heatmap_overlay(torch.zeros(0, 64, 64))),
        (ShapeError, lambda: plots.heatmap_overlay(MAPS, keypoints=POINTS[:5])),
        (NotFiniteError, lambda: plots.heatmap_overlay(MAPS * float("inf"))),
        (ShapeError, lambda: plots.joint_heatmaps(MAPS[:15])),
        (ShapeError, lambda: plots.ellipse_points(torch.zeros(2, 2), torch.zeros(2, 2))),
        (UnknownNameError, lambda: plots.error_curve(RUNS, x="samples")),
        (UnknownNameError, lambda: plots.error_curve(RUNS.iloc[:0])),
        (ConfigError, lambda: plots.bar_comparison({"a": 1})),
        (UnknownNameError, lambda: plots.box_comparison(RUNS, value="mm")),
        (ShapeError, lambda: plots.calibration_figure((LEVELS, LEVELS[1:]))),
        (ShapeError, lambda: plots.spread_figure(torch.ones(16, 3))),
        (ShapeError, lambda: plots.trend_figure(LEVELS, LEVELS[1:])),
        (ShapeError, lambda: plots.trend_figure([], [])),
        (UnknownNameError, lambda: plots.skeleton_figure("coco_17", labels="all")),
        (ShapeError, lambda: plots.skeleton_figure("coco_17", points=torch.zeros(16, 3))),
    ],
)
def test_bad_input(error, call):
    with pytest.raises(error):
        call()


def test_calibration_curve_of_the_metrics_module_is_accepted():
    from probpose.metrics import calibration_curve

    curve = calibration_curve(PERSON + noise(100, 5, 17, 3), PERSON + noise(5, 17, 3, seed=1))
    fig = plots.calibration_figure(curve)
    assert np.allclose(fig.data[1].y, curve.observed.numpy(), atol=1e-3)
    assert np.allclose(plots.calibration_figure(pd.DataFrame(dict(levels=LEVELS.numpy(), observed=LEVELS.numpy()))).data[1].x, LEVELS.numpy(), atol=1e-3)
