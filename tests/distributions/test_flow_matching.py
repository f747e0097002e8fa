"""The loss, the solvers and the density of flow matching, against flows that are known in closed form."""

import math

import pytest
import torch

from probpose.core.errors import ConfigError, ShapeError, UnknownNameError
from probpose.distributions.flow_matching import SOLVERS, divergence, flow_log_prob, flow_matching_loss, solve_flow

ORDERS = {"euler": 1, "heun": 2, "midpoint": 2}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(dim=5, seed=3):
    "Mean and covariance of some Gaussian, and the velocity of the straight paths to it."
    mean = torch.randn(dim, generator=generator(seed), dtype=torch.float64)
    root = torch.randn(dim, dim, generator=generator(seed + 1), dtype=torch.float64) / 3
    eye = torch.eye(dim, dtype=torch.float64)
    covariance = root @ root.T + 0.3 * eye

    def velocity(x, t):
        within = (1 - t) ** 2 * eye + t**2 * covariance
        return mean + (x - t * mean) @ torch.linalg.solve(within, t * covariance - (1 - t) * eye)

    return mean, covariance, velocity


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_halving_the_step_divides_the_error_by_the_order(solver, backwards, power):
    def error(steps):
        start = torch.ones(1, dtype=torch.float64)
        end = solve_flow(lambda x, t: (1 + 2 * t) * x, start, steps, solver, backwards, power)
        return abs(end.item() / math.exp(-2.0 if backwards else 2.0) - 1)

    assert error(200) / error(400) == pytest.approx(2 ** ORDERS[solver], rel=0.03)


@pytest.mark.parametrize("solver", SOLVERS)
def test_there_and_back(solver):
    _, _, velocity = gaussian()
    start = torch.randn(4, 5, generator=generator(), dtype=torch.float64)
    far = solve_flow(velocity, start, 800, solver)
    assert (far - start).abs().max() > 0.1
    assert (solve_flow(velocity, far, 800, solver, backwards=True) - start).abs().max() < 2e-2


def test_density_of_a_gaussian_whose_flow_is_known():
    mean, covariance, velocity = gaussian()
    noise = torch.randn(3, 4, 5, generator=generator(), dtype=torch.float64)
    level, axes = torch.linalg.eigh(covariance)
    samples = solve_flow(velocity, noise, 300)
    assert (samples - (mean + noise @ (axes * level.sqrt()) @ axes.T)).abs().max() < 1e-4
    exact = torch.distributions.MultivariateNormal(mean, covariance).log_prob(samples)
    assert (flow_log_prob(velocity, samples, 300) - exact).abs().max() < 1e-4
    coarse = (flow_log_prob(velocity, samples, 3) - exact).abs().max()
    assert coarse > 1e-4, "the steps matter"


def test_steps_that_shorten_towards_narrow_data_make_the_better_density():
    narrow = 0.03
    noise = torch.randn(20, 48, generator=generator(), dtype=torch.float64)
    exact = torch.distributions.Normal(0.0, narrow).log_prob(narrow * noise).sum(-1)

    def velocity(x, t):
        return (t * narrow**2 - (1 - t)) / ((1 - t) ** 2 + (t * narrow) ** 2) * x

    equal, shorter = (
        (flow_log_prob(velocity, narrow * noise, 12, power=power) - exact).abs().mean() for power in (1.0, 2.0)
    )
    assert shorter < equal / 10


def test_the_times_of_shortening_steps_are_the_same_there_and_back():
    def times(backwards):
        seen = []
        solve_flow(lambda x, t: x, torch.ones(1), 4, "euler", backwards, 2.0, watch=lambda t, x: seen.append(t))
        return seen

    assert times(False) == [1 - 0.75**2, 0.75, 1 - 0.25**2, 1.0] and times(True) == [
        1 - 0.25**2,
        0.75,
        1 - 0.75**2,
        0.0,
    ]


def test_divergence_is_the_trace_of_each_rows_jacobian(monkeypatch):
    matrix = torch.randn(7, 7, generator=generator(), dtype=torch.float64)
    x = torch.randn(2, 3, 7, generator=generator(1), dtype=torch.float64)

    def function(x):
        return torch.nn.functional.layer_norm(torch.nn.functional.silu(x @ matrix), (7,)) * x

    slowly = [torch.autograd.functional.jacobian(function, row).trace() for row in x.view(-1, 7)]
    for at_once in (1, 20, 4096):
        monkeypatch.setattr("probpose.distributions.flow_matching._AT_ONCE", at_once)
        with torch.inference_mode():
            assert torch.allclose(divergence(function, x).flatten(), torch.stack(slowly))


def test_density_has_a_gradient():
    _, covariance, velocity = gaussian()
    x = torch.randn(2, 5, generator=generator(), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(flow_log_prob(velocity, x, 200).sum(), x)
    mean = gaussian()[0]
    assert torch.allclose(slope, -torch.linalg.solve(covariance, (x - mean).T).T.detach(), atol=1e-2)


def test_loss_is_zero_for_the_velocity_towards_a_point():
    point = torch.full((400, 3), -0.4, dtype=torch.float64)
    right = flow_matching_loss(lambda x, t: (-0.4 - x) / (1 - t[..., None]), point, 3, generator())
    wrong = flow_matching_loss(lambda x, t: torch.zeros_like(x), point, 3, generator())
    assert right < 1e-12 and wrong.item() == pytest.approx(1.16, abs=0.1)


def test_bad_arguments():
    x = torch.zeros(2, 3)
    with pytest.raises(UnknownNameError, match="midpoint"):
        solve_flow(lambda x, t: x, x, solver="simpson")
    for steps in (0, 2.5, True):
        with pytest.raises(ConfigError, match="steps"):
            solve_flow(lambda x, t: x, x, steps)
    for power in (0.5, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="power"):
            solve_flow(lambda x, t: x, x, power=power)
    with pytest.raises(ConfigError, match="draws"):
        flow_matching_loss(lambda x, t: x, x, 0)
    with pytest.raises(ShapeError, match="floating-point"):
        flow_log_prob(lambda x, t: x, x.long())


@pytest.mark.parametrize(("backwards", "times"), [(False, [0.25, 0.5, 0.75, 1.0]), (True, [0.75, 0.5, 0.25, 0.0])])
def test_the_walk_can_be_watched(backwards, times):
    seen = []
    end = solve_flow(
        lambda x, t: torch.ones_like(x), torch.zeros(1), 4, "euler", backwards, watch=lambda t, x: seen.append((t, x))
    )
    assert [t for t, _ in seen] == times and seen[-1][1] is end
    assert [x.item() for _, x in seen] == [t - (1 if backwards else 0) for t in times]
