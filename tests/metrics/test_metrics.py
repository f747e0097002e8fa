"""Contracts, oracles and limits of probpose.metrics."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, NotFiniteError, ProbposeError, ShapeError, UnknownNameError
from probpose.geometry.alignment import align
from probpose.geometry.skeletons import CPS_JOINTS, PCK_JOINTS_14, SYMMETRIC_BONES
from probpose.metrics import calibration, masks, pose, scores, sets
from probpose.metrics.calibration import calibration_curve, calibration_error, calibration_ranks, rank_curve
from probpose.metrics.pose import auc, cps, joint_errors, mpjpe, n_mpjpe, pa_mpjpe, pck, symmetry_error
from probpose.metrics.scores import crps, energy_score, negative_log_likelihood
from probpose.metrics.sets import STATISTICS, axis_spread, best_of, over_chunks, over_hypotheses

MODULES = (calibration, masks, pose, scores, sets)


def metric_named(name):
    "A metric by its name, whichever module it is in."
    return next(getattr(module, name) for module in MODULES if hasattr(module, name))


def cut_pieces(monkeypatch, piece):
    "Let every module work on pieces of another size."
    for module in MODULES:
        if hasattr(module, "PIECE"):
            monkeypatch.setattr(module, "PIECE", piece)


POSE_METRICS = ("mpjpe", "pa_mpjpe", "n_mpjpe", "pck", "auc", "cps")
SET_METRICS = ("energy_score", "crps", "calibration_ranks", "calibration_error")


@pytest.fixture
def g():
    return make_generator(0)


@pytest.fixture
def poses(g):
    target = 0.3 * torch.randn(6, 17, 3, generator=g)
    return target + 0.08 * torch.randn(5, 6, 17, 3, generator=g), target


def rotation(g):
    q = torch.linalg.qr(torch.randn(3, 3, generator=g)).Q
    return q * torch.linalg.det(q)


# --- what every pose metric must do ---


@pytest.mark.parametrize("name", POSE_METRICS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_leading_dimensions_broadcast(name, dtype, poses):
    metric = metric_named(name)
    pred, target = (t.to(dtype) for t in poses)
    whole = metric(pred, target)
    assert whole.shape == (5, 6) and whole.dtype == dtype
    assert metric(pred[0, 0], target[0]).shape == ()
    each = torch.stack([torch.stack([metric(p, t) for p, t in zip(row, target)]) for row in pred])
    assert torch.allclose(whole, each, rtol=1e-4, atol=1e-3)
    assert torch.allclose(metric(pred[:, None], target[:, None]).diagonal(dim1=1, dim2=2), whole, rtol=1e-4, atol=1e-3)
    assert metric(target[0], target).shape == (6,)


@pytest.mark.parametrize("name", POSE_METRICS)
def test_pieces_do_not_show(name, poses, monkeypatch):
    metric = metric_named(name)
    whole = metric(*poses)
    for piece in (1, 100, 700):
        cut_pieces(monkeypatch, piece)
        assert torch.allclose(metric(*poses), whole, rtol=1e-4, atol=1e-3)
        assert torch.allclose(
            metric(poses[0], poses[1][:1]), metric(poses[0], poses[1][:1].expand(6, 17, 3)), rtol=1e-4, atol=1e-3
        )


@pytest.mark.parametrize("name", POSE_METRICS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", [0, 1])
def test_not_finite_is_refused(name, value, which, poses):
    pair = [t.clone() for t in poses]
    pair[which][..., 2, 4, 1] = value
    with pytest.raises(NotFiniteError, match="finite"):
        metric_named(name)(*pair)


@pytest.mark.parametrize("name", POSE_METRICS)
@pytest.mark.parametrize(
    "pred, target",
    [
        (torch.zeros(4, 16, 3), torch.zeros(4, 17, 3)),
        (torch.zeros(4, 17, 2), torch.zeros(4, 17, 2)),
        (torch.zeros(4, 17, 3), torch.zeros(3, 17, 3)),
        (torch.zeros(4, 17, 3, dtype=torch.long), torch.zeros(4, 17, 3)),
        (np.zeros((4, 17, 3)), torch.zeros(4, 17, 3)),
        (torch.zeros(0, 4, 17, 3), torch.zeros(4, 17, 3)),  # M = 0
        (torch.zeros(4, 0, 3), torch.zeros(4, 0, 3)),
        (torch.zeros(51), torch.zeros(51)),
    ],
)
def test_wrong_shapes_are_refused(name, pred, target):
    with pytest.raises(ShapeError, match="expected"):
        metric_named(name)(pred, target)


def test_millimetres(poses):
    _, target = poses
    moved = target + torch.tensor([0.003, 0.0, 0.004])
    assert torch.allclose(mpjpe(moved, target), torch.full((6,), 5.0), atol=1e-3)
    assert torch.allclose(joint_errors(moved, target), torch.full((6, 17), 5.0), atol=1e-3)


def test_metrics_are_differentiable_away_from_zero(poses):
    pred = poses[0].clone().requires_grad_()
    mpjpe(pred, poses[1]).sum().backward()
    assert torch.isfinite(pred.grad).all() and pred.grad.abs().sum() > 0


# --- accuracy ---


def pa_oracle(pred, target):
    "One pose, float64, by SVD (Umeyama 1991)."
    p, t = pred.double().numpy(), target.double().numpy()
    a, b = p - p.mean(0), t - t.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    d = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    scale = (s * d.diagonal()).sum() / (a**2).sum()
    return 1000 * np.linalg.norm(scale * a @ (u @ d @ vt).T - b, axis=-1).mean()


def test_pa_mpjpe_against_svd(poses):
    pred, target = poses
    found = pa_mpjpe(pred, target)
    for m in range(5):
        for b in range(6):
            assert float(found[m, b]) == pytest.approx(pa_oracle(pred[m, b], target[b]), rel=1e-4)


def test_pa_mpjpe_undoes_a_similarity_but_not_a_mirror(poses, g):
    _, target = poses
    assert pa_mpjpe(0.4 * target @ rotation(g) + 3.0, target).max() < 0.05
    assert pa_mpjpe(target * torch.tensor([1.0, 1.0, -1.0]), target).min() > 10


def test_a_pose_of_one_point_has_a_defined_error(poses):
    _, target = poses
    point = torch.full_like(target, 0.7)
    at_mean = target.mean(1, keepdim=True).expand_as(target)
    assert torch.allclose(pa_mpjpe(point, target), mpjpe(at_mean, target), rtol=1e-4)
    assert torch.isfinite(n_mpjpe(torch.zeros_like(target), target)).all()
    assert torch.isfinite(cps(point, target)).all()


@pytest.mark.parametrize("scaling", ["norm", "least_squares"])
def test_n_mpjpe_ignores_size_and_nothing_else(scaling, poses, g):
    pred, target = poses
    assert n_mpjpe(7.0 * target, target, scaling).max() < 1e-2
    assert torch.allclose(n_mpjpe(0.2 * pred, target, scaling), n_mpjpe(pred, target, scaling), rtol=1e-4)
    assert n_mpjpe(target @ rotation(g), target, scaling).min() > 1


def test_n_mpjpe_scales(poses):
    p, t = poses[0][0, 0], poses[1][0]
    assert float(n_mpjpe(p, t)) == pytest.approx(float(mpjpe(p * t.norm() / p.norm(), t)), rel=1e-5)
    best = float((p * t).sum() / (p * p).sum())
    assert float(n_mpjpe(p, t, "least_squares")) == pytest.approx(float(mpjpe(best * p, t)), rel=1e-5)
    with pytest.raises(UnknownNameError, match="least_squares"):
        n_mpjpe(p, t, "median")


def test_pck_counts_joints(poses):
    _, target = poses
    moved = target.clone()
    moved[:, 7, 1] += 0.16  # the spine is not among the 14
    moved[:, 13, 2] -= 0.14
    assert torch.allclose(pck(moved, target), torch.tensor(100 * 16 / 17))
    assert (pck(moved, target, joints=PCK_JOINTS_14) == 100).all()
    assert torch.allclose(pck(moved, target, threshold=100.0, joints=PCK_JOINTS_14), torch.tensor(100 * 13 / 14))
    assert (pck(target, target, threshold=0.0) == 100).all()


@pytest.mark.parametrize("joints", [None, PCK_JOINTS_14, torch.tensor([2, 3])])
@pytest.mark.parametrize("thresholds", [None, (20.0, 5.0, 130.0), [80.0], torch.arange(10, 200, 10)])
def test_auc_is_the_mean_pck(joints, thresholds, poses):
    levels = range(0, 151, 5) if thresholds is None else [float(t) for t in thresholds]
    expected = torch.stack([pck(*poses, threshold=t, joints=joints) for t in levels]).mean(0)
    assert torch.allclose(auc(*poses, thresholds=thresholds, joints=joints), expected, atol=1e-3)


def test_auc_is_bounded_and_needs_thresholds(poses):
    pred, target = poses
    assert (auc(target, target) == 100).all() and (auc(target + 9, target) == 0).all()
    for bad in ([], [[1.0]]):
        with pytest.raises(ConfigError, match="thresholds"):
            auc(pred, target, thresholds=bad)


@pytest.mark.parametrize("name", ["pck", "auc", "cps", "joint_errors"])
@pytest.mark.parametrize("joints", [(), (17,), (-1,)])
def test_joint_indices_are_checked(name, joints, poses):
    with pytest.raises(ShapeError, match="joints"):
        metric_named(name)(*poses, joints=joints)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("joints", [None, CPS_JOINTS])
def test_cps_is_the_area_under_the_threshold_curve(aligned, joints, poses):
    pred, target = (t.double() for t in poses)
    moved = align(pred, target) if aligned else pred
    index = list(range(17) if joints is None else joints)
    worst = 1000 * (moved - target).norm(dim=-1)[..., index].amax(-1)
    middles = torch.arange(0, 300, 0.05, dtype=torch.float64) + 0.025
    area = sum((worst < m).double() for m in middles.tolist()) * 0.05
    assert torch.allclose(cps(pred, target, joints=joints, align=aligned), area, atol=0.03)


def test_cps_is_aligned_by_default_and_judges_the_worst_joint(poses):
    _, target = poses
    assert (cps(1.2 * target + 1, target) > 299.9).all()
    assert (cps(1.2 * target + 1, target, align=False) == 0).all()
    bad = target.clone()
    bad[:, 7] += 0.1
    score = cps(bad, target, align=False)
    assert torch.allclose(score, torch.full((6,), 300 - 100 * 3**0.5), atol=0.01)
    assert (cps(bad, target, joints=CPS_JOINTS, align=False) == 300).all()
    assert torch.allclose(cps(bad, target, align=False, max_threshold=200.0), score - 100, atol=0.01)


# --- sets ---


def test_over_hypotheses_against_numpy(g):
    for count in (1, 2, 7, 8):
        values = torch.randn(count, 4, 3, generator=g)
        v, low, high = values.numpy(), over_hypotheses(values), over_hypotheses(values, lower_is_better=False)
        for name, expected in (
            ("best", v.min(0)),
            ("mean", v.mean(0)),
            ("median", np.median(v, 0)),
            ("worst", v.max(0)),
        ):
            assert np.allclose(low[name], expected, atol=1e-6)
        assert torch.equal(low["best"], high["worst"]) and torch.equal(low["worst"], high["best"])


def test_each_metric_takes_its_own_best(poses):
    pred, target = poses
    first, second = pred[:1].clone(), target[None].clone()
    second[:, :, 3] += 0.4  # exact but for one joint
    both = torch.cat([first, second])
    by_mean = over_hypotheses(mpjpe(both, target), ("best",))["best"]
    by_worst_joint = over_hypotheses(cps(both, target, align=False), ("best",), lower_is_better=False)["best"]
    assert torch.equal(by_mean, mpjpe(second, target)[0]) and torch.equal(
        by_worst_joint, cps(first, target, align=False)[0]
    )


@pytest.mark.parametrize(
    "values, kwargs, error",
    [
        (torch.zeros(0, 4), {}, ShapeError),
        (torch.tensor(1.0), {}, ShapeError),
        (torch.tensor([[1.0], [float("nan")]]), {}, NotFiniteError),
        (torch.zeros(3, 4), {"statistics": ("mode",)}, UnknownNameError),
    ],
)
def test_over_hypotheses_refuses(values, kwargs, error):
    with pytest.raises(error):
        over_hypotheses(values, **kwargs)


@pytest.mark.parametrize("name, lower", [("mpjpe", True), ("cps", False)])
@pytest.mark.parametrize("sizes", [(23,), (1, 22), (5, 5, 5, 5, 3)])
def test_chunks_do_not_show(name, lower, sizes, g):
    target = 0.3 * torch.randn(4, 17, 3, generator=g)
    h = target + 0.1 * torch.randn(23, 4, 17, 3, generator=g)
    metric = metric_named(name)
    whole = over_hypotheses(metric(h, target), lower_is_better=lower)
    found = over_chunks(metric, iter(h.split(list(sizes))), target, STATISTICS, lower)
    assert list(found) == list(STATISTICS)
    assert all(torch.allclose(found[s], whole[s], rtol=1e-4, atol=1e-2) for s in found)
    assert torch.equal(best_of(metric, h.split(list(sizes)), target, lower), found["best"])


def test_no_chunks_no_answer():
    with pytest.raises(ShapeError, match="at least one chunk"):
        best_of(mpjpe, [], torch.zeros(2, 17, 3))
    with pytest.raises(ShapeError):
        best_of(mpjpe, [torch.zeros(0, 2, 17, 3)], torch.zeros(2, 17, 3))
    with pytest.raises(UnknownNameError):
        over_chunks(mpjpe, [torch.zeros(1, 2, 17, 3)], torch.zeros(2, 17, 3), ("mode",))


def test_axis_spread(g):
    h = torch.randn(40, 3, 17, 3, generator=g) * torch.tensor([0.01, 0.02, 0.05])
    assert torch.allclose(axis_spread(h), 1000 * h.std(0), rtol=1e-4)
    assert axis_spread(h[:, 0]).shape == (17, 3)
    assert (axis_spread(h[:1].expand(5, 3, 17, 3)) < 1e-4).all()


def test_symmetry_error(g):
    poses = torch.randn(4, 3, 17, 3, generator=g)
    expected = torch.stack(
        [
            (
                (poses[..., lp, :] - poses[..., lc, :]).norm(dim=-1)
                - (poses[..., rp, :] - poses[..., rc, :]).norm(dim=-1)
            ).abs()
            for (lp, lc), (rp, rc) in SYMMETRIC_BONES
        ]
    )
    assert len(expected) == 5
    assert torch.allclose(symmetry_error(poses), 1000 * expected.mean(0), rtol=1e-4)
    assert torch.allclose(symmetry_error(poses @ rotation(g) + 2), symmetry_error(poses), rtol=1e-3)
    other = (((0, 1), (2, 3)),)
    assert torch.allclose(
        symmetry_error(poses[..., :4, :], other),
        1000
        * (
            (poses[..., 0, :] - poses[..., 1, :]).norm(dim=-1) - (poses[..., 2, :] - poses[..., 3, :]).norm(dim=-1)
        ).abs(),
        rtol=1e-4,
    )
    poses[0, 0, 16, 0] = float("nan")
    with pytest.raises(NotFiniteError):
        symmetry_error(poses)
    for bad in (torch.zeros(2, 16, 3), torch.zeros(0, 17, 3)):
        with pytest.raises(ShapeError, match="expected"):
            symmetry_error(bad)


# --- proper scores ---


def energy_oracle(h, t):
    h, t = h.double().flatten(-2), t.double().flatten(-2)
    m = len(h)
    pairs = sum((h[i] - h[j]).norm(dim=-1) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return 1000 * ((h - t).norm(dim=-1).mean(0) - 0.5 * pairs)


@pytest.mark.parametrize("count", [2, 3, 40])
@pytest.mark.parametrize("piece", [1, 1000, 1 << 20])
def test_energy_score(count, piece, g, monkeypatch):
    cut_pieces(monkeypatch, piece)
    target = 0.3 * torch.randn(5, 17, 3, generator=g)
    h = target + 0.05 * torch.randn(count, 5, 17, 3, generator=g)
    assert torch.allclose(energy_score(h, target).double(), energy_oracle(h, target), rtol=1e-3)
    assert torch.allclose(energy_score(h, target, shifts=count - 1), energy_score(h, target), rtol=1e-3)
    assert torch.allclose(energy_score(h[:, 0], target[0]), energy_score(h, target)[0], rtol=1e-3)


def test_a_few_shifts_are_unbiased(g):
    target = torch.zeros(300, 2, 3)
    h = torch.randn(20, 300, 2, 3, generator=g)
    gap = energy_score(h, target, shifts=2) - energy_score(h, target)
    assert gap.mean().abs() < 4 * gap.std() / 300**0.5 and gap.std() > 0


def test_scores_of_a_known_distribution(g):
    "For a unit Gaussian and a truth from it E|X - x| - E|X - X'| / 2 = 1 / sqrt(pi) per coordinate."
    h, t = torch.randn(50, 4000, 1, 3, generator=g), torch.randn(4000, 1, 3, generator=g)
    assert float(crps(h, t).mean()) == pytest.approx(1000 / np.pi**0.5, rel=0.02)


def test_few_hypotheses_score_like_many_on_average(g):
    "Unbiasedness: the expected score does not depend on how many hypotheses are drawn."
    t = torch.randn(6000, 1, 3, generator=g)
    few, many = (crps(torch.randn(m, 6000, 1, 3, generator=g), t).mean() for m in (2, 60))
    assert float(few) == pytest.approx(float(many), rel=0.04)


@pytest.mark.parametrize("name", ["crps", "energy_score"])
def test_scores_are_proper(name, g):
    score = metric_named(name)
    t = 0.05 * torch.randn(400, 4, 3, generator=g)

    def judged(width, offset=0.0):
        return float(score(offset + width * 0.05 * torch.randn(30, 400, 4, 3, generator=g), t).mean())

    honest = judged(1.0)
    assert honest < min(judged(0.6), judged(1.6), judged(1.0, 0.03))


@pytest.mark.parametrize("count", [2, 9, 30])
def test_crps_against_all_pairs(count, g):
    t = torch.randn(5, 17, 3, generator=g, dtype=torch.float64)
    h = 0.7 * torch.randn(count, 5, 17, 3, generator=g, dtype=torch.float64)
    pairs = (h[:, None] - h[None]).abs().sum((0, 1)) / (count * (count - 1))
    assert torch.allclose(crps(h, t), 1000 * ((h - t).abs().mean(0) - 0.5 * pairs))
    moved = h.clone().requires_grad_()  # the other sort
    assert torch.allclose(crps(moved, t).detach(), crps(h, t))


# --- calibration ---


def gaussians(g, width, count=40, images=300):
    truth = 0.05 * torch.randn(images, 17, 3, generator=g)
    return width * 0.05 * torch.randn(count, images, 17, 3, generator=g), truth


@pytest.mark.parametrize("centre", ["mean", "median"])
@pytest.mark.parametrize("count", [2, 5, 60])
def test_a_calibrated_sampler_lies_on_the_diagonal(centre, count, g):
    curve = calibration_curve(*gaussians(g, 1.0, count), centre=centre)
    assert (curve.observed - curve.levels).abs().max() < 0.03
    assert curve.error < 0.02


@pytest.mark.parametrize("centre", ["mean", "median"])
@pytest.mark.parametrize("pooled", [True, False])
def test_wrong_widths_are_found_on_the_right_side(centre, pooled, g):
    narrow, wide = (calibration_curve(*gaussians(g, w), centre=centre, pooled=pooled) for w in (0.5, 2.0))
    assert (narrow.observed < narrow.levels).all() and narrow.error > 0.2
    assert (wide.observed > wide.levels).all() and wide.error > 0.2


def test_a_skewed_two_peaked_sampler_can_be_calibrated_too(g):
    def draw(*shape):
        near = torch.rand(*shape, 1, generator=g) < 0.7
        return torch.where(
            near, 0.02 * torch.randn(*shape, 3, generator=g), 0.3 + 0.05 * torch.randn(*shape, 3, generator=g).abs()
        )

    assert calibration_error(draw(30, 400, 17), draw(400, 17)) < 0.02
    assert calibration_error(draw(30, 400, 17) * 0.8, draw(400, 17)) > 0.03


def test_a_point_mass_is_as_over_confident_as_can_be():
    h, t = torch.zeros(50, 20, 17, 3), torch.ones(20, 17, 3)
    curve = calibration_curve(h, t)
    assert (curve.observed == 0).all()
    assert float(calibration_error(h, t)) == pytest.approx(0.5, abs=1e-4)


def test_pooling_matters_for_few_hypotheses(g):
    h, t = gaussians(g, 1.0, count=5)
    assert calibration_error(h, t) < 0.02 < 0.05 < calibration_error(h, t, pooled=False)


def test_ranks_by_hand():
    h = torch.tensor([-1.0, 1.0, -2.0, 2.0]).view(4, 1, 1, 1) * torch.tensor([1.0, 0.0, 0.0])

    def rank(x):
        return float(calibration_ranks(h, torch.tensor([[[x, 0.0, 0.0]]]), pooled=False))

    assert [rank(x) for x in (0.5, 1.5, 3.0)] == pytest.approx([0.1, 0.5, 0.9])


def test_curves_per_joint_and_from_collected_ranks(g):
    h, t = gaussians(g, 1.0)
    h[:, :, 3] *= 0.3
    curve = calibration_curve(h, t, per_joint=True)
    assert curve.observed.shape == (19, 17) and curve.error.shape == (17,)
    assert curve.error.argmax() == 3
    ranks = torch.cat([calibration_ranks(h[:, i : i + 100], t[i : i + 100]) for i in range(0, 300, 100)])
    assert torch.allclose(rank_curve(ranks, len(h), per_joint=True).observed, curve.observed)
    levels = calibration_curve(h, t, levels=[0.0, 0.5, 1.0])
    assert levels.observed[[0, 2]].tolist() == pytest.approx([0.0, 1.0], abs=1e-6)


@pytest.mark.parametrize("levels", [[], [0.5, 1.5], [-0.1], [[0.5]]])
def test_levels_are_checked(levels, g):
    with pytest.raises(ConfigError, match="levels"):
        calibration_curve(*gaussians(g, 1.0, 4, 3), levels=levels)


# --- what every set metric must refuse ---


@pytest.mark.parametrize("name", SET_METRICS)
@pytest.mark.parametrize(
    "h, t",
    [
        (torch.zeros(0, 4, 17, 3), torch.zeros(4, 17, 3)),
        (torch.zeros(1, 4, 17, 3), torch.zeros(4, 17, 3)),
        (torch.zeros(5, 4, 17, 3), torch.zeros(4, 16, 3)),
        (torch.zeros(5, 4, 17, 3), torch.zeros(3, 17, 3)),
        (torch.zeros(5, 4, 17, 3), torch.zeros(17, 3)),
        (torch.zeros(5, 0, 17, 3), torch.zeros(0, 17, 3)),
        (torch.zeros(17, 3), torch.zeros(17, 3)),
        (torch.zeros(5, 4, 17, 2), torch.zeros(4, 17, 2)),
    ],
)
def test_sets_of_wrong_shape_are_refused(name, h, t):
    with pytest.raises(ShapeError, match="expected"):
        metric_named(name)(h, t)


@pytest.mark.parametrize("name", SET_METRICS)
@pytest.mark.parametrize("which", [0, 1])
def test_sets_with_nan_are_refused(name, which, g):
    pair = list(gaussians(g, 1.0, 4, 6))
    pair[which][..., 5, 2, 1] = float("nan")
    with pytest.raises(NotFiniteError, match="hypotheses|target"):
        metric_named(name)(*pair)


def test_other_refusals(g):
    h, t = gaussians(g, 1.0, 4, 3)
    with pytest.raises(UnknownNameError, match="median"):
        calibration_ranks(h, t, centre="mode")
    for shifts in (0, 4):
        with pytest.raises(ConfigError, match="shifts"):
            energy_score(h, t, shifts=shifts)
    with pytest.raises(ShapeError):
        axis_spread(h[:1])
    h[0, 0, 0, 0] = float("inf")
    with pytest.raises(NotFiniteError):
        axis_spread(h)
    assert issubclass(NotFiniteError, ProbposeError)


# --- likelihood ---


def test_negative_log_likelihood():
    log_prob = torch.tensor([-3.0, 2.0, -float("inf")])
    assert negative_log_likelihood(log_prob).tolist() == [3.0, -2.0, float("inf")]
    assert negative_log_likelihood(log_prob[:1], dimensions=3).tolist() == [1.0]
    for bad in (float("nan"), float("inf")):
        with pytest.raises(NotFiniteError):
            negative_log_likelihood(torch.tensor([0.0, bad]))
    with pytest.raises(ConfigError):
        negative_log_likelihood(log_prob, dimensions=0)


# --- memory ---

PEAK = """
import re, torch
from probpose import metrics
torch.set_num_threads(1)

