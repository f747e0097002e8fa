"""Errors in pixels and joints inside masks against all pairs."""

import numpy as np
import pytest
import torch

from probpose.core.errors import ConfigError, EmptyMaskError, NotFiniteError, ShapeError
from probpose.metrics.masks import error_2d, mask_distance, mask_scores, percent_inside

HALF_DIAGONAL = 0.5**0.5


@pytest.fixture
def image(g):
    "Projections of 20 hypotheses (map pixels), a person mask of 256 pixels, and which joints are judged."
    y, x = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    mask = torch.stack([(x - 120 - 10 * b).square() / 30**2 + (y - 128).square() / 80**2 < 1 for b in range(3)])
    mask[1, 100:140] = False  # two parts
    return 30 + 12 * torch.randn(20, 3, 17, 2, generator=g), mask, torch.rand(3, 17, generator=g) < 0.4


def all_pairs(points, mask, joints):
    "PercIn and MinDist of one image, (M, J, 2) map pixels: every sample against every pixel of the mask."
    side = len(mask)
    xy = (points[:, joints].reshape(-1, 2).double() + 0.5) * side / 64 - 0.5
    xy = xy[((xy >= -0.5) & (xy < side - 0.5)).all(-1)]
    rows, columns = mask.nonzero().double().T
    distance = torch.cdist(xy, torch.stack([columns, rows], -1)).amin(1)
    inside = distance <= HALF_DIAGONAL
    return 100 * inside.double().mean(), 256 / side * torch.where(inside, 0, distance).mean()


def test_error_2d_is_in_pixels_of_the_crop_and_of_visible_joints(g):
    truth, seen = 64 * torch.rand(6, 17, 2, generator=g), torch.rand(6, 17, generator=g) < 0.6
    pred = truth + torch.randn(9, 6, 17, 2, generator=g)
    wanted = torch.tensor(
        [
            [
                np.mean([4 * float((pred[m, b, j] - truth[b, j]).norm()) for j in range(17) if seen[b, j]])
                for b in range(6)
            ]
            for m in range(9)
        ]
    ).float()
    found = error_2d(pred, truth, seen)
    assert found.shape == (9, 6) and torch.allclose(found, wanted, rtol=1e-4)
    assert torch.allclose(error_2d(pred[4], truth, seen), wanted[4], rtol=1e-4)
    in_crop = [(p + 0.5) * 4 - 0.5 for p in (pred, truth)]
    assert torch.allclose(error_2d(*in_crop, seen, map_size=256), wanted, rtol=1e-3)
    assert torch.allclose(error_2d(truth + torch.tensor([3.0, 4.0]), truth), torch.full((6,), 20.0), rtol=1e-4)


@pytest.mark.parametrize("piece", [1, 50, 300])
def test_error_2d_in_pieces(piece, monkeypatch, g):
    truth, seen = torch.rand(6, 17, 2, generator=g), torch.rand(6, 17, generator=g) < 0.6
    pred = torch.rand(9, 6, 17, 2, generator=g)
    whole = error_2d(pred, truth, seen)
    monkeypatch.setattr("probpose.metrics.pose.PIECE", piece)
    assert torch.allclose(error_2d(pred, truth, seen), whole) and torch.allclose(
        error_2d(pred, truth), 256 / 64 * (pred - truth).norm(dim=-1).mean(-1), rtol=1e-4
    )


def test_joints_that_do_not_count_are_not_looked_at(g):
    truth, seen = torch.rand(2, 17, 2, generator=g), torch.ones(2, 17, dtype=torch.bool)
    seen[0] = False
    truth[0] = float("nan")
    assert error_2d(truth, truth, seen)[0].isnan() and error_2d(truth, truth, seen)[1] == 0
    with pytest.raises(NotFiniteError):
        error_2d(truth, truth)
    with pytest.raises(NotFiniteError):
        error_2d(truth, truth, ~seen)


def test_bad_keypoints_are_refused(g):
    points, seen = torch.rand(2, 17, 2, generator=g), torch.ones(2, 17, dtype=torch.bool)
    for kind, call in (
        (ShapeError, lambda: error_2d(points, points[:, :16])),
        (ShapeError, lambda: error_2d(points[..., :1], points)),
        (ShapeError, lambda: error_2d(points[:0], points[:0])),
        (ShapeError, lambda: error_2d(points, points, seen.float())),
        (ShapeError, lambda: error_2d(points, points, seen[:, :16])),
        (ShapeError, lambda: error_2d(points, points, [True] * 17)),
        (ConfigError, lambda: error_2d(points, points, seen, map_size=0)),
    ):
        with pytest.raises(kind, match="expected"):
            call()


