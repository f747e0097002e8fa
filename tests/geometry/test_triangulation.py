"Points from several views: exact for known ones, robust against a bad view, silent about nothing."

import dataclasses

import pytest
import torch

from probpose.core.errors import ConfigError, NotFiniteError, ShapeError
from probpose.geometry.cameras import distort, look_at_camera
from probpose.geometry.triangulation import match_sides, stack_cameras, straight_rays, triangulate

LENS = torch.tensor([-0.2, 0.05, 0.001, -0.002, 0.01]).double()


def ring(count, radius=4.0, lens=LENS):
    "Cameras in a ring around the origin, at different heights."
    angles = 2 * torch.pi * torch.arange(count).double() / count + 0.3
    heights = 0.5 + 0.4 * torch.arange(count).double()
    places = torch.stack([radius * angles.sin(), heights, radius * angles.cos()], -1)
    made = [
        look_at_camera(
            p, torch.zeros(3).double(), torch.tensor([1100.0, 1105.0]).double(), torch.tensor([640.0, 355.0]).double()
        )
        for p in places
    ]
    return stack_cameras([dataclasses.replace(camera, distortion=lens) for camera in made])


@pytest.fixture(scope="module")
def scene():
    "Six cameras, 30 moments of 12 points, and what each camera sees."
    cameras = ring(6)
    points = torch.rand(30, 12, 3, generator=torch.Generator().manual_seed(1)).double() * 1.6 - 0.8
    seen = torch.stack([cameras[v].project(cameras[v].to_camera(points)) for v in range(6)], 1)
    return cameras, points, seen


@pytest.mark.parametrize("views", [2, 3, 6])
def test_known_points_are_found_exactly(scene, views):
    cameras, points, seen = scene
    found = triangulate(cameras[:views], seen[:, :views])
    assert found.points.dtype == torch.float64
    assert (found.points - points).norm(dim=-1).max() < 1e-6
    assert found.errors.max() < 1e-3 and found.used.all() and not found.outliers.any()


def test_pixels_are_straightened_as_the_formula_says(scene):
    cameras, _, seen = scene
    rays = straight_rays(cameras, seen)
    again = distort(rays, cameras.distortion) * cameras.focal[:, None] + cameras.centre[:, None]
    assert (again - seen).abs().max() < 1e-8
    x, y = rays[4, 2, 7].tolist()
    k1, k2, p1, p2, k3 = LENS.tolist()
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    bent = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    assert seen[4, 2, 7].tolist() == pytest.approx([1100 * bent[0] + 640, 1105 * bent[1] + 355], abs=1e-6)


@pytest.mark.parametrize("views", [4, 6])
def test_one_bad_view_is_left_out_and_named(scene, views):
    cameras, points, seen = scene
    wrong = seen[:, :views].clone()
    wrong[:, 1] += torch.tensor([45.0, -70.0]).double()
    found = triangulate(cameras[:views], wrong)
    assert (found.points - points).norm(dim=-1).max() < 1e-6
    assert found.outliers[:, 1].all() and found.outliers.sum() == found.outliers[:, 1].sum()
    assert (found.errors[:, 1] - (45**2 + 70**2) ** 0.5).abs().max() < 1e-3


def test_a_view_without_confidence_does_not_count(scene):
    cameras, points, seen = scene
    wrong, weights = seen.clone(), torch.ones(seen.shape[:-1])
    wrong[:, :3], weights[:, :3] = 500.0, 0.0
    found = triangulate(cameras, wrong, weights)
    assert (found.points - points).norm(dim=-1).max() < 1e-6 and not found.used[:, :3].any()


def test_fewer_than_two_views_have_no_point(scene):
    cameras, _, seen = scene
    lost = seen.clone()
    lost[0, 1:, 3] = torch.nan
    lost[1, :, 4] = torch.nan
    found = triangulate(cameras, lost)
    unknown = found.points.isnan().all(-1)
    assert unknown.nonzero().tolist() == [[0, 3], [1, 4]]
    assert found.errors[0, :, 3].isnan().all() and not found.used[0, :, 3].any()
    assert not found.outliers[0, :, 3].any(), "nobody is to blame where nothing is known"


def test_two_views_that_contradict_each_other_have_no_point(scene):
    cameras, _, seen = scene
    wrong = seen[:, :2].clone()
    wrong[:, 1, :, 1] += 300
    assert triangulate(cameras[:2], wrong).points.isnan().all()


def test_rays_along_one_line_fix_no_depth():
    cameras = ring(2)
    beside = dataclasses.replace(cameras[1], rotation=cameras[0].rotation, translation=cameras[0].translation + 1e-3)
    twins = stack_cameras([cameras[0], beside])
    points = torch.rand(4, 5, 3).double() - 0.5
    seen = torch.stack([twins[v].project(twins[v].to_camera(points)) for v in range(2)], 1)
    assert triangulate(twins, seen).points.isnan().all()


def test_exchanged_sides_of_some_views_are_found(scene):
    cameras, points, seen = scene
    pairs = [(i, i + 1) for i in range(0, 12, 2)]
    order = torch.tensor([j for pair in pairs for j in pair[::-1]])
    truth = torch.rand(30, 6, generator=torch.Generator().manual_seed(3)) < 0.2
    truth &= truth.sum(1, keepdim=True) < 3  # the majority is right
    mixed = torch.where(truth[..., None, None], seen[:, :, order], seen)
    noisy = mixed + 2 * torch.randn(mixed.shape, generator=torch.Generator().manual_seed(4)).double()
    assert torch.equal(match_sides(cameras, noisy, pairs), truth)
    lost = noisy.clone()
    lost[:, 5] = torch.nan
    assert not match_sides(cameras, lost, pairs)[:, 5].any()


def test_what_does_not_fit_together_is_refused(scene):
    cameras, _, seen = scene
    infinite = seen.clone()
    infinite[0, 0, 0, 0] = torch.inf
    for error, arguments in (
        (ShapeError, (cameras, seen[:, :5])),
        (ShapeError, (cameras[:1], seen[:, :1])),
        (ShapeError, (cameras[0], seen[:, 0])),
        (ShapeError, (cameras, seen.numpy())),
        (ShapeError, (cameras, seen, torch.ones(30, 6))),
        (ConfigError, (cameras, seen, -torch.ones(30, 6, 12))),
        (NotFiniteError, (cameras, infinite)),
        (ConfigError, (cameras, seen, None, 0.0)),
    ):
        with pytest.raises(error):
            triangulate(*arguments)
    with pytest.raises(ConfigError):
        stack_cameras([])
    with pytest.raises(ConfigError, match="pairs"):
        match_sides(cameras, seen, [])
