"Curves, bars, boxes and calibration show the numbers of their tables."

import numpy as np
import pandas as pd
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, ShapeError, UnknownNameError
from probpose.geometry.conversions import rest_pose
from probpose.plots.curves import (
    bar_comparison,
    box_comparison,
    calibration_figure,
    error_curve,
    over_seeds,
    spread_figure,
    trend_figure,
)

PERSON = rest_pose("h36m_17")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=make_generator(seed))


HYPOTHESES = PERSON + 0.05 * noise(200, 17, 3)
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
FIGURES = {
    "curve": lambda: error_curve(RUNS, log_x=True, references={"published": 20.0}),
    "bars": lambda: bar_comparison(RUNS, hatched=["b"]),
    "boxes": lambda: box_comparison(RUNS, group="action"),
    "calibration": lambda: calibration_figure({"model": (LEVELS, LEVELS**2)}),
    "spread": lambda: spread_figure(1000 * HYPOTHESES.std(0)),
    "trend": lambda: trend_figure(noise(5000).square() + 1, noise(5000, seed=1).abs()),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_reads_on_light_and_dark_and_stays_small(name, check_style):
    check_style(FIGURES[name]())


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


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (UnknownNameError, lambda: error_curve(RUNS, x="samples")),
        (UnknownNameError, lambda: error_curve(RUNS.iloc[:0])),
        (ConfigError, lambda: bar_comparison({"a": 1})),
        (UnknownNameError, lambda: box_comparison(RUNS, value="mm")),
        (ShapeError, lambda: calibration_figure((LEVELS, LEVELS[1:]))),
        (ShapeError, lambda: spread_figure(torch.ones(16, 3))),
        (ShapeError, lambda: trend_figure(LEVELS, LEVELS[1:])),
        (ShapeError, lambda: trend_figure([], [])),
    ],
)
def test_bad_input_is_refused(error, call):
    with pytest.raises(error, match="expected"):
        call()
