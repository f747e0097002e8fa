"The expected best of m against all subsets; calibration of samplers that are honest, bold and timid."

import itertools

import numpy as np
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError
from probpose.evaluation.curves import calibration, expected_best, hypothesis_curve, truth_ranks
from probpose.geometry.skeletons import H36M_17

QUIET = dict(device="cpu", progress=False)


def calibrated(width):
    def sample(detections, n, generator=None):
        middle = detections.truth - 0.05 * torch.randn(detections.truth.shape, generator=generator)
        return middle + 0.05 * width * torch.randn(n, *middle.shape, generator=generator)

    return sample


@pytest.mark.parametrize("lower", (True, False))
@pytest.mark.parametrize("m", (1, 3, 8))
def test_expected_best_is_the_mean_over_all_subsets(m, lower):
    errors = torch.randn(8, 4, generator=make_generator(1))
    best = torch.amin if lower else torch.amax
    subsets = torch.stack([best(errors[list(chosen)], 0) for chosen in itertools.combinations(range(8), m)])
    assert torch.allclose(expected_best(errors, (m,), lower)[0], subsets.double().mean(0))


def test_expected_best_of_thousands_stays_exact():
    n, counts = 10_000, (1, 7, 500, 9_999, 10_000)
    got = expected_best(torch.arange(1.0, n + 1), counts)
    assert torch.allclose(got, (n + 1) / (torch.tensor(counts).double() + 1), rtol=1e-7)
    with pytest.raises(ConfigError, match="at most 5"):
        expected_best(torch.zeros(5), (6,))
    with pytest.raises(ConfigError):
        expected_best(torch.zeros(5), (0,))


def test_curve_agrees_with_evaluate_at_both_ends(evaluated, Frames, Fixed, values):
    curve = hypothesis_curve(
        Fixed(), Frames(), counts=(1, 4, 9), protocols=("mpjpe", "cps"), batch_size=7, **QUIET
    ).set_index(["metric", "hypotheses"])
    for name in ("mpjpe", "cps"):
        assert curve.value[name, 9] == pytest.approx(values(evaluated, name, "best").mean(), rel=1e-4)
        assert curve.value[name, 1] == pytest.approx(values(evaluated, name, "mean").mean(), rel=1e-4)
    assert curve.value["mpjpe", 1] > curve.value["mpjpe", 4] > curve.value["mpjpe", 9] and (curve["sem"] > 0).all()
    with pytest.raises(ConfigError):
        hypothesis_curve(Fixed(), Frames(), counts=(), **QUIET)


@pytest.mark.parametrize("width, low, high", [(1.0, 0.0, 0.03), (0.3, 0.25, 0.5), (3.0, 0.25, 0.5)])
def test_calibration_tells_honest_bold_and_timid_apart(width, low, high, Frames):
    frame = calibration(calibrated(width), Frames(240), n=40, **QUIET)
    whole = frame[frame.subset == "all"]
    assert low <= whole.error.iloc[0] <= high and set(frame.subset) == {"all", "hard", "easy"}
    assert width == 1 or (np.sign(whole.observed - whole.level) == np.sign(width - 1)).all()


def test_the_root_is_not_ranked(Frames):
    ranks = truth_ranks(calibrated(1.0), Frames(20), n=10, **QUIET)
    assert ranks.shape == (20, 16)
    joints = calibration(calibrated(1.0), Frames(20, labels=False), n=10, per_joint=True, **QUIET)
    assert set(joints.subset) == {"all"} and list(joints.joint.unique()) == list(H36M_17.joints[1:])
