"""Contracts, oracles and bad input of flows."""

import copy

import numpy as np
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, NotFiniteError, ProbposeError, ShapeError, UnknownNameError
from probpose.distributions.fibres import fibre_log_density
from probpose.distributions.flows import CouplingFlow, reference_inverse

KINDS = ("affine", "additive")


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=make_generator(seed), dtype=dtype)


def small(kind="affine", **options):
    settings = {"blocks": 3, "hidden": 32, "init_scale": 0.2, "kind": kind} | options
    return CouplingFlow(6, 4, **settings)


def relative_gap(a, b):
    return float(((a - b).abs().max() / b.abs().max()).detach())


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_at_the_papers_size(kind):
    flow = CouplingFlow(48, 56, kind=kind, init_scale=0.02)
    x, c = draw(32, 48), draw(32, 56, seed=1)
    with torch.no_grad():
        z, log_det = flow(x, c)
        back, log_det_back = flow.inverse(z, c)
    assert (back - x).abs().max() < 1e-4 and (log_det + log_det_back).abs().max() < 1e-3
    assert z.shape == x.shape and log_det.shape == (32,)
    assert (z - x).abs().max() > 0.1, "the flow must do something"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [2, 5, 6])
def test_log_determinant_against_autograd(kind, dim):
    flow = CouplingFlow(dim, 3, blocks=3, hidden=16, kind=kind, init_scale=0.4).double()
    x, c = draw(4, dim, dtype=torch.float64), draw(4, 3, seed=1, dtype=torch.float64)
    _, log_det = flow(x, c)
    for i in range(4):
        jacobian = torch.autograd.functional.jacobian(lambda v, i=i: flow(v[None], c[i : i + 1])[0][0], x[i])
        assert torch.linalg.slogdet(jacobian)[1] == pytest.approx(float(log_det[i].detach()), abs=1e-9)
    assert (log_det.abs().max() > 0.1) == (kind == "affine")


@pytest.mark.parametrize("shape", [(1, 64), (3, 5), (200, 3), (2000, 1)])
def test_fast_inverse_equals_freia_at_the_papers_size(paper_size, shape):
    z, c = draw(*shape, 48), draw(shape[1], 56, seed=1)
    with torch.no_grad():
        fast, slow = paper_size.sample_inverse(z, c), reference_inverse(paper_size, z, c)
        graph, _ = paper_size.inverse(z[0], c)
    assert fast.shape == slow.shape == (*shape, 48)
    assert relative_gap(fast, slow) < 1e-5 and relative_gap(fast[0], graph) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 2])
def test_fast_paths_equal_freia_in_double(kind, layers):
    flow = small(kind, hidden_layers=layers).double()
    z, c = draw(37, 3, 6, dtype=torch.float64), draw(3, 4, seed=1, dtype=torch.float64)
    slow = reference_inverse(flow, z, c)
    for rows in (1, 10, 40, 10_000):
        assert torch.allclose(flow.sample_inverse(z, c, tile_rows=rows), slow, atol=1e-11)
    for a, b in zip(flow.forward_fast(z[0, :3], c), flow(z[0, :3], c)):
        assert torch.allclose(a, b, atol=1e-12)


def test_the_start_is_as_close_as_single_precision_allows():
    """At 0.05·N(0, 1) the untrained inverse stretches by thousands; the fast path may be no worse than FrEIA."""
    flow = CouplingFlow(48, 56)
    z, c = draw(50, 4, 48), draw(4, 56, seed=1)
    with torch.no_grad():
        fast, slow = flow.sample_inverse(z, c), reference_inverse(flow, z, c)
        exact = reference_inverse(flow.double(), z.double(), c.double())
    assert relative_gap(fast.double(), exact) < 3 * relative_gap(slow.double(), exact) + 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hypotheses", [1, 4, 30])
