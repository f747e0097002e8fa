"""L1 distances, the heatmap loss and best-of-many losses against loops."""

import pytest
import torch

from probpose.core.errors import ConfigError, ShapeError, UnknownNameError
from probpose.losses.hypotheses import best_of_m_loss, deterministic_loss, heatmap_loss, hypothesis_covariance, l2d

DTYPES = (torch.float32, torch.float64)


@pytest.mark.parametrize("loss", [l2d, deterministic_loss])
def test_l1_reductions_differ_by_the_number_of_coordinates(loss, g):
    a, b = torch.randn(2, 6, 16, 3, generator=g)
    assert loss(a, b) == pytest.approx(float((a - b).abs().mean()))
    assert loss(a, b, reduction="sum") == pytest.approx(float((a - b).flatten(1).norm(p=1, dim=1).mean()), rel=1e-5)
    assert loss(a, b, reduction="sum") == pytest.approx(48 * float(loss(a, b)), rel=1e-5)
    assert loss(a, a) == 0


def test_l1_refuses_other_shapes_and_reductions():
    with pytest.raises(ShapeError, match="y and y_hat"):
        l2d(torch.zeros(4, 32), torch.zeros(4, 30))
    with pytest.raises(ShapeError):  # would broadcast silently
        deterministic_loss(torch.zeros(4, 16, 3), torch.zeros(1, 16, 3))
    with pytest.raises(UnknownNameError, match="mean"):
        l2d(torch.zeros(4, 32), torch.zeros(4, 32), reduction="median")


@pytest.mark.parametrize("dtype", DTYPES)
def test_hypothesis_covariance_is_numpys(dtype, g):
    h = (torch.randn(30, 2, 5, 2, generator=g) @ torch.randn(2, 2, generator=g)).to(dtype)
    found = hypothesis_covariance(h)
    assert found.shape == (2, 5, 2, 2) and found.dtype == dtype
    assert torch.allclose(found[1, 3], torch.cov(h[:, 1, 3].T), rtol=1e-4)


def test_heatmap_loss_by_hand():
    # two hypotheses at ±a: the unbiased covariance is 2 a aᵀ
    h = torch.tensor([[0.3, 0.1], [-0.3, -0.1]], dtype=torch.float64).view(2, 1, 1, 2)
    own = torch.tensor([[0.18, 0.06], [0.06, 0.02]], dtype=torch.float64)

    def loss(a, b, c):
        return float(heatmap_loss(torch.tensor([[a, b], [b, c]], dtype=torch.float64).view(1, 1, 2, 2), h))

    assert float(heatmap_loss(own.view(1, 1, 2, 2), h)) < 1e-15
    assert loss(0.10, 0.06, 0.01) < 1e-15  # wider than wanted along both axes costs nothing
    assert loss(0.18 + 0.03, 0.06 - 0.04, 0.02) == pytest.approx(0.05)
    assert loss(0.18 - 0.03, 0.06 + 0.04, 0.02 + 0.03) == pytest.approx(0.05)


def test_heatmap_loss_mask_and_reduction(g):
    h = torch.randn(20, 3, 4, 2, generator=g)
    wanted = 9 * torch.eye(2).expand(3, 4, 2, 2)
    mask = torch.zeros(3, 4, dtype=torch.bool)
    assert heatmap_loss(wanted, h, mask) == 0
    mask[1, 2] = True
    one = heatmap_loss(wanted[1:2, 2:3], h[:, 1:2, 2:3])
    assert float(heatmap_loss(wanted, h, mask)) == pytest.approx(float(one) / 12, rel=1e-5)
    assert float(heatmap_loss(wanted, h, mask, reduction="sum")) == pytest.approx(float(one) / 3, rel=1e-5)
    assert heatmap_loss(wanted, h, mask.float()) == heatmap_loss(wanted, h, mask)


def test_masked_joints_feel_nothing(g):
    h = torch.randn(20, 3, 4, 2, generator=g, requires_grad=True)
    mask = torch.tensor([[True, False, False, True]]).expand(3, 4)
    heatmap_loss(9 * torch.eye(2).expand(3, 4, 2, 2), h, mask).backward()
    assert (h.grad[:, :, 1:3] == 0).all() and (h.grad[:, :, 0].abs().sum() > 0)


