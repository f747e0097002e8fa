"""Statements about sets of hypotheses: statistics, chunks, spread, bounded memory, what every set metric refuses."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from probpose.core.errors import NotFiniteError, ShapeError, UnknownNameError
from probpose.metrics.calibration import calibration_error, calibration_ranks
from probpose.metrics.pose import cps, mpjpe, pve
from probpose.metrics.scores import crps, energy_score
from probpose.metrics.sets import STATISTICS, axis_spread, best_of, spread_3d, summarise_chunks, summarise_hypotheses

SET_METRICS = (energy_score, crps, calibration_ranks, calibration_error)


def test_over_hypotheses_against_numpy(g):
    for count in (1, 2, 7, 8):
        values = torch.randn(count, 4, 3, generator=g)
        v, low, high = values.numpy(), summarise_hypotheses(values), summarise_hypotheses(values, lower_is_better=False)
        for name, expected in (
            ("best", v.min(0)),
            ("mean", v.mean(0)),
            ("median", np.median(v, 0)),
            ("worst", v.max(0)),
        ):
            assert np.allclose(low[name], expected, atol=1e-6)
        assert torch.equal(low["best"], high["worst"]) and torch.equal(low["worst"], high["best"])


def test_each_metric_takes_its_own_best(poses):
    pred, target = poses
    first, second = pred[:1].clone(), target[None].clone()
    second[:, :, 3] += 0.4  # exact but for one joint
    both = torch.cat([first, second])
    by_mean = summarise_hypotheses(mpjpe(both, target), ("best",))["best"]
    by_worst_joint = summarise_hypotheses(cps(both, target, align=False), ("best",), lower_is_better=False)["best"]
    assert torch.equal(by_mean, mpjpe(second, target)[0]) and torch.equal(
        by_worst_joint, cps(first, target, align=False)[0]
    )


@pytest.mark.parametrize(
    "values, kwargs, error",
    [
        (torch.zeros(0, 4), {}, ShapeError),
        (torch.tensor(1.0), {}, ShapeError),
        (torch.tensor([[1.0], [float("nan")]]), {}, NotFiniteError),
        (torch.zeros(3, 4), {"statistics": ("mode",)}, UnknownNameError),
    ],
)
def test_over_hypotheses_refuses(values, kwargs, error):
    with pytest.raises(error):
        summarise_hypotheses(values, **kwargs)


@pytest.mark.parametrize("metric, lower", [(mpjpe, True), (cps, False)])
@pytest.mark.parametrize("sizes", [(23,), (1, 22), (5, 5, 5, 5, 3)])
def test_chunks_do_not_show(metric, lower, sizes, g):
    target = 0.3 * torch.randn(4, 17, 3, generator=g)
    h = target + 0.1 * torch.randn(23, 4, 17, 3, generator=g)
    whole = summarise_hypotheses(metric(h, target), lower_is_better=lower)
    found = summarise_chunks(metric, iter(h.split(list(sizes))), target, STATISTICS, lower)
    assert list(found) == list(STATISTICS)
    assert all(torch.allclose(found[s], whole[s], rtol=1e-4, atol=1e-2) for s in found)
    assert torch.equal(best_of(metric, h.split(list(sizes)), target, lower), found["best"])


def test_no_chunks_no_answer():
    with pytest.raises(ShapeError, match="at least one chunk"):
        best_of(mpjpe, [], torch.zeros(2, 17, 3))
    with pytest.raises(ShapeError):
        best_of(mpjpe, [torch.zeros(0, 2, 17, 3)], torch.zeros(2, 17, 3))
    with pytest.raises(UnknownNameError):
        summarise_chunks(mpjpe, [torch.zeros(1, 2, 17, 3)], torch.zeros(2, 17, 3), ("mode",))


def test_axis_spread(g):
    h = torch.randn(40, 3, 17, 3, generator=g) * torch.tensor([0.01, 0.02, 0.05])
    assert torch.allclose(axis_spread(h), 1000 * h.std(0), rtol=1e-4)
    assert axis_spread(h[:, 0]).shape == (17, 3)
    assert (axis_spread(h[:1].expand(5, 3, 17, 3)) < 1e-4).all()


def gaussians(g, width, count=40, images=300):
    truth = 0.05 * torch.randn(images, 17, 3, generator=g)
    return width * 0.05 * torch.randn(count, images, 17, 3, generator=g), truth


@pytest.mark.parametrize("metric", SET_METRICS)
@pytest.mark.parametrize(
    "h, t",
    [
        (torch.zeros(0, 4, 17, 3), torch.zeros(4, 17, 3)),
        (torch.zeros(1, 4, 17, 3), torch.zeros(4, 17, 3)),
        (torch.zeros(5, 4, 17, 3), torch.zeros(4, 16, 3)),
        (torch.zeros(5, 4, 17, 3), torch.zeros(3, 17, 3)),
        (torch.zeros(5, 4, 17, 3), torch.zeros(17, 3)),
        (torch.zeros(5, 0, 17, 3), torch.zeros(0, 17, 3)),
        (torch.zeros(17, 3), torch.zeros(17, 3)),
        (torch.zeros(5, 4, 17, 2), torch.zeros(4, 17, 2)),
    ],
)
def test_sets_of_wrong_shape_are_refused(metric, h, t):
    with pytest.raises(ShapeError, match="expected"):
        metric(h, t)


@pytest.mark.parametrize("metric", SET_METRICS)
@pytest.mark.parametrize("which", [0, 1])
def test_sets_with_nan_are_refused(metric, which, g):
    pair = list(gaussians(g, 1.0, 4, 6))
    pair[which][..., 5, 2, 1] = float("nan")
    with pytest.raises(NotFiniteError, match="hypotheses|target"):
        metric(*pair)


def test_axis_spread_refuses(g):
    h = torch.randn(4, 3, 17, 3, generator=g)
    with pytest.raises(ShapeError):
        axis_spread(h[:1])
    h[0, 0, 0, 0] = float("inf")
    with pytest.raises(NotFiniteError):
        axis_spread(h)


PEAK = """
import re, torch
from probpose.metrics.calibration import calibration_ranks
from probpose.metrics.pose import auc, cps, mpjpe
from probpose.metrics.scores import crps, energy_score
from probpose.metrics.sets import summarise_chunks
torch.set_num_threads(1)

