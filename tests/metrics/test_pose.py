"""Errors of poses and surfaces: contracts, oracles, bad input."""

import numpy as np
import pytest
import torch

from probpose.core.errors import ConfigError, NotFiniteError, ShapeError, UnknownNameError
from probpose.geometry.alignment import align
from probpose.geometry.skeletons import CPS_JOINTS, PCK_JOINTS_14, SYMMETRIC_BONES
from probpose.metrics.pose import (
    BODY_PROTOCOLS,
    auc,
    cps,
    joint_errors,
    mpjpe,
    n_mpjpe,
    pa_mpjpe,
    pck,
    pelvis,
    pve,
    symmetry_error,
)

POSE_METRICS = (mpjpe, pa_mpjpe, n_mpjpe, pck, auc, cps)


def rotation(g):
    q = torch.linalg.qr(torch.randn(3, 3, generator=g)).Q
    return q * torch.linalg.det(q)


@pytest.mark.parametrize("metric", POSE_METRICS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_leading_dimensions_broadcast(metric, dtype, poses):
    pred, target = (t.to(dtype) for t in poses)
    whole = metric(pred, target)
    assert whole.shape == (5, 6) and whole.dtype == dtype
    assert metric(pred[0, 0], target[0]).shape == ()
    each = torch.stack([torch.stack([metric(p, t) for p, t in zip(row, target)]) for row in pred])
    assert torch.allclose(whole, each, rtol=1e-4, atol=1e-3)
    assert torch.allclose(metric(pred[:, None], target[:, None]).diagonal(dim1=1, dim2=2), whole, rtol=1e-4, atol=1e-3)
    assert metric(target[0], target).shape == (6,)


@pytest.mark.parametrize("metric", POSE_METRICS)
def test_pieces_do_not_show(metric, poses, monkeypatch):
    whole = metric(*poses)
    for piece in (1, 100, 700):
        monkeypatch.setattr("probpose.metrics.pose.PIECE", piece)
        assert torch.allclose(metric(*poses), whole, rtol=1e-4, atol=1e-3)
        assert torch.allclose(
            metric(poses[0], poses[1][:1]), metric(poses[0], poses[1][:1].expand(6, 17, 3)), rtol=1e-4, atol=1e-3
        )


@pytest.mark.parametrize("metric", POSE_METRICS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", [0, 1])
def test_not_finite_is_refused(metric, value, which, poses):
    pair = [t.clone() for t in poses]
    pair[which][..., 2, 4, 1] = value
    with pytest.raises(NotFiniteError, match="finite"):
        metric(*pair)


@pytest.mark.parametrize("metric", POSE_METRICS)
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
def test_wrong_shapes_are_refused(metric, pred, target):
    with pytest.raises(ShapeError, match="expected"):
        metric(pred, target)


def test_millimetres(poses):
    _, target = poses
    moved = target + torch.tensor([0.003, 0.0, 0.004])
    assert torch.allclose(mpjpe(moved, target), torch.full((6,), 5.0), atol=1e-3)
    assert torch.allclose(joint_errors(moved, target), torch.full((6, 17), 5.0), atol=1e-3)


def test_metrics_are_differentiable_away_from_zero(poses):
    pred = poses[0].clone().requires_grad_()
    mpjpe(pred, poses[1]).sum().backward()
    assert torch.isfinite(pred.grad).all() and pred.grad.abs().sum() > 0


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


@pytest.mark.parametrize("metric", [pck, auc, cps, joint_errors])
@pytest.mark.parametrize("joints", [(), (17,), (-1,)])
def test_joint_indices_are_checked(metric, joints, poses):
    with pytest.raises(ShapeError, match="joints"):
        metric(*poses, joints=joints)


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
def test_pieces_of_surfaces_do_not_show(bodies, piece, monkeypatch):
    whole = pve(*bodies)
    monkeypatch.setattr("probpose.metrics.pose.PIECE", piece)
    assert torch.allclose(pve(*bodies), whole, rtol=1e-4)
    pred, truth, pred_pelvis, truth_pelvis = bodies
    assert torch.allclose(pve(pred, truth[:1], pred_pelvis, truth_pelvis[:1])[:, 0], whole[:, 0], rtol=1e-4)


def test_pve_forgets_where_a_body_is_but_not_how_it_is_turned(bodies):
    _, truth, _, origin = bodies
    away = torch.tensor([1.0, -2.0, 3.0])
    assert pve(truth + away, truth, origin + away, origin).max() < 1e-2
    assert pve(truth + away, truth).min() > 1000
    assert pve(truth * torch.tensor([-1.0, 1, -1]), truth, origin * torch.tensor([-1.0, 1, -1]), origin).min() > 100


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
