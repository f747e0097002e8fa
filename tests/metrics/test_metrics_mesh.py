"""Metrics of whole bodies and of their agreement with the image: oracles, broadcasting, bad input."""

import numpy as np
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, EmptyMaskError, NotFiniteError, ShapeError, UnknownNameError
from probpose.metrics import calibration, masks, pose, scores, sets
from probpose.metrics.masks import error_2d, mask_distance, mask_scores, percent_inside
from probpose.metrics.pose import BODY_PROTOCOLS, mpjpe, pa_mpjpe, pelvis, pve
from probpose.metrics.sets import best_of, over_hypotheses, spread_3d

MODULES = (calibration, masks, pose, scores, sets)


def metric_named(name):
    "A metric by its name, whichever module it is in."
    return next(getattr(module, name) for module in MODULES if hasattr(module, name))


def cut_pieces(monkeypatch, piece):
    "Let every module work on pieces of another size."
    for module in MODULES:
        if hasattr(module, "PIECE"):
            monkeypatch.setattr(module, "PIECE", piece)


HALF_DIAGONAL = 0.5**0.5


@pytest.fixture
def g():
    return make_generator(0)


@pytest.fixture
def bodies(g):
    "Vertices of 4 hypotheses for 3 images, their truth, and the pelvises of both."
    truth = 0.4 * torch.randn(3, 500, 3, generator=g) + torch.tensor([0.1, 0.2, 4.0])
    pred = truth + 0.05 * torch.randn(4, 3, 500, 3, generator=g) + torch.tensor([0.5, 0.0, 1.0])
    return pred, truth, pred[..., :9, :].mean(-2), truth[..., :9, :].mean(-2)


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


# --- the surface ---


def test_pve_is_the_mean_distance_of_vertices_after_moving_the_pelvis(bodies):
    pred, truth, pred_pelvis, truth_pelvis = bodies
    wanted = torch.stack(
        [
            torch.stack(
                [1000 * ((p - o) - (t - q)).norm(dim=-1).mean() for p, o, t, q in zip(row, origin, truth, truth_pelvis)]
            )
            for row, origin in zip(pred, pred_pelvis)
        ]
    )
    found = pve(pred, truth, pred_pelvis, truth_pelvis)
    assert found.shape == (4, 3) and torch.allclose(found, wanted, rtol=1e-4)
    assert torch.allclose(pve(pred[0, 0], truth[0], pred_pelvis[0, 0], truth_pelvis[0]), wanted[0, 0], rtol=1e-4)
    centred = pred - pred_pelvis[..., None, :], truth - truth_pelvis[..., None, :]
    assert torch.allclose(pve(*centred), wanted, rtol=1e-4)


@pytest.mark.parametrize("piece", [1, 1000, 2000, 10**6])
def test_pieces_do_not_show(bodies, piece, monkeypatch):
    whole = pve(*bodies)
    cut_pieces(monkeypatch, piece)
    assert torch.allclose(pve(*bodies), whole, rtol=1e-4)
    pred, truth, pred_pelvis, truth_pelvis = bodies
    assert torch.allclose(pve(pred, truth[:1], pred_pelvis, truth_pelvis[:1])[:, 0], whole[:, 0], rtol=1e-4)


def test_pve_forgets_where_a_body_is_but_not_how_it_is_turned(bodies):
    _, truth, _, origin = bodies
    away = torch.tensor([1.0, -2.0, 3.0])
    assert pve(truth + away, truth, origin + away, origin).max() < 1e-2
    assert pve(truth + away, truth).min() > 1000
    assert pve(truth * torch.tensor([-1.0, 1, -1]), truth, origin * torch.tensor([-1.0, 1, -1]), origin).min() > 100


def test_best_of_many_bodies_is_that_of_all_at_once(bodies):
    pred, truth, pred_pelvis, truth_pelvis = bodies
    every = over_hypotheses(pve(*bodies))
    chunks = (pred[i : i + 1] - pred_pelvis[i : i + 1, ..., None, :] for i in range(4))
    assert torch.allclose(best_of(pve, chunks, truth - truth_pelvis[..., None, :]), every["best"], rtol=1e-4)
    assert (every["best"] <= every["mean"]).all()


