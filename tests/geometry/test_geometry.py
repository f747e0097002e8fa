"""Cameras, crops, rotations and alignment against slow doubles."""

import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import BehindCameraError, ConfigError, DegeneratePoseError, NotFiniteError, ShapeError
from probpose.geometry.alignment import Similarity, align, mean_centre, procrustes, procrustes_svd, root_centre
from probpose.geometry.cameras import look_at_camera, look_at_rotation, project, undistort, unproject
from probpose.geometry.conversions import rest_pose
from probpose.geometry.crops import crop_around
from probpose.geometry.rotations import axis_rotation, random_rotations, rotation_from_6d, rotation_to_6d

PERSON = rest_pose("h36m_17")
FOCAL, CENTRE = torch.tensor([1145.0, 1143.0]), torch.tensor([512.5, 515.4])
LENS = torch.tensor([-0.2, 0.24, -0.001, -0.0015, 0.002])


def cloud(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=make_generator(seed), dtype=dtype)


def people(*batch, seed=0, noise=0.05):
    poses = PERSON + noise * cloud(*batch, 17, 3, seed=seed)
    return poses @ random_rotations(1, make_generator(seed + 1))[0].mT


# ---------------------------------------------------------------- rotations


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


# ---------------------------------------------------------------- cameras


def project_naive(point, focal, centre, k):
    x, y = point[0] / point[2], point[1] / point[2]
    r2 = x * x + y * y
    radial = 1 + k[0] * r2 + k[1] * r2**2 + k[4] * r2**3
    xd = x * radial + 2 * k[2] * x * y + k[3] * (r2 + 2 * x * x)
    yd = y * radial + k[2] * (r2 + 2 * y * y) + 2 * k[3] * x * y
    return focal[0] * xd + centre[0], focal[1] * yd + centre[1]


def test_projection_matches_the_formula():
    points = people(6) + torch.tensor([0.2, 0.1, 4.0])
    pixels = project(points, FOCAL, CENTRE, LENS)
    for b in range(6):
        for j in range(17):
            assert project_naive(
                points[b, j].tolist(), FOCAL.tolist(), CENTRE.tolist(), LENS.tolist()
            ) == pytest.approx(pixels[b, j].tolist(), abs=1e-3)


@pytest.mark.parametrize("distortion", [None, LENS, torch.stack([LENS, -LENS, 0 * LENS])])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-12)])
def test_projection_round_trip(distortion, dtype, tolerance):
    points = (people(4, 3) + torch.tensor([0.5, 0.3, 4.0])).to(dtype)
    pixels = project(points, FOCAL, CENTRE, distortion)
    assert pixels.dtype == dtype
    assert (unproject(pixels, points[..., 2], FOCAL, CENTRE, distortion) - points).abs().max() < tolerance
    assert (
        project(unproject(pixels, torch.ones(17, dtype=dtype), FOCAL, CENTRE, distortion), FOCAL, CENTRE, distortion)
        - pixels
    ).abs().max() < 1e3 * tolerance


def test_projection_refuses_what_has_no_image():
    with pytest.raises(BehindCameraError, match="behind the camera"):
        project(PERSON, FOCAL, CENTRE)
    for value in (float("nan"), float("inf")):
        broken = PERSON + torch.tensor([0.0, 0.0, 5.0])
        broken[4, 0] = value
        with pytest.raises(NotFiniteError, match=r"\(4, 0\)"):
            project(broken, FOCAL, CENTRE)
    with pytest.raises(ShapeError):
        project(PERSON[:, :2], FOCAL, CENTRE)
    with pytest.raises(NotFiniteError):
        unproject(torch.full((17, 2), float("nan")), torch.ones(17), FOCAL, CENTRE)