def peak():
    "Peak of resident memory in kilobytes; getrusage would begin with the peak of the process that started this one."
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

def growth(function):
    "Megabytes by which the peak of this process rises."
    before = peak()
    function()
    return (peak() - before) / 1024

target = torch.zeros(10_000, 17, 3)
noise = 0.1 * torch.randn(25, 10_000, 17, 3)
print(growth(lambda: summarise_chunks(mpjpe, (noise for _ in range(80)), target)))
h, target = torch.randn(2_000, 250, 17, 3), torch.zeros(250, 17, 3)
for metric in (mpjpe, cps, auc, energy_score, crps, calibration_ranks):
    kwargs = {"shifts": 3} if metric is energy_score else {}
    print(growth(lambda: metric(h, target, **kwargs)))
"""


CARELESS = (
    PEAK.split("target = torch.zeros(10_000")[0]
    + """
h, target = torch.randn(2_000, 250, 17, 3), torch.zeros(250, 17, 3)
print(growth(lambda: (h - target).norm(dim=-1).mean(-1)))
"""
)


@pytest.mark.skipif(
    sys.platform != "linux", reason="reads the peak of resident memory in kilobytes, as Linux reports it"
)
def test_memory_is_bounded():
    """2,000 hypotheses of 10,000 poses, 4 GB, pass as chunks of 51 MB.

    Then 102 MB of hypotheses that are all in memory are judged.
    """
    done, other = (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        for script in (PEAK, CARELESS)
    )
    assert done.returncode == 0 and other.returncode == 0, done.stderr + other.stderr
    streamed, *resident = map(float, done.stdout.split())
    assert streamed < 80
    # the first of them also pays for pages that it is the first to touch
    assert len(resident) == 6 and max(resident) < 70, resident
    assert (
        float(other.stdout) > 80
    )  # the measurement sees what a one-line formula costs, in a process with no earlier peak to hide it


def test_best_of_many_bodies_is_that_of_all_at_once(bodies):
    pred, truth, pred_pelvis, truth_pelvis = bodies
    every = summarise_hypotheses(pve(*bodies))
    chunks = (pred[i : i + 1] - pred_pelvis[i : i + 1, ..., None, :] for i in range(4))
    assert torch.allclose(best_of(pve, chunks, truth - truth_pelvis[..., None, :]), every["best"], rtol=1e-4)
    assert (every["best"] <= every["mean"]).all()


def test_spread_is_the_mean_distance_to_the_mean(g):
    hypotheses, seen = torch.randn(7, 4, 17, 3, generator=g), torch.rand(4, 17, generator=g) < 0.5
    away = 1000 * (hypotheses - hypotheses.mean(0)).norm(dim=-1).mean(0)
    assert torch.allclose(spread_3d(hypotheses), away.mean(-1), rtol=1e-4)
    for joints in (seen, ~seen):
        wanted = torch.stack([away[b][joints[b]].mean() for b in range(4)])
        assert torch.allclose(spread_3d(hypotheses, joints), wanted, rtol=1e-4)
    assert spread_3d(hypotheses[:, 0]).shape == () and spread_3d(hypotheses[:, 0], seen[0]).shape == ()
    assert spread_3d(hypotheses[:1].expand(5, 4, 17, 3)).max() < 1e-3


def test_bad_spreads_are_refused(g):
    hypotheses, seen = torch.randn(7, 4, 17, 3, generator=g), torch.ones(4, 17, dtype=torch.bool)
    assert spread_3d(hypotheses, ~seen).isnan().all(), "nothing to measure"
    for kind, call in (
        (ShapeError, lambda: spread_3d(hypotheses[:1])),
        (ShapeError, lambda: spread_3d(hypotheses, seen[:2])),
        (ShapeError, lambda: spread_3d(hypotheses, seen.long())),
        (NotFiniteError, lambda: spread_3d(hypotheses / 0, seen)),
    ):
        with pytest.raises(kind, match="expected"):
            call()
