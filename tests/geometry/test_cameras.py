"""Projection against a slow double, its inverse, and what has no image."""

import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import BehindCameraError, ConfigError, NotFiniteError, ShapeError
from probpose.geometry.cameras import look_at_camera, look_at_rotation, project, undistort, unproject
from probpose.geometry.conversions import rest_pose
from probpose.geometry.rotations import random_rotations

PERSON = rest_pose("h36m_17")


FOCAL, CENTRE = torch.tensor([1145.0, 1143.0]), torch.tensor([512.5, 515.4])


LENS = torch.tensor([-0.2, 0.24, -0.001, -0.0015, 0.002])


def cloud(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=make_generator(seed), dtype=dtype)


def people(*batch, seed=0, noise=0.05):
    poses = PERSON + noise * cloud(*batch, 17, 3, seed=seed)
    return poses @ random_rotations(1, make_generator(seed + 1))[0].mT


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
