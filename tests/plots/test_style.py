"Drawing axes, numbers of tables, and rows that are chosen evenly."

import numpy as np
import pandas as pd
import pytest
import torch

from probpose.core.errors import ConfigError, NotFiniteError, ShapeError, UnknownNameError
from probpose.geometry.conversions import rest_pose
from probpose.plots.style import as_array, choose_rows, new_figure, read_numbers, require_columns, to_drawing_axes

PERSON = rest_pose("h36m_17")


def test_drawing_axes_are_a_rotation():
    assert np.linalg.det(to_drawing_axes(torch.eye(3))) == pytest.approx(1)
    drawn = to_drawing_axes(PERSON)
    assert drawn[16, 0] < 0 < drawn[13, 0], "seen from the front, the right hand is on the left"
    assert np.allclose(
        np.linalg.norm(drawn[1:] - drawn[:-1], axis=-1), (PERSON[1:] - PERSON[:-1]).norm(dim=-1).numpy(), atol=2e-3
    )


def test_rows_are_chosen_evenly():
    assert choose_rows(200, 5).tolist() == [0, 50, 100, 149, 199] and choose_rows(3, 9).tolist() == [0, 1, 2]
    for most in (0, 2.5):
        with pytest.raises(ConfigError, match="most"):
            choose_rows(3, most)


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ShapeError, lambda: to_drawing_axes(torch.zeros(17, 2))),
        (NotFiniteError, lambda: as_array([1.0, float("nan")])),
        (ConfigError, lambda: new_figure(0)),
        (ConfigError, lambda: require_columns([1, 2], "a")),
        (UnknownNameError, lambda: require_columns(pd.DataFrame(dict(a=[1])), "b")),
        (ConfigError, lambda: read_numbers(pd.DataFrame(dict(a=["x"])), "a")),
        (ConfigError, lambda: read_numbers(pd.DataFrame(dict(a=[0.0])), "a", positive=True)),
        (NotFiniteError, lambda: read_numbers(pd.DataFrame(dict(a=[np.nan])), "a")),
    ],
)
def test_bad_input_is_refused(error, call):
    with pytest.raises(error, match="expected"):
        call()
