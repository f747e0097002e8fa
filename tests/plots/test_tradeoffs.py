"Trade-offs: lines, bands, and labels that stay apart."

import pandas as pd
import pytest

from probpose.core.errors import ConfigError, NotFiniteError, UnknownNameError
from probpose.plots.tradeoffs import tradeoff_figure

COSTS = pd.DataFrame(
    [
        dict(variant=v, steps=n, seconds=0.02 * n, value=60 + e / n, stderr=0.5)
        for v, e in (("diffusion", 30), ("flow matching", 12))
        for n in (1, 2, 5, 10, 25)
    ]
    + [dict(variant="one step", seconds=0.05, value=63.0)]
)
FIGURES = {"tradeoff": lambda: tradeoff_figure(COSTS, within=(60.48, 0.01))}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_reads_on_light_and_dark_and_stays_small(name, check_style):
    check_style(FIGURES[name]())


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


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (UnknownNameError, lambda: tradeoff_figure(COSTS, x="time")),
        (UnknownNameError, lambda: tradeoff_figure(COSTS.iloc[:0])),
        (ConfigError, lambda: tradeoff_figure(COSTS.assign(seconds=0.0))),
        (ConfigError, lambda: tradeoff_figure(COSTS.assign(value="low"))),
        (ConfigError, lambda: tradeoff_figure(COSTS, within=(60.0, -0.01))),
        (NotFiniteError, lambda: tradeoff_figure(COSTS.assign(value=float("nan")))),
    ],
)
def test_bad_input_is_refused(error, call):
    with pytest.raises(error, match="expected"):
        call()
