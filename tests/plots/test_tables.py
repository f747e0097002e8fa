"Scores are coloured column by column."

import numpy as np
import pandas as pd
import pytest
import torch

from probpose.core.errors import ConfigError, NotFiniteError, ShapeError, UnknownNameError
from probpose.plots.tables import matrix_figure, score_heatmap

SCORES = pd.DataFrame(
    [
        dict(variant=v, metric=m, value=float(i + 10 * j))
        for i, v in enumerate("abc")
        for j, m in enumerate(("mpjpe", "pck", "gap"))
        if (v, m) != ("c", "pck")
    ]
)
FIGURES = {
    "scores": lambda: score_heatmap(SCORES),
    "matrix": lambda: matrix_figure(torch.linspace(-1, 2, 256).view(16, 16), [f"joint {i}" for i in range(16)]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_reads_on_light_and_dark_and_stays_small(name, check_style):
    check_style(FIGURES[name]())


def test_rows_of_one_kind_are_compared_with_columns_aside():
    rows = [("a", 3.0, 1.0, 0.5), ("b", 2.0, 4.0, 0.1), ("c", float("nan"), 5.0, 0.2)]
    frame = pd.DataFrame([dict(variant=r[0], metric=m, value=v) for r in rows for m, v in zip("xyz", r[1:])])
    cells, grey, words = score_heatmap(frame, compare="rows", aside=("z",), text=".1f").data
    assert list(map(list, cells.z)) == [[0, 1, None], [1, 0, None], [None, 1, None]], "z is never compared"
    assert list(map(list, grey.z)) == [[None, None, 1], [None, None, 1], [1, None, 1]]
    assert list(words.text) == ["3.0", "<b>1.0</b>", "0.5", "<b>2.0</b>", "4.0", "0.1", "–", "<b>5.0</b>", "0.2"]


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


def test_nothing_is_the_middle_of_a_matrix_and_the_first_row_is_on_top():
    fig = matrix_figure(np.array([[0.0, -2.0, 1.0], [1.0, 0.5, 0.0]]), ["left_hip", "neck"], ["a", "b", "c"])
    (cells,) = fig.data
    assert (cells.zmin, cells.zmax) == (-2, 2) and cells.z.tolist()[0] == [0, -2, 1]
    assert list(cells.y) == ["left hip", "neck"] and fig.layout.yaxis.autorange == "reversed"
    assert matrix_figure(np.zeros((1, 1)), ["a"]).data[0].zmax == 1, "a matrix of zeros has a scale"


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (UnknownNameError, lambda: score_heatmap(SCORES, rows="method")),
        (UnknownNameError, lambda: score_heatmap(SCORES, better={"pkc": "higher"})),
        (UnknownNameError, lambda: score_heatmap(SCORES, headings={"pkc": "PCK (%)"})),
        (ConfigError, lambda: score_heatmap(SCORES, better="less")),
        (ConfigError, lambda: score_heatmap(SCORES, text="label")),
        (ConfigError, lambda: score_heatmap(SCORES, better={"pck": "higher"}, compare="rows")),
        (UnknownNameError, lambda: score_heatmap(SCORES, compare="cells")),
        (UnknownNameError, lambda: score_heatmap(SCORES, compare="rows", aside=("pkc",))),
        (ConfigError, lambda: score_heatmap(pd.concat([SCORES, SCORES]))),
        (NotFiniteError, lambda: score_heatmap(SCORES.assign(value=float("inf")))),
        (ShapeError, lambda: matrix_figure(np.zeros((2, 3)), ["a", "b"])),
        (NotFiniteError, lambda: matrix_figure(np.full((2, 2), np.nan), ["a", "b"])),
    ],
)
def test_bad_input_is_refused(error, call):
    with pytest.raises(error, match="expected"):
        call()
