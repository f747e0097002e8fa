"""Contracts of probpose.priors: principal components that stream, and the authors' flow."""

import math

import numpy as np
import pytest
import torch
from FrEIA.framework import SequenceINN
from FrEIA.modules import AllInOneBlock
from torch import nn

from probpose.core.errors import CheckpointError, ConfigError, DegeneratePoseError, NotFiniteError, ShapeError
from probpose.distributions.priors import AllInOneFlow, Moments, Subspace, principal_components


def cloud(n=400, dim=8, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, dim, generator=g) @ torch.randn(dim, dim, generator=g) + 5.0


def released(dim=26, blocks=8, hidden=48, layers=1, seed=0):
    "The network of the authors' code, with weights that are not the first ones."
    torch.manual_seed(seed), np.random.seed(seed)

    def inner(a, b):
        return [
            nn.Linear(a, hidden),
            nn.ReLU(),
            *(part for _ in range(layers - 1) for part in (nn.Linear(hidden, hidden), nn.ReLU())),
            nn.Linear(hidden, b),
        ]

    network = SequenceINN(dim)
    for _ in range(blocks):
        network.append(AllInOneBlock, subnet_constructor=lambda a, b: nn.Sequential(*inner(a, b)), permute_soft=True)
    with torch.no_grad():
        for p in network.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn_like(p))
    return network


@pytest.mark.parametrize("size", [1, 7, 64, 400])
def test_streamed_components_are_those_of_one_decomposition(size):
    data = cloud()
    moments = Moments()
    for batch in data.split(size):
        moments.add(batch)
    components, variances, explained = principal_components(moments, 5)
    u, s, v = torch.linalg.svd(data.double() - data.double().mean(0), full_matrices=False)
    assert torch.allclose(variances, s[:5].square() / (len(data) - 1), rtol=1e-9)
    assert torch.allclose((components * v[:5]).sum(1).abs(), torch.ones(5, dtype=torch.float64), atol=1e-9)
    assert explained == pytest.approx(float(s[:5].square().sum() / s.square().sum()))


def test_far_from_the_origin_nothing_is_cancelled():
    data = cloud().double() * 1e-3 + 1e4
    moments = Moments()
    for batch in data.split(50):
        moments.add(batch)
    assert torch.allclose(moments.scatter / (len(data) - 1), torch.cov(data.T), rtol=1e-4)


@pytest.mark.parametrize(
    "data, bases, error, words",
    [
        (torch.ones(20, 8), 1, DegeneratePoseError, "all the same"),
        (torch.zeros(20, 8), 1, DegeneratePoseError, "all the same"),
        (cloud(), 9, ConfigError, "at most 8"),
        (cloud(4), 4, ConfigError, "at most 3"),
        (cloud(1), 1, ConfigError, "at least two"),
        (cloud(), 0, ConfigError, "bases"),
    ],
)
def test_data_that_have_no_such_components(data, bases, error, words):
    with pytest.raises(error, match=words):
        principal_components(Moments().add(data), bases)


def test_nan_and_other_shapes():
    bad = cloud()
    bad[3, 2] = math.nan
    with pytest.raises(NotFiniteError):
        Moments().add(bad)
    with pytest.raises(ShapeError):
        Moments().add(cloud()).add(cloud(dim=7))
    with pytest.raises(ShapeError):
        Moments().add(cloud()[0])
    with pytest.raises(ConfigError, match="at most the 8"):
        Subspace(8, 9)


def test_subspace_is_an_orthogonal_projection_up_to_one_scale():
    data = cloud()
    plane = Subspace(8, 3).fit(data.split(100))
    gram = plane.weight @ plane.weight.T
    assert torch.allclose(gram, gram[0, 0] * torch.eye(3), atol=1e-5 * float(gram[0, 0]))
    assert plane(data).mean(0).abs().max() < 1e-4 and plane(data).std(0)[0] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_released_weights_load_and_give_the_same_numbers(layers, prefix):
    theirs = released(layers=layers)
    ours = AllInOneFlow(26, 8, 48, layers, seed=9).load_released(
        {prefix + key: value for key, value in theirs.state_dict().items()}
    )
    x = torch.randn(64, 26)
    (z, log_det), (wanted, wanted_det) = ours(x), theirs(x)
    assert torch.allclose(z, wanted, rtol=1e-5, atol=1e-5) and torch.allclose(log_det, wanted_det, rtol=1e-5, atol=1e-5)
    assert torch.allclose(ours.nll(x), 0.5 * wanted.square().sum(1) - wanted_det, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", [dict(dim=25), dict(blocks=7), dict(hidden=32), dict(layers=2)])
def test_released_weights_of_another_layout_are_refused(layout):
    with pytest.raises(CheckpointError, match="first mismatch"):
        AllInOneFlow(26, 8, 48).load_released(released(**layout).state_dict())


def test_gradients_and_determinant():
    flow = AllInOneFlow(5, 4, 16, 2, seed=3).double()
    flow.load_released(released(5, 4, 16, 2).double().state_dict())
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(flow.nll, x)
    for row in x.detach():
        jacobian = torch.func.jacrev(lambda v: flow(v[None])[0][0])(row)
        assert torch.allclose(torch.linalg.slogdet(jacobian)[1], flow(row[None])[1][0])


def test_rotations_are_fixed_and_belong_to_the_seed():
    a, b, c = (AllInOneFlow(6, 2, 8, seed=seed) for seed in (1, 1, 2))
    rotation = a.graph.module_list[0].w_perm
    assert torch.allclose(rotation @ rotation.T, torch.eye(6), atol=1e-5)
    assert (
        not any("w_perm" in name for name, _ in a.named_parameters()) and "graph.module_list.0.w_perm" in a.state_dict()
    )
    assert torch.equal(a.graph.module_list[1].w_perm, b.graph.module_list[1].w_perm) and not torch.equal(
        rotation, c.graph.module_list[0].w_perm
    )


def test_a_flow_leaves_numpys_and_torchs_generators_alone():
    before, torch_before = np.random.get_state()[1].copy(), torch.random.get_rng_state()
    AllInOneFlow(6, 2, 8)
    assert (np.random.get_state()[1] == before).all() and torch.equal(torch.random.get_rng_state(), torch_before)


def test_vectors_of_another_length():
    with pytest.raises(ShapeError, match="expected"):
        AllInOneFlow(6, 2, 8)(torch.zeros(3, 5))
    with pytest.raises(ConfigError):
        AllInOneFlow(1, 2, 8)
