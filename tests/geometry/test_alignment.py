"""Alignment against an oracle in double precision; degenerate poses."""

import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import NotFiniteError, ShapeError
from probpose.geometry.alignment import Similarity, align, mean_centre, procrustes, procrustes_svd, root_centre
from probpose.geometry.conversions import rest_pose
from probpose.geometry.rotations import random_rotations

PERSON = rest_pose("h36m_17")


def cloud(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=make_generator(seed), dtype=dtype)


def people(*batch, seed=0, noise=0.05):
    poses = PERSON + noise * cloud(*batch, 17, 3, seed=seed)
    return poses @ random_rotations(1, make_generator(seed + 1))[0].mT


def test_centring():
    poses = people(3) + 5
    assert root_centre(poses, 8)[:, 8].abs().max() == 0 and mean_centre(poses).mean(-2).abs().max() < 1e-5
    assert torch.equal(root_centre(poses[..., :2]), poses[..., :2] - poses[:, :1, :2])
    with pytest.raises(ShapeError):
        root_centre(poses, 17)


def residual(aligned, target):
    return (aligned.double() - target.double()).square().sum((-1, -2))


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_alignment_matches_the_float64_oracle(scale, noise, dtype, tolerance):
    target = people(9).to(dtype)
    source = (
        1.3 * (target + noise * cloud(4, 9, 17, 3, seed=7)) @ random_rotations(9, make_generator(2)).to(dtype)
        + torch.tensor([0.4, -0.3, 4.0])
    ).to(dtype)
    wanted = procrustes_svd(source.double(), target.double(), scale)
    found, aligned = procrustes(source, target, scale), align(source, target, scale)
    assert aligned.shape == source.shape and aligned.dtype == found.rotation.dtype == dtype
    assert (found.rotation - wanted.rotation).abs().max() < 2 * tolerance
    assert (found.scale / wanted.scale - 1).abs().max() < tolerance
    assert (aligned - wanted.apply(source.double())).abs().max() / target.abs().max() < tolerance
    assert (found.apply(source) - aligned).abs().max() < 5e-6


def test_alignment_undoes_a_similarity():
    target = people(20)
    moved = Similarity(
        0.5 + torch.rand(20, generator=make_generator(0)), random_rotations(20, make_generator(1)), cloud(20, 3)
    )
    assert (align(moved.apply(target), target) - target).abs().max() < 1e-5
    found = procrustes(target, moved.apply(target))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, moved))


def test_mirror_images_are_not_aligned_by_reflection():
    source = people(30) * torch.tensor([-1.0, 1.0, 1.0])
    found = procrustes(source, people(30))
    assert torch.allclose(torch.linalg.det(found.rotation), torch.ones(30), atol=1e-5)
    assert residual(align(source, people(30)), people(30)).min() > 0.01


def degenerate_pairs():
    basis = cloud(17, 3, seed=5)
    line, plane = basis[:, :1] * cloud(3, seed=6), basis * torch.tensor([1.0, 1.0, 0.0])
    cube = torch.tensor([[a, b, c] for a in (-1.0, 1.0) for b in (-1.0, 1.0) for c in (-1.0, 1.0)])
    two = torch.cat([torch.zeros(16, 3), torch.ones(1, 3)])
    turned = random_rotations(1, make_generator(8))[0]
    yield from (
        ("line to person", line, PERSON),
        ("person to line", PERSON, line),
        ("line to line", line, line @ turned),
        ("line to reversed line", line, -line),
        ("plane to person", plane, PERSON),
        ("plane to turned plane", plane, plane @ turned),
        ("plane to mirrored plane", plane, plane * torch.tensor([-1.0, 1.0, 1.0])),
        ("cube to mirrored cube", cube, cube * torch.tensor([-1.0, 1.0, 1.0])),
        ("person to point mirror", PERSON, -PERSON),
        ("two distinct points", two, PERSON),
        ("nearly a line", line + 1e-4 * basis, PERSON),
        ("nearly a mirror", basis, basis * torch.tensor([-1.0, 1.0, 1e-3])),
        ("half a turn", PERSON, PERSON * torch.tensor([-1.0, -1.0, 1.0])),
        ("tiny", 1e-6 * PERSON, PERSON),
        ("huge", 1e6 * PERSON, PERSON),
        ("three points", PERSON[:3], PERSON[4:7]),
        ("one point", PERSON[:1], PERSON[1:2]),
        ("zero", torch.zeros(17, 3), PERSON),
    )


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize(
    ("name", "source", "target"), list(degenerate_pairs()), ids=lambda value: value if isinstance(value, str) else ""
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_sets_have_as_small_a_residual_as_the_oracle(scale, name, source, target, dtype):
    source, target = source.to(dtype), target.to(dtype)
    aligned, found = align(source, target, scale), procrustes(source, target, scale)
    assert torch.isfinite(aligned).all() and all(torch.isfinite(part).all() for part in found)
    assert torch.allclose(torch.linalg.det(found.rotation), torch.ones((), dtype=dtype), atol=1e-5)
    reach = max(float(target.abs().max()), 1 if scale else float(source.abs().max()))
    oracle = procrustes_svd(source.double(), target.double(), scale).apply(source.double())
    best = residual(oracle if torch.isfinite(oracle).all() else target.double().mean(-2).expand_as(target), target)
    assert residual(aligned, target) <= best * (1 + 1e-4) + 1e-9 * reach**2


def test_one_repeated_point_lands_on_the_mean():
    for place in (torch.zeros(3), torch.tensor([0.3, 1.7, 5.1]), torch.tensor([1e4, -1e4, 3.3])):
        point = place.expand(2, 17, 3)
        found = procrustes(point, PERSON)
        assert (found.scale == 0).all() and torch.equal(found.rotation, torch.eye(3).expand(2, 3, 3))
        assert torch.allclose(align(point, PERSON), PERSON.mean(0).expand(2, 17, 3), atol=1e-6)
        assert torch.allclose(align(PERSON, place.expand(17, 3)), place.expand(17, 3), rtol=1e-6)


def test_a_degenerate_neighbour_changes_nothing():
    poses = people(5)
    mixed = torch.cat([poses, torch.ones(1, 17, 3), poses[:1] * torch.tensor([1.0, 0.0, 0.0])])
    assert torch.equal(align(mixed, PERSON)[:5], align(poses, PERSON))


def test_leading_dimensions_broadcast():
    hypotheses, target = people(7, 4), people(4, seed=3)
    together = align(hypotheses, target)
    one_by_one = torch.stack([torch.stack([align(hypotheses[m, b], target[b]) for b in range(4)]) for m in range(7)])
    assert torch.allclose(together, one_by_one, atol=1e-6)
    assert torch.allclose(align(target, hypotheses)[2], align(target, hypotheses[2]), atol=1e-6)
    assert align(torch.zeros(0, 4, 17, 3), target).shape == (0, 4, 17, 3)
    assert together.is_contiguous()


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (PERSON[:16], ShapeError),
        (PERSON[:, :2], ShapeError),
        (None, ShapeError),
        (PERSON.long(), ShapeError),
        (PERSON * float("nan"), NotFiniteError),
        (PERSON * float("inf"), NotFiniteError),
    ],
)
def test_alignment_refuses(source, error):
    for function in (align, procrustes):
        with pytest.raises(error):
            function(source, PERSON)
    if error is NotFiniteError:
        with pytest.raises(error, match="target"):
            align(PERSON, source)


def test_gradients_are_finite_and_right():
    source, target = people(3).double().requires_grad_(), people(3, seed=9).double()
    assert torch.autograd.gradcheck(lambda s: align(s, target), (source,), atol=1e-5)
