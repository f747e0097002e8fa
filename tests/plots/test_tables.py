"Scores are coloured column by column."

import pandas as pd
import pytest

from probpose.core.errors import ConfigError, NotFiniteError, UnknownNameError
from probpose.plots.tables import score_heatmap

SCORES = pd.DataFrame(
    [
        dict(variant=v, metric=m, value=float(i + 10 * j))
        for i, v in enumerate("abc")
        for j, m in enumerate(("mpjpe", "pck", "gap"))
        if (v, m) != ("c", "pck")
    ]
)
FIGURES = {"scores": lambda: score_heatmap(SCORES)}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_reads_on_light_and_dark_and_stays_small(name, check_style):
    check_style(FIGURES[name]())


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
        (UnknownNameError, lambda: score_heatmap(SCORES, rows="method")),
        (UnknownNameError, lambda: score_heatmap(SCORES, better={"pkc": "higher"})),
        (UnknownNameError, lambda: score_heatmap(SCORES, headings={"pkc": "PCK (%)"})),
        (ConfigError, lambda: score_heatmap(SCORES, better="less")),
        (ConfigError, lambda: score_heatmap(SCORES, text="label")),
        (ConfigError, lambda: score_heatmap(pd.concat([SCORES, SCORES]))),
        (NotFiniteError, lambda: score_heatmap(SCORES.assign(value=float("inf")))),
    ],
)
def test_bad_input_is_refused(error, call):
    with pytest.raises(error, match="expected"):
        call()
