"""Checks of poses, numbers, counts and names."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from probpose.core.checks import check_count, check_finite, check_poses, check_same_joints, check_settings, choose
from probpose.core.errors import ConfigError, NotFiniteError, ProbposeError, ShapeError, UnknownNameError


@pytest.mark.parametrize("joints", [None, 17])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_poses_come_back_unchanged(joints, dtype):
    poses = torch.zeros(2, 4, 17, 3, dtype=dtype)
    assert check_poses(poses, joints, finite=True) is poses


@pytest.mark.parametrize(
    "bad",
    [
        torch.zeros(4, 17, 2),
        torch.zeros(17),
        torch.zeros(4, 16, 3),
        torch.zeros(4, 17, 3, dtype=torch.long),
        np.zeros((17, 3)),
        None,
    ],
)
def test_what_are_no_poses_is_refused(bad):
    with pytest.raises(ShapeError, match="hips: expected"):
        check_poses(bad, 17, "hips")


def test_the_first_bad_number_is_named():
    values = torch.zeros(2, 3)
    values[1, 0], values[1, 2] = float("nan"), float("inf")
    with pytest.raises(NotFiniteError, match=r"2 NaN or infinite of 6, the first at index \(1, 0\)"):
        check_finite(values)


@pytest.mark.parametrize("count", [0, -1, 2.0, "3", True, None])
def test_counts_are_whole_and_large_enough(count):
    with pytest.raises(ConfigError, match="whole number of at least 1"):
        check_count(count)
    assert check_count(np.int64(3)) == 3 and check_count(0, least=0) == 0


def test_joints_must_be_the_same_and_the_rest_broadcast():
    check_same_joints(torch.zeros(5, 2, 17, 3), torch.zeros(2, 17, 3))
    for shape in ((3, 17, 3), (2, 16, 3), (2, 17, 2)):
        with pytest.raises(ShapeError, match="broadcast"):
            check_same_joints(torch.zeros(2, 17, 3), torch.zeros(shape))


def test_unknown_names_are_told_the_known_ones():
    assert choose("a", ("a", "b")) == "a"
    with pytest.raises(UnknownNameError, match="unknown letter 'c'; expected one of: a, b"):
        choose("c", ("a", "b"), "letter")
    assert issubclass(UnknownNameError, ProbposeError) and issubclass(ProbposeError, ValueError)


@pytest.mark.parametrize(
    "wrong", [{"solver": "rk4"}, {"steps": 0}, {"steps": 2.5}, {"dropout": 1.0}, {"dropout": -0.1}]
)
def test_a_setting_that_cannot_be_is_named(wrong):
    known = {"solver": "heun", "steps": 3, "dropout": 0.0}
    rules = {"solver": ("euler", "heun")}, ["steps"], ["dropout"]
    check_settings(SimpleNamespace(**known), *rules)
    with pytest.raises(ProbposeError, match=next(iter(wrong))):
        check_settings(SimpleNamespace(**known | wrong), *rules)
