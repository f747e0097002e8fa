"Fits and scores of other packages agree with those of the library."

import math

import numpy as np
import pytest
import torch

from probpose.benchmarks.plain.scores import (
    cps_by_thresholds,
    cps_in_passes,
    fit_bell,
    fit_gap,
    pa_mpjpe_by_svd,
    worker_pool,
)
from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError
from probpose.evidence.fitting import draw_gaussians, fit_gaussians
from probpose.evidence.gaussians import render_gaussians
from probpose.metrics.pose import cps, pa_mpjpe


def test_curve_fit_finds_the_bell_and_the_batched_fit_the_same():
    bells = draw_gaussians(6, make_generator(0))
    maps = render_gaussians(bells)
    plain = [fit_bell(m) for m in maps.numpy()]
    share, shift = fit_gap(plain, fit_gaussians(maps))
    assert share == 1 and shift < 1e-3
    found = torch.from_numpy(np.stack(plain))
    assert torch.allclose(found[:, 0], bells.amplitude.double(), atol=1e-3) and torch.allclose(
        found[:, 1:3], bells.mean.double(), atol=1e-2
    )
    assert torch.allclose(
        found[:, [3, 4, 4, 5]].view(-1, 2, 2), bells.covariance.double(), rtol=1e-2, atol=2e-2
    )  # as near as curve_fit's own tolerance takes it


def test_curve_fit_gives_nan_where_it_gives_up(monkeypatch):
    def gives_up(*_, **__):
        raise RuntimeError("Optimal parameters not found")

    monkeypatch.setattr("probpose.benchmarks.plain.scores.curve_fit", gives_up)
    assert np.isnan(fit_bell(np.eye(8))).all()


def test_scores_agree_with_the_closed_forms(frames):
    target = frames.poses[:4]
    guesses = target + 0.06 * torch.randn(20, *target.shape, generator=make_generator(1))
    loop = cps_by_thresholds(guesses, target)
    assert torch.equal(loop, cps_in_passes(guesses, target))
    above = loop - cps(guesses, target, align=False)
    assert 0 < above.mean() < 1 and above.min() > -1e-3 and above.max() < 1 + 1e-3
    assert torch.allclose(pa_mpjpe_by_svd(guesses, target), pa_mpjpe(guesses, target), atol=1e-2)


def test_a_pool_maps_in_processes_that_are_ready():
    with worker_pool(2) as mapped:
        assert mapped(math.sqrt, [1.0, 4.0, 9.0]) == [1.0, 2.0, 3.0]
    done = []
    with worker_pool(1, lambda: done.append(1)) as mapped:
        assert mapped(lambda x: x + 1, [1]) == [2] and done == [1]
    with pytest.raises(ConfigError), worker_pool(0):
        pass
