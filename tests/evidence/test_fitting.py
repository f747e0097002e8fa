"""The fit against SciPy's and against the truth; bounded memory."""

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, NotFiniteError, ProbposeError, ShapeError
from probpose.evidence.fitting import draw_gaussians, fit_gaussians
from probpose.evidence.gaussians import covariance_from_axes, render_gaussians


def grid(height, width):
    return [axis.astype(float) for axis in np.mgrid[:height, :width]]


def bell(params, y, x):
    amplitude, mx, my, sx, theta, sy = params
    u = np.cos(theta) * (x - mx) + np.sin(theta) * (y - my)
    v = np.cos(theta) * (y - my) - np.sin(theta) * (x - mx)
    return amplitude * np.exp(-0.5 * (u * u / sx**2 + v * v / sy**2))


def curve_fit(heatmap, start=None, tolerance=1e-8):
    "SciPy's MINPACK fit (what `curve_fit` runs) of (A, μx, μy, σx, θ, σy) from the start of the paper."
    h = np.clip(heatmap.double().numpy(), 0, 1)
    y, x = grid(*h.shape)
    row, column = np.unravel_index(h.argmax(), h.shape)
    start = (h.max(), column, row, 2.0, 0.0, 2.0) if start is None else start
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = least_squares(
            lambda p: (bell(p, y, x) - h).ravel(), start, method="lm", ftol=tolerance, xtol=tolerance, gtol=tolerance
        )
    return found.x, 2 * found.cost


def start_at(fitted):
    (long, short), angle = fitted.axes
    return [float(v) for v in (fitted.amplitude, *fitted.mean, long, angle, short)]


def covariance_of(params):
    return covariance_from_axes(torch.tensor([params[3], params[5]]), torch.tensor(params[4])).numpy()


KINDS = ("clean", "rotated", "narrow", "noisy", "two_peaked", "truncated")


@pytest.mark.parametrize("kind", KINDS)
def test_cost_is_never_above_scipy(kind, some_maps):
    maps = some_maps(kind)
    fitted = fit_gaussians(maps)
    assert fitted.converged.all()
    for i, heatmap in enumerate(maps):
        _, cost = curve_fit(heatmap)
        assert fitted.residual[i] <= cost * (1 + 1e-6) + 1e-9, (i, float(fitted.residual[i]), cost)


@pytest.mark.parametrize("kind", KINDS)
def test_the_optimum_is_scipys(kind, some_maps):
    "SciPy, started at our answer with tight tolerances, stays there; and the answer is a minimum, not a mere halt."
    maps = some_maps(kind, seed=1)
    fitted = fit_gaussians(maps)
    for i, heatmap in enumerate(maps):
        params, _ = curve_fit(heatmap, start_at(fitted[i]), tolerance=1e-14)
        covariance = covariance_of(params)
        assert abs(params[0] - float(fitted.amplitude[i])) < 1e-3 * abs(params[0])
        assert np.abs(params[1:3] - fitted.mean[i].numpy()).max() < 1e-3 * max(1.0, np.abs(params[1:3]).max())
        assert np.abs(covariance - fitted.covariance[i].numpy()).max() < 1e-3 * np.abs(covariance).max()


def test_true_parameters_come_back_from_clean_and_truncated_maps():
    for centres in ((12.0, 52.0), (-2.0, 3.0)):
        truth = draw_gaussians(200, make_generator(2), centres=centres)
        fitted = fit_gaussians(render_gaussians(truth))
        assert fitted.converged.all()
        assert torch.allclose(fitted.amplitude, truth.amplitude, rtol=1e-3)
        assert torch.allclose(fitted.mean, truth.mean, atol=5e-3)
        assert torch.allclose(fitted.covariance, truth.covariance, rtol=2e-3, atol=5e-3)