def test_gradients_equal_freia(kind, hypotheses):
    flow = small(kind).double()
    z, c = (
        draw(hypotheses, 3, 6, dtype=torch.float64).requires_grad_(),
        draw(3, 4, seed=1, dtype=torch.float64).requires_grad_(),
    )
    weight = draw(hypotheses, 3, 6, seed=2, dtype=torch.float64)
    inputs = [z, c, *flow.parameters()]
    slow = torch.autograd.grad((reference_inverse(flow, z, c) * weight).sum(), inputs)
    fast = torch.autograd.grad((flow.sample_inverse(z, c, tile_rows=35) * weight).sum(), inputs)
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(fast, slow))
    outputs = [sum(v.square().sum() for v in way(z[0], c)) for way in (flow.forward_fast, flow.forward)]
    fast, slow = (torch.autograd.grad(out, inputs) for out in outputs)
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(fast, slow))


def test_no_stale_weights():
    flow, z, c = small(), draw(20, 2, 6), draw(2, 4, seed=1)
    first = flow.sample_inverse(z, c)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(0.5)
    second = flow.sample_inverse(z, c)
    assert (second - first).abs().max() > 1e-2 and relative_gap(second, reference_inverse(flow, z, c)) < 1e-5


def test_global_random_state_is_untouched():
    np.random.seed(5)
    torch.manual_seed(5)
    expected = np.random.rand(3), torch.rand(3)
    np.random.seed(5)
    torch.manual_seed(5)
    flow = small()
    with torch.no_grad():
        flow.sample(draw(2, 4), 3, make_generator(0))
    assert (np.random.rand(3) == expected[0]).all() and torch.equal(torch.rand(3), expected[1])


def test_same_seed_same_flow():
    np.random.seed(1)
    first = small().state_dict()
    np.random.seed(2)
    second = small().state_dict()
    other = small(permutation_seed=9).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first if k.endswith("perm"))
    perms = [v for k, v in first.items() if k.endswith(".perm")]
    assert len(perms) == 3 and any(not torch.equal(perms[0], p) for p in perms[1:])


def test_initial_parameters():
    flow = CouplingFlow(48, 56, blocks=2)
    values = torch.cat([p.detach().flatten() for p in flow.parameters()])
    assert values.std() == pytest.approx(0.05, rel=0.01) and abs(values.mean()) < 1e-3
    one, two = (small(generator=make_generator(s)) for s in (1, 2))
    assert not torch.equal(next(one.parameters()), next(two.parameters()))
    identity = small(init_scale=0.0)
    x, c = draw(2, 6), draw(2, 4)
    z, log_det = identity(x, c)
    assert torch.equal(z.sort(dim=1)[0], x.sort(dim=1)[0]) and (log_det == 0).all()


def test_state_dict_round_trip_and_copies():
    flow, other = small(permutation_seed=3), small(permutation_seed=4)
    x, c = draw(5, 6), draw(5, 4, seed=1)
    assert not torch.allclose(flow(x, c)[0], other(x, c)[0])
    other.load_state_dict(flow.state_dict())
    twin = copy.deepcopy(flow)
    assert torch.equal(flow(x, c)[0], other(x, c)[0]) and torch.equal(flow(x, c)[0], twin(x, c)[0])
    assert torch.equal(flow.sample_inverse(x[None], c), other.sample_inverse(x[None], c))
    with torch.no_grad():
        next(twin.parameters()).add_(1.0)
    assert not torch.equal(flow(x, c)[0], twin(x, c)[0]) and torch.equal(flow(x, c)[0], other(x, c)[0])
    assert all(p.is_floating_point() and p.requires_grad for p in flow.parameters())


def test_double_keeps_its_type():
    flow, c = small().double(), draw(2, 4, dtype=torch.float64)
    z, y = draw(3, 2, 2, dtype=torch.float64), draw(2, 4, dtype=torch.float64)
    assert flow.sample(c, 3).dtype == flow.log_prob(draw(2, 6, dtype=torch.float64), c).dtype == torch.float64
    assert fibre_log_density(flow, z, y, c, 2).dtype == torch.float64
    assert fibre_log_density(small(), z.float(), y.float(), c.float(), 2).dtype == torch.float32