def test_bad_bodies_are_refused(bodies):
    pred, truth, pred_pelvis, truth_pelvis = bodies
    for kind, call in (
        (ShapeError, lambda: pve(pred[..., :400, :], truth)),
        (ShapeError, lambda: pve(pred[:, :2], truth)),
        (ShapeError, lambda: pve(pred[:0], truth)),
        (ShapeError, lambda: pve(pred.numpy(), truth)),
        (ShapeError, lambda: pve(pred, truth, pred_pelvis[0], truth_pelvis)),
        (ShapeError, lambda: pve(pred, truth, [0, 0, 0], truth_pelvis)),
        (ConfigError, lambda: pve(pred, truth, pred_pelvis)),
        (ConfigError, lambda: pve(pred, truth, None, truth_pelvis)),
        (NotFiniteError, lambda: pve(pred * float("nan"), truth)),
        (NotFiniteError, lambda: pve(pred, truth, pred_pelvis, truth_pelvis * float("inf"))),
    ):
        with pytest.raises(kind, match="expected"):
            call()


# --- joint sets ---


@pytest.mark.parametrize("name", BODY_PROTOCOLS)
def test_protocols_centre_on_the_hips_and_check_the_joints(name, g):
    protocol = BODY_PROTOCOLS[name]
    truth = torch.randn(3, protocol.joints, 3, generator=g)
    pred = truth + 0.1 * torch.randn(5, 3, protocol.joints, 3, generator=g) + 2.0
    centred = [p - p[..., list(protocol.hips), :].mean(-2, keepdim=True) for p in (pred, truth)]
    assert torch.allclose(mpjpe(pred, truth, name), mpjpe(*centred), rtol=1e-4)
    assert torch.allclose(pa_mpjpe(pred, truth, name), pa_mpjpe(pred, truth))
    assert torch.allclose(pelvis(truth, name)[..., None, :], truth[..., list(protocol.hips), :].mean(-2, keepdim=True))
    for metric in (mpjpe, pa_mpjpe):
        with pytest.raises(ShapeError, match="expected"):
            metric(pred[..., 1:, :], truth[..., 1:, :], name)
        with pytest.raises(UnknownNameError, match="lsp_14"):
            metric(pred, truth, "lsp14")
    with pytest.raises(ShapeError):
        pelvis(pred[..., 1:, :], name)


def test_a_protocol_has_the_hips_of_its_joint_set():
    from probpose.geometry.skeletons import SMPL_24

    assert (
        tuple(SMPL_24.index(f"{side}_hip") for side in ("left", "right"))
        == BODY_PROTOCOLS["smpl_24"].hips
        == BODY_PROTOCOLS["smpl_22"].hips
    )
    assert SMPL_24.joints[22:] == ("left_hand", "right_hand")


# --- keypoints in the image ---


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
    cut_pieces(monkeypatch, piece)
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


# --- spread ---


def test_spread_is_the_mean_distance_to_the_mean(g):
    hypotheses, seen = torch.randn(7, 4, 17, 3, generator=g), torch.rand(4, 17, generator=g) < 0.5
    away = 1000 * (hypotheses - hypotheses.mean(0)).norm(dim=-1).mean(0)
    assert torch.allclose(spread_3d(hypotheses), away.mean(-1), rtol=1e-4)
    for joints in (seen, ~seen):
        wanted = torch.stack([away[b][joints[b]].mean() for b in range(4)])
        assert torch.allclose(spread_3d(hypotheses, joints), wanted, rtol=1e-4)
    assert spread_3d(hypotheses[:, 0]).shape == () and spread_3d(hypotheses[:, 0], seen[0]).shape == ()
    assert spread_3d(hypotheses[:1].expand(5, 4, 17, 3)).max() < 1e-3


def test_bad_spreads_are_refused(g):
    hypotheses, seen = torch.randn(7, 4, 17, 3, generator=g), torch.ones(4, 17, dtype=torch.bool)
    assert spread_3d(hypotheses, ~seen).isnan().all(), "nothing to measure"
    for kind, call in (
        (ShapeError, lambda: spread_3d(hypotheses[:1])),
        (ShapeError, lambda: spread_3d(hypotheses, seen[:2])),
        (ShapeError, lambda: spread_3d(hypotheses, seen.long())),
        (NotFiniteError, lambda: spread_3d(hypotheses / 0, seen)),
    ):
        with pytest.raises(kind, match="expected"):
            call()


# --- masks ---


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