@pytest.mark.parametrize("k1", [-0.4, -1.0, -0.2])
def test_pixels_beyond_the_fold_of_the_lens_are_refused(k1):
    lens = torch.tensor([k1, 0.0, 0.0, 0.0, 0.0])
    fold = (1 / (-3 * k1)) ** 0.5
    highest = fold * (1 + k1 * fold**2)
    inside = torch.tensor([[0.98 * highest, 0.0]])
    assert 0 < undistort(inside, lens)[0, 0] < fold
    for outside in (1.05 * highest, 3 * highest, 10 * highest):
        with pytest.raises(ConfigError, match="inverted"):
            undistort(torch.tensor([[outside, 0.0]]), lens)


def test_look_at_and_batched_camera():
    positions = torch.tensor([[4.0, 1.5, 3.0], [-5.0, 0.2, 1.0], [0.1, 3.0, -4.0]])
    target = torch.tensor([0.0, 1.0, 0.0])
    camera = look_at_camera(positions, target, FOCAL.expand(3, 2), CENTRE.expand(3, 2))
    seen = camera.to_camera(torch.stack([target, target + torch.tensor([0.0, 0.5, 0.0])]).expand(3, 2, 3))
    assert seen[:, 0, :2].abs().max() < 1e-6 and torch.allclose(seen[:, 0, 2], (positions - target).norm(dim=-1))
    assert (seen[:, 1, 1] < 0).all() and seen[:, 1, 0].abs().max() < 1e-6
    assert torch.allclose(camera.position, positions, atol=1e-5)
    world = target + people(3) * 0.5
    inside = camera.to_camera(world)
    assert torch.allclose(camera.to_world(inside), world, atol=1e-5)
    pixels = camera.project(inside)
    assert torch.allclose(camera.to_world(camera.unproject(pixels, inside[..., 2])), world, atol=1e-4)
    assert torch.allclose(camera[1].project(inside[1]), pixels[1]) and torch.equal(
        camera[1:].rotation, camera.rotation[1:]
    )
    assert camera.to(torch.float64).focal.dtype == torch.float64
    for bad in (torch.tensor([0.0, 9.0, 0.0]), target):
        with pytest.raises(ConfigError):
            look_at_rotation(bad, target)


# ---------------------------------------------------------------- crops and centring


def test_crop_round_trip_and_cell_centres():
    keypoints = 400 + 60 * cloud(4, 16, 2)
    crop = crop_around(keypoints, margin=1.5, map_size=48)
    assert torch.allclose(crop.from_map(crop.to_map(keypoints)), keypoints, atol=1e-3)
    corners = torch.stack(
        [crop.centre - crop.size[:, None] / 2, crop.centre, crop.centre + crop.size[:, None] / 2], dim=-2
    )
    assert torch.allclose(crop.to_map(corners), torch.tensor([-0.5, 23.5, 47.5])[:, None].expand(4, 3, 2), atol=1e-3)
    inside = crop.to_map(keypoints)
    assert torch.allclose((inside.amax(-2) - inside.amin(-2)).amax(-1), torch.full((4,), 48 / 1.5), atol=1e-3)
    assert (
        torch.allclose(crop[2].to_map(keypoints[2]), inside[2]) and crop.to(torch.float64).size.dtype == torch.float64
    )


@pytest.mark.parametrize(
    ("keypoints", "error"),
    [
        (torch.ones(3, 16, 2), DegeneratePoseError),
        (torch.full((16, 2), float("nan")), NotFiniteError),
        (torch.ones(16, 3), ShapeError),
        (None, ShapeError),
    ],
)
def test_crop_refuses(keypoints, error):
    with pytest.raises(error):
        crop_around(keypoints)


def test_crop_refuses_bad_settings():
    for wrong in (dict(margin=0.0), dict(map_size=0), dict(margin=float("nan"))):
        with pytest.raises(ConfigError):
            crop_around(PERSON[:, :2], **wrong)


def test_centring():
    poses = people(3) + 5
    assert root_centre(poses, 8)[:, 8].abs().max() == 0 and mean_centre(poses).mean(-2).abs().max() < 1e-5
    assert torch.equal(root_centre(poses[..., :2]), poses[..., :2] - poses[:, :1, :2])
    with pytest.raises(ShapeError):
        root_centre(poses, 17)


# ---------------------------------------------------------------- alignment


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
