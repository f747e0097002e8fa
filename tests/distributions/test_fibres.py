"""Densities on fibres against Jacobians and areas."""

import copy

import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, ShapeError
from probpose.distributions.fibres import ambient_log_density, fibre_log_density, fibre_log_density_at, split_forward
from probpose.distributions.flows import CouplingFlow, standard_normal_log_prob

KINDS = ("affine", "additive")


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=make_generator(seed), dtype=dtype)


def small(kind="affine", **options):
    settings = {"blocks": 3, "hidden": 32, "init_scale": 0.2, "kind": kind} | options
    return CouplingFlow(6, 4, **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_fibre_density_against_the_jacobian(kind):
    """det(GᵀG) from the full inverse Jacobian, and again through the coarea factor of the forward map."""
    flow = small(kind).double()
    z, y, c = (draw(*shape, seed=k, dtype=torch.float64) for k, shape in enumerate(((5, 3, 2), (3, 4), (3, 4))))
    density = fibre_log_density(flow, z, y, c, 2)
    state = torch.cat((z, y.expand(5, 3, 4)), 2)
    x = flow.sample_inverse(state, c).detach()
    ambient = ambient_log_density(flow, x, c, 2)
    for m in range(5):
        for b in range(3):
            jacobian = torch.autograd.functional.jacobian(
                lambda v, b=b: flow.inverse(v[None], c[b : b + 1])[0][0], state[m, b]
            )
            expected = standard_normal_log_prob(z[m, b]) - 0.5 * torch.logdet(jacobian[:, :2].T @ jacobian[:, :2])
            assert torch.isclose(density[m, b], expected, atol=1e-9)
            rows = torch.linalg.inv(jacobian)[2:]
            assert torch.isclose(density[m, b], ambient[m, b] - 0.5 * torch.logdet(rows @ rows.T), atol=1e-7)
    at, observed = fibre_log_density_at(flow, x, c, 2)
    assert torch.allclose(at, density, atol=1e-8) and torch.allclose(observed, y.expand(5, 3, 4), atol=1e-8)


def test_fibre_density_integrates_to_one_over_a_surface():
    """Two latent coordinates: the fibre is a surface in R³; triangles measure its area without any derivative."""
    flow = CouplingFlow(3, 1, blocks=3, hidden=8, init_scale=0.3).double()
    c, y = draw(1, 1, seed=1, dtype=torch.float64), draw(1, 1, seed=2, dtype=torch.float64)
    axis, size = torch.linspace(-6, 6, 301, dtype=torch.float64), 301
    z = torch.cartesian_prod(axis, axis)[:, None]
    with torch.no_grad():
        x = flow.sample_inverse(torch.cat((z, y.expand(len(z), 1, 1)), 2), c)[:, 0].view(size, size, 3)
        density = fibre_log_density(flow, z, y, c, 2).exp().view(size, size)
    across, down = x[1:, :-1] - x[:-1, :-1], x[:-1, 1:] - x[:-1, :-1]
    across2, down2 = x[1:, 1:] - x[:-1, 1:], x[1:, 1:] - x[1:, :-1]
    area = 0.5 * (torch.linalg.cross(across, down).norm(dim=-1) + torch.linalg.cross(across2, down2).norm(dim=-1))
    mean = 0.25 * (density[1:, 1:] + density[:-1, 1:] + density[1:, :-1] + density[:-1, :-1])
    assert float((area * mean).sum()) == pytest.approx(1, abs=5e-3)
    flat = (area.sum() / (12.0 * 12.0)).item()
    assert abs(flat - 1) > 0.05, "the map must change areas"


def test_fibre_density_at_the_papers_size(paper_size):
    z, y, c = draw(6, 2, 16), draw(2, 32, seed=1), draw(2, 56, seed=2)
    with torch.no_grad():
        single = fibre_log_density(paper_size, z, y, c)
        double = fibre_log_density(copy.deepcopy(paper_size).double(), z.double(), y.double(), c.double())
    assert single.shape == (6, 2) and (single - double).abs().max() < 1e-3


def test_fibre_density_is_differentiable():
    flow = small().double()
    z, y, c = (draw(*shape, seed=k, dtype=torch.float64) for k, shape in enumerate(((2, 1, 2), (1, 4), (1, 4))))
    assert torch.autograd.gradcheck(
        lambda z, y, c: fibre_log_density(flow, z, y, c, 2), [v.requires_grad_() for v in (z, y, c)]
    )


def test_split_forward_equals_forward():
    flow, x, c = small(), draw(4, 3, 6), draw(3, 4, seed=1)
    z, y, log_det = split_forward(flow, x, c, 2)
    whole, expected = flow(x[2], c)
    assert torch.allclose(torch.cat((z, y), 2)[2], whole, atol=1e-6) and torch.allclose(log_det[2], expected, atol=1e-6)
    assert z.shape == (4, 3, 2) and y.shape == (4, 3, 4)


def test_bad_latent_dims():
    flow, c = small(), torch.zeros(2, 4)
    for latent in (0, 6, 16):
        with pytest.raises(ConfigError, match="latent_dims"):
            fibre_log_density(flow, torch.zeros(1, 2, latent), torch.zeros(2, 6), c, latent)
    with pytest.raises(ShapeError, match="y: expected"):
        fibre_log_density(flow, torch.zeros(1, 2, 2), torch.zeros(2, 3), c, 2)
    with pytest.raises(ShapeError, match="z"):
        fibre_log_density(flow, torch.zeros(1, 3, 2), torch.zeros(2, 4), c, 2)