@pytest.mark.parametrize("wanted", [0.0, 1.0])
def test_heatmap_loss_gradient_is_finite_when_hypotheses_coincide(wanted):
    h = torch.ones(6, 1, 2, 2, requires_grad=True)
    heatmap_loss(wanted * torch.eye(2).expand(1, 2, 2, 2), h).backward()
    assert torch.isfinite(h.grad).all()


def test_heatmap_loss_ignores_where_the_cloud_is(g):
    h = torch.randn(20, 3, 4, 2, generator=g, dtype=torch.float64)
    wanted = 9 * torch.eye(2, dtype=torch.float64).expand(3, 4, 2, 2)
    assert float(heatmap_loss(wanted, h + 5)) == pytest.approx(float(heatmap_loss(wanted, h)))


@pytest.mark.parametrize(
    "covariance, h, mask, error",
    [
        (torch.zeros(3, 4, 2, 2), torch.zeros(1, 3, 4, 2), None, ConfigError),  # one hypothesis has no covariance
        (torch.zeros(3, 4, 2, 2), torch.zeros(0, 3, 4, 2), None, ConfigError),
        (torch.zeros(3, 5, 2, 2), torch.zeros(9, 3, 4, 2), None, ShapeError),
        (torch.zeros(3, 4, 2), torch.zeros(9, 3, 4, 2), None, ShapeError),
        (torch.zeros(3, 4, 2, 2), torch.zeros(9, 3, 4, 2), torch.ones(4), ShapeError),
        (torch.zeros(3, 4, 2, 2), torch.zeros(9, 3, 4, 3), None, ShapeError),  # 3D poses instead of their x and y
    ],
)
def test_heatmap_loss_refuses(covariance, h, mask, error):
    with pytest.raises(error, match="expected"):
        heatmap_loss(covariance, h, mask)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_best_of_m_against_a_loop(k, g):
    target = torch.randn(6, 17, 3, generator=g)
    h = target + torch.rand(20, 6, 1, 1, generator=g) * torch.randn(20, 6, 17, 3, generator=g)
    expected = []
    for b in range(6):
        order = sorted(range(20), key=lambda m: float((h[m, b] - target[b]).norm(dim=-1).mean()))
        expected.append((h[order[:k], b].mean(0) - target[b]).abs().mean())
    assert float(best_of_m_loss(h, target, k=k)) == pytest.approx(float(torch.stack(expected).mean()), rel=1e-5)


def test_best_of_m_is_zero_when_the_truth_is_among_them(g):
    h = torch.randn(20, 6, 17, 3, generator=g)
    assert best_of_m_loss(h, h[7], k=1) == 0
    assert best_of_m_loss(h, h[7]) > 0


def test_only_the_chosen_hypotheses_move(g):
    target = torch.randn(4, 17, 3, generator=g)
    h = (target + torch.rand(10, 1, 1, 1, generator=g) * torch.randn(10, 4, 17, 3, generator=g)).requires_grad_()
    best_of_m_loss(h, target, k=3).backward()
    moved = h.grad.abs().sum((-1, -2)) > 0
    best = (h - target).norm(dim=-1).mean(-1).topk(3, dim=0, largest=False).indices
    assert (moved.sum(0) == 3).all() and moved.gather(0, best).all()


@pytest.mark.parametrize(
    "h, target, k, error",
    [
        (torch.zeros(4, 2, 17, 3), torch.zeros(2, 17, 3), 5, ConfigError),
        (torch.zeros(4, 2, 17, 3), torch.zeros(2, 17, 3), 0, ConfigError),
        (torch.zeros(0, 2, 17, 3), torch.zeros(2, 17, 3), 1, ConfigError),
        (torch.zeros(4, 2, 17, 3), torch.zeros(2, 16, 3), 1, ShapeError),
        (torch.zeros(2, 17, 3), torch.zeros(17, 3), 1, ShapeError),
    ],
)
def test_best_of_m_refuses(h, target, k, error):
    with pytest.raises(error, match="expected"):
        best_of_m_loss(h, target, k=k)