def test_single_and_double_precision_agree_and_shapes_are_kept(some_maps):
    maps = some_maps("two_peaked", 6).view(2, 3, 64, 64)
    single, double = fit_gaussians(maps), fit_gaussians(maps.double())
    assert (
        single.mean.dtype == torch.float32
        and double.mean.dtype == torch.float64
        and double.covariance.shape == (2, 3, 2, 2)
    )
    assert torch.allclose(single.covariance.double(), double.covariance, rtol=1e-3, atol=1e-3)
    assert fit_gaussians(maps[0, 0]).amplitude.shape == () and fit_gaussians(maps[:, :, 10:50]).mean.shape == (2, 3, 2)
    assert fit_gaussians(maps.half()).mean.dtype == torch.float32
    assert fit_gaussians(maps[:0]).mean.shape == (0, 3, 2)


def test_a_map_does_not_influence_its_neighbours(some_maps):
    maps = torch.cat([some_maps("noisy", 5), torch.zeros(1, 64, 64), some_maps("rotated", 5)])
    together, alone = fit_gaussians(maps), [fit_gaussians(m) for m in maps]
    assert torch.allclose(together.mean, torch.stack([a.mean for a in alone]), atol=1e-3)
    assert torch.equal(fit_gaussians(maps, chunk=3).converged, together.converged)


def test_strange_maps_get_a_defined_answer(some_maps):
    maps = torch.zeros(6, 64, 64)
    maps[1] = -3.0
    maps[2] = 0.7
    maps[3, 0, 0] = 1.0
    maps[4] = torch.rand(64, 64, generator=make_generator(3))
    maps[5, 30:33, 20:40] = 50.0
    fitted = fit_gaussians(maps)
    for part in (fitted.amplitude, fitted.mean, fitted.covariance, fitted.residual, fitted.sigma, *fitted.axes):
        assert torch.isfinite(part).all()
    assert (torch.linalg.eigvalsh(fitted.covariance) > 0).all()
    assert not fitted.converged[:3].any() and (fitted.amplitude[:2] == 0).all()
    assert torch.allclose(fitted.mean[:2], torch.full((2, 2), 31.5)) and torch.allclose(
        fitted.sigma[:2], torch.full((2, 2), 10.0), atol=1e-3
    )
    assert not fit_gaussians(some_maps("two_peaked"), max_iterations=1).converged.any()


def test_bad_maps_are_refused():
    bad = torch.zeros(2, 64, 64)
    bad[1, 3, 4] = float("nan")
    with pytest.raises(NotFiniteError, match=r"\(1, 3, 4\)"):
        fit_gaussians(bad)
    bad[1, 3, 4] = float("inf")
    with pytest.raises(NotFiniteError):
        fit_gaussians(bad)
    for call in (
        lambda: fit_gaussians(torch.zeros(5)),
        lambda: fit_gaussians(np.zeros((2, 64, 64))),
        lambda: fit_gaussians(torch.zeros(2, 8, 8, dtype=torch.uint8)),
    ):
        with pytest.raises(ShapeError):
            call()
    for wrong in (dict(sigma_gt=0.0), dict(sigma_gt=math.nan), dict(max_iterations=0), dict(chunk=0)):
        with pytest.raises(ConfigError):
            fit_gaussians(torch.zeros(2, 8, 8), **wrong)
    with pytest.raises(ProbposeError):
        fit_gaussians(torch.zeros(2, 8, 8), init_mean=torch.zeros(3, 2))


MEMORY = """
import resource, torch
torch.set_num_threads(1)
from probpose.evidence.fitting import draw_gaussians, fit_gaussians
from probpose.evidence.gaussians import render_gaussians
fit_gaussians(torch.rand(64, 32, 32))
maps = render_gaussians(draw_gaussians(1000, torch.Generator().manual_seed(0), widths=(2.0, 2.1)), 64).repeat(6, 1, 1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fit_gaussians(maps, chunk=512)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_memory_is_bounded_by_the_chunk():
    "6,000 maps are 98 MB; fitting 512 at a time must need far less on top."
    pytest.importorskip("resource")
    extra = float(subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True).stdout)
    assert extra < 60, f"{extra:.0f} MB"
