"Boxes, arrows and the camera that looks down."

import pytest

from probpose.core.errors import ShapeError, UnknownNameError
from probpose.geometry.conversions import rest_pose
from probpose.plots.diagrams import block_diagram, elevation_figure

BOXES = {"pose": (0, 0, "pose"), "flow": (2, 0, "flow<br>8 blocks"), "noise": (2, 1, "noise")}
FIGURES = {
    "blocks": lambda: block_diagram(BOXES, [("pose", "flow", "forward"), ("flow", "pose", ""), ("flow", "noise", "")]),
    "elevation": lambda: elevation_figure(rest_pose("h36m_17"), 20.0),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_reads_on_light_and_dark_and_stays_small(name, check_style):
    check_style(FIGURES[name]())


def test_opposite_arrows_lie_side_by_side():
    notes = FIGURES["blocks"]().layout.annotations
    there, back, up = (note for note in notes if note.showarrow)
    assert (there.ax, there.x) == pytest.approx((0.53, 1.47)) and (back.ax, back.x) == pytest.approx((1.47, 0.53))
    assert there.y == there.ay == -back.y == -back.ay and abs(there.y) == 0.09
    assert up.x == up.ax == 2 and (up.ay, up.y) == pytest.approx((0.24, 0.76)), "arrows begin and end beside the boxes"


def test_the_camera_looks_down_at_the_person():
    fig = FIGURES["elevation"]()
    forward, down, gravity = (note for note in fig.layout.annotations if note.showarrow)
    assert forward.ax < forward.x and forward.y < forward.ay, "ahead and down"
    assert down.x < down.ax and down.y < down.ay and gravity.x == gravity.ax and gravity.y < gravity.ay
    assert fig.layout.annotations[-1].text == "α = 20°"


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (UnknownNameError, lambda: block_diagram(BOXES, [("pose", "loss", "")])),
        (ShapeError, lambda: elevation_figure(rest_pose("mpii_16"), 20.0)),
        (UnknownNameError, lambda: elevation_figure(rest_pose("h36m_17"), 20.0, skeleton="h36m")),
    ],
)
def test_bad_input_is_refused(error, call):
    with pytest.raises(error, match="expected"):
        call()
