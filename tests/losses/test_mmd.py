"""The maximum mean discrepancy against its three sums."""

import pytest
import torch

from probpose.core.errors import ConfigError, ShapeError
from probpose.losses.mmd import joint_mmd, mmd

DTYPES = (torch.float32, torch.float64)


def mmd_oracle(x, y, bandwidths, unbiased):
    x, y = x.double(), y.double()

    def phi(a, b):
        return sum(s / (s + ((a - b) ** 2).sum()) for s in bandwidths)

    def within(v):
        n = len(v)
        total = sum(phi(v[i], v[j]) for i in range(n) for j in range(n) if i != j or not unbiased)
        return total / (n * (n - 1) if unbiased else n * n)

    return within(x) + within(y) - 2 * sum(phi(a, b) for a in x for b in y) / (len(x) * len(y))


@pytest.mark.parametrize("sizes", [(8, 8), (5, 9), (2, 3)])
@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("bandwidths", [(0.0025, 0.04, 0.81), (1.0,)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_mmd_equals_the_three_sums(sizes, unbiased, bandwidths, dtype, g):
    x, y = (0.3 * torch.randn(n, 48, generator=g, dtype=torch.float64).to(dtype) for n in sizes)
    y[0] = x[0] + 0.001  # a near pair, where an expanded square would lose its digits
    found = mmd(x, y, bandwidths=bandwidths, unbiased=unbiased)
    assert found.dtype == dtype
    assert float(found) == pytest.approx(
        float(mmd_oracle(x, y, bandwidths, unbiased)), abs=2e-6 if dtype == torch.float32 else 1e-12
    )


def test_mmd_defaults_are_the_papers(g):
    x, y = torch.randn(2, 16, 8, generator=g)
    assert mmd(x, y) == mmd(x, y, (0.0025, 0.04, 0.81), unbiased=True)


def test_unbiased_mmd_centres_on_zero_and_biased_does_not(g):
    draws = torch.randn(400, 2, 24, 3, generator=g)
    unbiased = torch.stack([mmd(a, b) for a, b in draws])
    biased = torch.stack([mmd(a, b, unbiased=False) for a, b in draws])
    assert unbiased.mean().abs() < 4 * unbiased.std() / 20 and (unbiased < 0).any()
    assert (biased > 0).all()


def test_mmd_sees_a_difference_and_is_differentiable(g):
    x = torch.randn(64, 4, generator=g)
    shifted = (x + 1).requires_grad_()
    loss = mmd(x, shifted)
    assert loss > mmd(x, torch.randn(64, 4, generator=g)) + 0.01
    loss.backward()
    assert torch.isfinite(shifted.grad).all()
    assert shifted.grad.mean() > 0  # a step against the gradient moves them back


def test_mmd_gradient_is_finite_for_equal_samples():
    x = torch.ones(4, 3, requires_grad=True)
    mmd(x, torch.ones(4, 3)).backward()
    assert torch.isfinite(x.grad).all()


def test_mmd_gradient_against_finite_differences(g):
    x, y = torch.randn(2, 5, 3, generator=g, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: mmd(v, y), (x.requires_grad_(),))


@pytest.mark.parametrize(
    "x, y, kwargs, error",
    [
        (torch.zeros(1, 3), torch.zeros(4, 3), {}, ConfigError),
        (torch.zeros(4, 3), torch.zeros(1, 3), {}, ConfigError),
        (torch.zeros(0, 3), torch.zeros(4, 3), {"unbiased": False}, ConfigError),
        (torch.zeros(4, 3), torch.zeros(4, 2), {}, ShapeError),
        (torch.zeros(4, 16, 3), torch.zeros(4, 16, 3), {}, ShapeError),
        (torch.zeros(4, 3), torch.zeros(4, 3), {"bandwidths": ()}, ConfigError),
        (torch.zeros(4, 3), torch.zeros(4, 3), {"bandwidths": (0.1, -1.0)}, ConfigError),
    ],
)
def test_mmd_refuses(x, y, kwargs, error):
    with pytest.raises(error, match="expected"):
        mmd(x, y, **kwargs)


def test_single_samples_are_fine_when_biased():
    assert mmd(torch.zeros(1, 3), torch.zeros(1, 3), unbiased=False) == 0


def test_joint_mmd_blocks_the_gradient_of_y_only(g):
    y_hat, z_hat = (
        torch.randn(8, 32, generator=g, requires_grad=True),
        torch.randn(8, 16, generator=g, requires_grad=True),
    )
    y, z = torch.randn(8, 32, generator=g), torch.randn(8, 16, generator=g)
    loss = joint_mmd(y_hat, z_hat, y, z)
    assert loss.item() == pytest.approx(mmd(torch.cat([y, z], 1), torch.cat([y_hat, z_hat], 1)).item())
    loss.backward()
    assert y_hat.grad is None and z_hat.grad.abs().sum() > 0