@pytest.mark.parametrize("side", [256, 64])
def test_mask_scores_are_those_of_all_pairs(image, side):
    points, mask, joints = image
    mask = mask[:, :: 256 // side, :: 256 // side]
    found = mask_scores(points, mask, joints)
    for b in range(3):
        inside, distance = all_pairs(points[:, b], mask[b], joints[b])
        assert found.percent_inside[b] == pytest.approx(float(inside), abs=1e-3) and found.distance[b] == pytest.approx(
            float(distance), rel=1e-2
        )
    assert torch.equal(percent_inside(points, mask, joints), found.percent_inside) and torch.equal(
        mask_distance(points, mask, joints), found.distance
    )


def test_ragged_masks_decide_as_all_pairs_do(g):
    mask = torch.rand(64, 64, generator=g) < 0.03
    points = 70 * torch.rand(3000, 1, 2, generator=g) - 3
    inside, distance = all_pairs(points, mask, torch.ones(1, dtype=torch.bool))
    found = mask_scores(points, mask)
    assert found.percent_inside == pytest.approx(float(inside), abs=1e-4) and found.distance == pytest.approx(
        float(distance), rel=1e-3
    )


def test_distance_is_measured_to_the_nearest_pixel():
    mask = torch.zeros(256, 256, dtype=torch.bool)
    mask[100, 50] = True
    for (x, y), wanted in {
        (50, 100): 0,
        (50.6, 100.3): 0,
        (53, 104): 5,
        (50, 101): 1,
        (0, 100): 50,
        (50, 99.2): 0.8,
    }.items():
        assert mask_distance(torch.tensor([[[float(x), float(y)]]]), mask, map_size=256) == pytest.approx(
            wanted, abs=1e-5
        )
        assert percent_inside(torch.tensor([[[float(x), float(y)]]]), mask, map_size=256) == (100 if wanted == 0 else 0)


def test_map_pixels_are_cell_centres():
    mask = torch.zeros(256, 256, dtype=torch.bool)
    mask[40:44, 80:84] = True  # cell (20, 10) of the map
    assert percent_inside(torch.tensor([[[20.0, 10.0]]]), mask) == 100
    edges = torch.tensor([[[19.6, 9.6]], [[20.4, 10.4]], [[19.0, 10.0]], [[20.0, 11.0]]])
    assert percent_inside(edges, mask) == 50


def test_samples_outside_of_the_crop_do_not_count(image):
    points, mask, joints = image
    far = torch.cat([points, torch.full_like(points, 200.0), torch.full_like(points, -3.0)])
    for with_far, without in zip(mask_scores(far, mask, joints), mask_scores(points, mask, joints)):
        assert torch.allclose(with_far, without)
    assert mask_scores(far[20:], mask, joints).percent_inside.isnan().all()


def test_leading_dimensions_of_masks(image):
    points, mask, joints = image
    whole = mask_scores(points, mask, joints)
    one = mask_scores(points[:, 1], mask[1], joints[1])
    assert (
        one.percent_inside.shape == ()
        and torch.allclose(one.percent_inside, whole.percent_inside[1])
        and torch.allclose(one.distance, whole.distance[1])
    )
    folded = mask_scores(points[:, :, None], mask[:, None], joints[:, None])
    assert folded.distance.shape == (3, 1) and torch.allclose(folded.distance[:, 0], whole.distance)
    assert torch.allclose(mask_scores(points.unflatten(0, (4, 5)), mask, joints).distance, whole.distance)
    mode = mask_scores(points[0], mask, joints)
    assert mode.percent_inside.shape == (3,), "a single guess has a share too"


def test_a_better_aimed_model_scores_better(image):
    points, mask, joints = image
    narrow = mask_scores(32 + 0.3 * (points - 30), mask, joints)
    wide = mask_scores(points, mask, joints)
    assert (narrow.percent_inside > wide.percent_inside).all() and (narrow.distance < wide.distance).all()


def test_masks_without_pixels(image):
    points, mask, joints = image
    empty = mask.clone()
    empty[1] = False
    with pytest.raises(EmptyMaskError, match="image 1.*expected"):
        mask_scores(points, empty, joints)
    joints[1] = False
    found = mask_scores(points, empty, joints)
    assert found.distance[1].isnan() and found.distance[[0, 2]].isfinite().all()
    assert (
        mask_scores(points, mask | True).percent_inside.eq(100).all()
        and mask_scores(points, mask | True).distance.eq(0).all()
    )


def test_bad_masks_are_refused(image):
    points, mask, joints = image
    for kind, call in (
        (ShapeError, lambda: mask_scores(points, mask.to(torch.uint8), joints)),
        (ShapeError, lambda: mask_scores(points, mask.numpy(), joints)),
        (ShapeError, lambda: mask_scores(points, mask[..., :128], joints)),
        (ShapeError, lambda: mask_scores(points, mask[:2], joints)),
        (ShapeError, lambda: mask_scores(points[:, 0], mask, joints)),
        (ShapeError, lambda: mask_scores(points[:0], mask, joints)),
        (ShapeError, lambda: mask_scores(points, mask, joints[:, :16])),
        (ShapeError, lambda: mask_scores(points, mask, joints.float())),
        (ConfigError, lambda: mask_scores(points, mask, joints, map_size=0)),
        (NotFiniteError, lambda: mask_scores(points / 0, mask, joints)),
    ):
        with pytest.raises(kind, match="expected"):
            call()
    points[:, ~joints] = float("nan")
    assert mask_scores(points, mask, joints).distance.isfinite().all(), "joints that are not judged are not looked at"
