"""How accurate a detector is, and whether its maps are honest."""

import math

import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, NotFiniteError, ShapeError
from probpose.vision.accuracy import keypoint_pck, mass_calibration
from probpose.vision.detections import ImageDetections
from probpose.vision.pictures import heatmap_targets


def test_pck_counts_by_joint_and_visibility():
    truth = torch.full((4, 17, 2), 30.0)
    found = truth + torch.tensor([3.5, 0.0])
    found[:, 0] = truth[:, 0] + 20
    truth[3] = 200.0  # outside the crop
    visible = torch.ones(4, 17, dtype=torch.bool)
    visible[0] = False
    table = keypoint_pck(ImageDetections(found, torch.ones(4, 17)), truth, visible, (0.05, 0.1)).set_index(
        ["subset", "joint", "threshold"]
    )
    assert table["count"]["all", "all", 0.05] == 51 and table["count"]["hidden", "nose", 0.1] == 1
    assert (
        table.pck["all", "nose", 0.1] == 0
        and table.pck["visible", "left_hip", 0.1] == 1
        and table.pck["all", "left_hip", 0.05] == 0
    )
    assert table.pck["all", "all", 0.1] == pytest.approx(16 / 17)


@pytest.mark.parametrize("width, sign", [(3.0, 0), (6.0, 1), (1.5, -1)])
def test_calibration_of_bells(width, sign):
    source = make_generator(2)
    centre = 20 + 24 * torch.rand(40, 17, 2, generator=source)
    truth = centre + 3 * torch.randn(centre.shape, generator=source)
    table = mass_calibration(heatmap_targets(centre, sigma=width), truth)
    gap = (table.observed - table.level).mean()
    assert abs(gap) < 0.03 if sign == 0 else sign * gap > 0.15
    assert (table.error < 0.04).all() == (sign == 0) and table.observed.is_monotonic_increasing


def test_a_sure_detector_is_calibrated_only_up_to_its_bell():
    truth = 20 + 24 * torch.rand(10, 17, 2, generator=make_generator(0))
    maps = heatmap_targets(truth, sigma=2.0)
    assert mass_calibration(maps, truth).error[0] > 0.3 and mass_calibration(maps, truth, sigma=2.0).error[0] < 0.01


def test_equal_heights_are_entered_together():
    "A flat map knows nothing: whatever the truth, a region of half the mass holds it half the time."
    truth = torch.zeros(1, 3, 2)
    table = mass_calibration(torch.ones(1, 3, 64, 64), truth)
    assert table.error[0] < 1e-5
    nothing = mass_calibration(torch.zeros(1, 3, 64, 64), truth)
    assert nothing["count"][0] == 0 and nothing.observed.isna().all()


def test_truth_where_the_map_is_zero_is_never_inside():
    maps = torch.zeros(1, 1, 64, 64)
    maps[..., 10, 10] = 1.0
    assert (mass_calibration(maps, torch.tensor([[[40.0, 40.0]]])).observed == 0).all()
    assert torch.allclose(
        torch.tensor(mass_calibration(maps, torch.tensor([[[10.0, 10.0]]])).observed.to_numpy()),
        torch.linspace(0.05, 0.95, 19).double(),
        atol=1e-6,
    )


@pytest.mark.parametrize(
    "change, error, words",
    [
        (dict(maps=torch.ones(2, 3, 64, 48)), ShapeError, "maps"),
        (dict(truth=torch.ones(2, 4, 2)), ShapeError, "truth"),
        (dict(truth=torch.full((2, 3, 2), math.nan)), NotFiniteError, "truth"),
        (dict(maps=torch.full((2, 3, 64, 64), math.nan)), NotFiniteError, "maps"),
        (dict(visible=torch.ones(2, 4, dtype=torch.bool)), ShapeError, "visible"),
        (dict(visible=torch.ones(2, 3)), ShapeError, "booleans"),
        (dict(levels=[0.5, 1.5]), ConfigError, "levels"),
        (dict(levels=[]), ConfigError, "levels"),
    ],
)
def test_calibration_of_what_is_none(change, error, words):
    with pytest.raises(error, match=words):
        mass_calibration(**(dict(maps=torch.ones(2, 3, 64, 64), truth=torch.ones(2, 3, 2)) | change))