def test_log_prob_integrates_to_one():
    flow = CouplingFlow(2, 1, blocks=3, hidden=8, init_scale=0.3).double()
    axis = torch.linspace(-12, 12, 481, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    density = flow.log_prob(points, torch.full((len(points), 1), 0.7, dtype=torch.float64)).exp()
    assert float(density.detach().sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1, abs=2e-3)


def test_sample_follows_the_generator():
    flow, c = small(), draw(3, 4)
    a, b, other = (flow.sample(c, 7, make_generator(seed)) for seed in (1, 1, 2))
    assert a.shape == (7, 3, 6) and torch.equal(a, b) and not torch.equal(a, other) and not a.requires_grad
    z, _ = flow(a[:, 0], c[:1].expand(7, -1))
    assert torch.allclose(z, torch.randn(7, 3, 6, generator=make_generator(1))[:, 0], atol=1e-4)


def test_unconditional_flow():
    flow, c = CouplingFlow(4, 0, blocks=2, hidden=8, init_scale=0.3), torch.zeros(5, 0)
    x = draw(5, 4)
    z, _ = flow(x, c)
    assert torch.allclose(flow.sample_inverse(z[None], c)[0], x, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "kind_of_error"),
    [
        ({"dim": 1}, ConfigError),
        ({"dim": 6.5}, ConfigError),
        ({"blocks": 0}, ConfigError),
        ({"hidden": 0}, ConfigError),
        ({"hidden_layers": 0}, ConfigError),
        ({"clamp": 0.0}, ConfigError),
        ({"clamp": float("nan")}, ConfigError),
        ({"condition_dim": -1}, ConfigError),
        ({"init_scale": float("nan")}, ConfigError),
        ({"init_scale": -0.05}, ConfigError),
        ({"kind": "spline"}, UnknownNameError),
    ],
)
def test_bad_settings(options, kind_of_error):
    with pytest.raises(kind_of_error, match="expected"):
        CouplingFlow(**({"dim": 6, "condition_dim": 4, "blocks": 1, "hidden": 4} | options))


@pytest.mark.parametrize(
    ("x", "condition"),
    [
        (torch.zeros(2, 5), torch.zeros(2, 4)),
        (torch.zeros(2, 6), torch.zeros(2, 3)),
        (torch.zeros(2, 6), torch.zeros(3, 4)),
        (torch.zeros(6), torch.zeros(1, 4)),
        (torch.zeros(2, 2, 3), torch.zeros(2, 4)),
        (torch.zeros(2, 6, dtype=torch.long), torch.zeros(2, 4)),
        (torch.zeros(2, 6).double(), torch.zeros(2, 4)),
        (torch.zeros(2, 6).double(), torch.zeros(2, 4).double()),
        (np.zeros((2, 6)), torch.zeros(2, 4)),
    ],
)
def test_bad_vectors(x, condition):
    flow = small()
    for call in (flow.forward, flow.inverse, flow.forward_fast, flow.log_prob):
        with pytest.raises(ShapeError, match="expected"):
            call(x, condition)


@pytest.mark.parametrize("shape", [(2, 6), (4, 3, 6), (4, 2, 5), (1, 4, 2, 6)])
def test_bad_hypotheses(shape):
    with pytest.raises(ShapeError, match="expected"):
        small().sample_inverse(torch.zeros(shape), torch.zeros(2, 4))


def test_no_hypotheses():
    flow, c = small(), torch.zeros(2, 4)
    assert flow.sample_inverse(torch.zeros(0, 2, 6), c).shape == (0, 2, 6)
    assert flow.sample_inverse(torch.zeros(3, 0, 6), c[:0]).shape == (3, 0, 6)
    assert fibre_log_density(flow, torch.zeros(0, 2, 2), torch.zeros(2, 4), c, 2).shape == (0, 2)
    for n in (0, -1, 2.5):
        with pytest.raises(ConfigError, match="whole number"):
            flow.sample(c, n)
    for rows in (0, 1.5):
        with pytest.raises(ConfigError, match="tile_rows"):
            flow.sample_inverse(torch.zeros(1, 2, 6), c, tile_rows=rows)


def test_nan_weights_and_conditions_are_named():
    flow, c = small(), draw(2, 4)
    with pytest.raises(NotFiniteError, match="input"):
        flow.sample(c * float("nan"), 3)
    with torch.no_grad():
        next(flow.parameters())[0] = float("nan")
    with pytest.raises(NotFiniteError, match="graph.module_list.0.subnet1.0.weight"):
        flow.sample(c, 3)
    assert issubclass(NotFiniteError, ProbposeError)
