"""Rotations: uniform draws, six numbers, axes."""

import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, ShapeError
from probpose.geometry.rotations import axis_rotation, random_rotations, rotation_from_6d, rotation_to_6d


def cloud(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=make_generator(seed), dtype=dtype)


def test_random_rotations_use_only_their_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second = random_rotations(7, make_generator(3)), random_rotations(7, make_generator(3))
    assert torch.equal(first, second) and torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, random_rotations(7, make_generator(4)))
    assert random_rotations(0, make_generator(0)).shape == (0, 3, 3)
    with pytest.raises(ConfigError):
        random_rotations(-1)


def test_random_rotations_are_uniform():
    rotations = random_rotations(20_000, make_generator(0), dtype=torch.float64)
    assert torch.allclose(rotations.mT @ rotations, torch.eye(3, dtype=torch.float64).expand_as(rotations), atol=1e-12)
    # For the Haar measure every entry has mean 0 and variance 1/3, and the trace has mean 0 and variance 1.
    assert rotations.mean(0).abs().max() < 0.02 and (rotations.var(0) - 1 / 3).abs().max() < 0.02
    trace = rotations.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert abs(trace.mean()) < 0.03 and abs(trace.var() - 1) < 0.03


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_six_numbers_make_a_rotation(interleaved, dtype):
    vectors = cloud(4, 5, 6, dtype=dtype)
    rotations = rotation_from_6d(vectors, interleaved)
    assert rotations.dtype == dtype and torch.allclose(
        torch.linalg.det(rotations), torch.ones(4, 5, dtype=dtype), atol=1e-5
    )
    first = vectors[..., ::2] if interleaved else vectors[..., :3]
    assert torch.allclose(rotations[..., 0], first / first.norm(dim=-1, keepdim=True), atol=1e-5)
    assert torch.allclose(rotation_from_6d(rotation_to_6d(rotations, interleaved), interleaved), rotations, atol=1e-5)
    with pytest.raises(ShapeError):
        rotation_from_6d(vectors[..., :5])


def test_axis_rotations_turn_the_right_way():
    quarter = torch.tensor(torch.pi / 2)
    for axis, start, end in (("x", 1, 2), ("y", 2, 0), ("z", 0, 1)):
        turned = axis_rotation(axis, quarter) @ torch.eye(3)[start]
        assert torch.allclose(turned, torch.eye(3)[end], atol=1e-6)
    with pytest.raises(ConfigError):
        axis_rotation("w", quarter)