def peak():
    "Peak of resident memory in kilobytes; getrusage would begin with the peak of the process that started this one."
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

def growth(function):
    "Megabytes by which the peak of this process rises."
    before = peak()
    function()
    return (peak() - before) / 1024

target = torch.zeros(10_000, 17, 3)
noise = 0.1 * torch.randn(25, 10_000, 17, 3)
print(growth(lambda: over_chunks(mpjpe, (noise for _ in range(80)), target)))
h, target = torch.randn(2_000, 250, 17, 3), torch.zeros(250, 17, 3)
for name in ("mpjpe", "cps", "auc", "energy_score", "crps", "calibration_ranks"):
    kwargs = {"shifts": 3} if name == "energy_score" else {}
    print(growth(lambda: metric(h, target, **kwargs)))
"""
CARELESS = (
    PEAK.split("target = torch.zeros(10_000")[0]
    + """
h, target = torch.randn(2_000, 250, 17, 3), torch.zeros(250, 17, 3)
print(growth(lambda: (h - target).norm(dim=-1).mean(-1)))
"""
)


@pytest.mark.skipif(
    sys.platform != "linux", reason="reads the peak of resident memory in kilobytes, as Linux reports it"
)
def test_memory_is_bounded():
    """2,000 hypotheses of 10,000 poses, 4 GB, pass as chunks of 51 MB.

    Then 102 MB of hypotheses that are all in memory are judged.
    """
    done, other = (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        for script in (PEAK, CARELESS)
    )
    assert done.returncode == 0 and other.returncode == 0, done.stderr + other.stderr
    streamed, *resident = map(float, done.stdout.split())
    assert streamed < 80
    assert len(resident) == 6 and max(resident) < 60, resident
    assert (
        float(other.stdout) > 80
    )  # the measurement sees what a one-line formula costs, in a process with no earlier peak to hide it
