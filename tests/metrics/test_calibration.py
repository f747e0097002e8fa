"""Calibration of samplers whose calibration is known."""

import pytest
import torch

from probpose.core.errors import ConfigError, UnknownNameError
from probpose.metrics.calibration import calibration_curve, calibration_error, calibration_ranks, rank_curve


def gaussians(g, width, count=40, images=300):
    truth = 0.05 * torch.randn(images, 17, 3, generator=g)
    return width * 0.05 * torch.randn(count, images, 17, 3, generator=g), truth


@pytest.mark.parametrize("centre", ["mean", "median"])
@pytest.mark.parametrize("count", [2, 5, 60])
def test_a_calibrated_sampler_lies_on_the_diagonal(centre, count, g):
    curve = calibration_curve(*gaussians(g, 1.0, count), centre=centre)
    assert (curve.observed - curve.levels).abs().max() < 0.03
    assert curve.error < 0.02


@pytest.mark.parametrize("centre", ["mean", "median"])
@pytest.mark.parametrize("pooled", [True, False])
def test_wrong_widths_are_found_on_the_right_side(centre, pooled, g):
    narrow, wide = (calibration_curve(*gaussians(g, w), centre=centre, pooled=pooled) for w in (0.5, 2.0))
    assert (narrow.observed < narrow.levels).all() and narrow.error > 0.2
    assert (wide.observed > wide.levels).all() and wide.error > 0.2


def test_a_skewed_two_peaked_sampler_can_be_calibrated_too(g):
    def draw(*shape):
        near = torch.rand(*shape, 1, generator=g) < 0.7
        return torch.where(
            near, 0.02 * torch.randn(*shape, 3, generator=g), 0.3 + 0.05 * torch.randn(*shape, 3, generator=g).abs()
        )

    assert calibration_error(draw(30, 400, 17), draw(400, 17)) < 0.02
    assert calibration_error(draw(30, 400, 17) * 0.8, draw(400, 17)) > 0.03


def test_a_point_mass_is_as_over_confident_as_can_be():
    h, t = torch.zeros(50, 20, 17, 3), torch.ones(20, 17, 3)
    curve = calibration_curve(h, t)
    assert (curve.observed == 0).all()
    assert float(calibration_error(h, t)) == pytest.approx(0.5, abs=1e-4)


def test_pooling_matters_for_few_hypotheses(g):
    h, t = gaussians(g, 1.0, count=5)
    assert calibration_error(h, t) < 0.02 < 0.05 < calibration_error(h, t, pooled=False)


def test_ranks_by_hand():
    h = torch.tensor([-1.0, 1.0, -2.0, 2.0]).view(4, 1, 1, 1) * torch.tensor([1.0, 0.0, 0.0])

    def rank(x):
        return float(calibration_ranks(h, torch.tensor([[[x, 0.0, 0.0]]]), pooled=False))

    assert [rank(x) for x in (0.5, 1.5, 3.0)] == pytest.approx([0.1, 0.5, 0.9])


def test_curves_per_joint_and_from_collected_ranks(g):
    h, t = gaussians(g, 1.0)
    h[:, :, 3] *= 0.3
    curve = calibration_curve(h, t, per_joint=True)
    assert curve.observed.shape == (19, 17) and curve.error.shape == (17,)
    assert curve.error.argmax() == 3
    ranks = torch.cat([calibration_ranks(h[:, i : i + 100], t[i : i + 100]) for i in range(0, 300, 100)])
    assert torch.allclose(rank_curve(ranks, len(h), per_joint=True).observed, curve.observed)
    levels = calibration_curve(h, t, levels=[0.0, 0.5, 1.0])
    assert levels.observed[[0, 2]].tolist() == pytest.approx([0.0, 1.0], abs=1e-6)


@pytest.mark.parametrize("levels", [[], [0.5, 1.5], [-0.1], [[0.5]]])
def test_levels_are_checked(levels, g):
    with pytest.raises(ConfigError, match="levels"):
        calibration_curve(*gaussians(g, 1.0, 4, 3), levels=levels)


def test_unknown_centres_are_refused(g):
    with pytest.raises(UnknownNameError, match="median"):
        calibration_ranks(*gaussians(g, 1.0, 4, 3), centre="mode")
