"""Contracts and oracles of probpose.losses."""

import pytest
import torch
from torch import nn

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, ShapeError, UnknownNameError
from probpose.geometry.conversions import insert_root
from probpose.geometry.skeletons import H36M_17
from probpose.losses.critic import Critic, critic_loss, generator_loss, gradient_penalty
from probpose.losses.hypotheses import (
    best_of_m_loss,
    deterministic_loss,
    exceeds_detector_bell,
    heatmap_loss,
    hypothesis_covariance,
    l2d,
)
from probpose.losses.mmd import joint_mmd, mmd

DTYPES = (torch.float32, torch.float64)


@pytest.fixture
def g():
    return make_generator(0)


def rotation(g):
    q = torch.linalg.qr(torch.randn(3, 3, generator=g, dtype=torch.float64)).Q
    return q * torch.linalg.det(q)


# --- L1 ---


@pytest.mark.parametrize("name", ["l2d", "deterministic_loss"])
def test_l1_reductions_differ_by_the_number_of_coordinates(name, g):
    a, b = torch.randn(2, 6, 16, 3, generator=g)
    loss = globals()[name]
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


# --- MMD ---


def mmd_oracle(x, y, bandwidths, unbiased):
    x, y = x.double(), y.double()

    def phi(a, b):
        return sum(s / (s + ((a - b) ** 2).sum()) for s in bandwidths)

    def within(v):
        n = len(v)
        total = sum(phi(v[i], v[j]) for i in range(n) for j in range(n) if i != j or not unbiased)
        return total / (n * (n - 1) if unbiased else n * n)

    return within(x) + within(y) - 2 * sum(phi(a, b) for a in x for b in y) / (len(x) * len(y))


@pytest.mark.parametrize("sizes", [(8, 8), (5, 9), (2, 3)])
@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("bandwidths", [(0.0025, 0.04, 0.81), (1.0,)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_mmd_equals_the_three_sums(sizes, unbiased, bandwidths, dtype, g):
    x, y = (0.3 * torch.randn(n, 48, generator=g, dtype=torch.float64).to(dtype) for n in sizes)
    y[0] = x[0] + 0.001  # a near pair, where an expanded square would lose its digits
    found = mmd(x, y, bandwidths=bandwidths, unbiased=unbiased)
    assert found.dtype == dtype
    assert float(found) == pytest.approx(
        float(mmd_oracle(x, y, bandwidths, unbiased)), abs=2e-6 if dtype == torch.float32 else 1e-12
    )


def test_mmd_defaults_are_the_papers(g):
    x, y = torch.randn(2, 16, 8, generator=g)
    assert mmd(x, y) == mmd(x, y, (0.0025, 0.04, 0.81), unbiased=True)


def test_unbiased_mmd_centres_on_zero_and_biased_does_not(g):
    draws = torch.randn(400, 2, 24, 3, generator=g)
    unbiased = torch.stack([mmd(a, b) for a, b in draws])
    biased = torch.stack([mmd(a, b, unbiased=False) for a, b in draws])
    assert unbiased.mean().abs() < 4 * unbiased.std() / 20 and (unbiased < 0).any()
    assert (biased > 0).all()


def test_mmd_sees_a_difference_and_is_differentiable(g):
    x = torch.randn(64, 4, generator=g)
    shifted = (x + 1).requires_grad_()
    loss = mmd(x, shifted)
    assert loss > mmd(x, torch.randn(64, 4, generator=g)) + 0.01
    loss.backward()
    assert torch.isfinite(shifted.grad).all()
    assert shifted.grad.mean() > 0  # a step against the gradient moves them back


def test_mmd_gradient_is_finite_for_equal_samples():
    x = torch.ones(4, 3, requires_grad=True)
    mmd(x, torch.ones(4, 3)).backward()
    assert torch.isfinite(x.grad).all()


def test_mmd_gradient_against_finite_differences(g):
    x, y = torch.randn(2, 5, 3, generator=g, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: mmd(v, y), (x.requires_grad_(),))


@pytest.mark.parametrize(
    "x, y, kwargs, error",
    [
        (torch.zeros(1, 3), torch.zeros(4, 3), {}, ConfigError),
        (torch.zeros(4, 3), torch.zeros(1, 3), {}, ConfigError),
        (torch.zeros(0, 3), torch.zeros(4, 3), {"unbiased": False}, ConfigError),
        (torch.zeros(4, 3), torch.zeros(4, 2), {}, ShapeError),
        (torch.zeros(4, 16, 3), torch.zeros(4, 16, 3), {}, ShapeError),
        (torch.zeros(4, 3), torch.zeros(4, 3), {"bandwidths": ()}, ConfigError),
        (torch.zeros(4, 3), torch.zeros(4, 3), {"bandwidths": (0.1, -1.0)}, ConfigError),
    ],
)
def test_mmd_refuses(x, y, kwargs, error):
    with pytest.raises(error, match="expected"):
        mmd(x, y, **kwargs)


def test_single_samples_are_fine_when_biased():
    assert mmd(torch.zeros(1, 3), torch.zeros(1, 3), unbiased=False) == 0


def test_joint_mmd_blocks_the_gradient_of_y_only(g):
    y_hat, z_hat = (
        torch.randn(8, 32, generator=g, requires_grad=True),
        torch.randn(8, 16, generator=g, requires_grad=True),
    )
    y, z = torch.randn(8, 32, generator=g), torch.randn(8, 16, generator=g)
    loss = joint_mmd(y_hat, z_hat, y, z)
    assert loss.item() == pytest.approx(mmd(torch.cat([y, z], 1), torch.cat([y_hat, z_hat], 1)).item())
    loss.backward()
    assert y_hat.grad is None and z_hat.grad.abs().sum() > 0


# --- heatmap loss ---


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


def test_uncertain_is_strict_and_takes_either_axis():
    def matrix(a, b):
        return torch.diag(torch.tensor([a, b], dtype=torch.float64))

    found = exceeds_detector_bell(torch.stack([matrix(4.0, 4.0), matrix(4.42, 1.0), matrix(1.0, 4.42)]))
    assert found.tolist() == [False, True, True]
    assert exceeds_detector_bell(matrix(4.42, 1.0), factor=1.1).item() is False


# --- best of M ---


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


# --- critic ---


@pytest.mark.parametrize("pelvis", ["root", "triangle"])
def test_gram_matrix_of_bones(pelvis, g):
    poses = torch.randn(3, 16, 3, generator=g, dtype=torch.float64)
    critic = Critic(8, 8, 8, pelvis=pelvis).double()
    gram = critic.gram(poses)
    whole = insert_root(poses)
    bones = torch.stack([whole[:, child] - whole[:, parent] for parent, child in H36M_17.bones], 1)
    free = [i for i, bone in enumerate(H36M_17.bones) if 0 not in bone]
    keep = list(range(16)) if pelvis == "root" else free
    assert len(free) == 13
    assert torch.allclose(gram[:, keep][:, :, keep], (bones @ bones.mT)[:, keep][:, :, keep])
    if pelvis == "triangle":
        closing = [i for i in range(16) if i not in free]
        right, left, spine = (whole[:, H36M_17.index(n)] for n in ("RHip", "LHip", "Spine"))
        lengths = gram.diagonal(dim1=-2, dim2=-1)[:, closing].sort(-1).values
        expected = (
            torch.stack([(right - left).norm(dim=-1), (right - spine).norm(dim=-1), (left - spine).norm(dim=-1)], -1)
            .square()
            .sort(-1)
            .values
        )
        assert torch.allclose(lengths, expected)


def test_gram_matrix_does_not_see_where_or_how_turned(g):
    critic = Critic(8, 8, 8).double()
    poses = torch.randn(3, 16, 3, generator=g, dtype=torch.float64)
    assert torch.allclose(critic.gram(poses @ rotation(g) + 2.0), critic.gram(poses))


def test_critic_has_the_published_layers():
    shapes = sorted(tuple(p.shape) for name, p in Critic().named_parameters() if name.endswith("weight"))
    assert shapes == sorted([(100, 48), *[(100, 100)] * 3, (1000, 256), *[(1000, 1000)] * 2, (100, 1100), (1, 100)])


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-4), (torch.float64, 1e-10)])
@pytest.mark.parametrize("widths", [(20, 30, 10), (7, 5, 3)])
def test_slope_equals_autograd(dtype, tolerance, widths, g):
    critic = Critic(*widths).to(dtype)
    poses = 0.4 * torch.randn(9, 16, 3, generator=g, dtype=torch.float64).to(dtype)
    points = poses.clone().requires_grad_()
    (expected,) = torch.autograd.grad(critic(points).sum(), points)
    assert torch.allclose(critic.slope(poses), expected, rtol=tolerance, atol=tolerance)


class Plain(nn.Module):
    "The same critic without its own slope: the penalty then differentiates twice."

    def __init__(self, critic):
        super().__init__()
        self.critic = critic

    def forward(self, poses):
        return self.critic(poses)


def test_critic_loss_and_its_gradients_do_not_depend_on_the_shortcut(g):
    critic = Critic(20, 30, 10).double()
    real, fake = 0.4 * torch.randn(2, 9, 16, 3, generator=g, dtype=torch.float64)
    found = []
    for model in (critic, Plain(critic)):
        critic.zero_grad(set_to_none=True)
        loss = critic_loss(model, real, fake, generator=make_generator(3))
        loss.backward()
        found.append(
            (
                loss.detach(),
                {n: p.grad if p.grad is not None else torch.zeros_like(p) for n, p in critic.named_parameters()},
            )
        )
    assert torch.allclose(found[0][0], found[1][0])
    for name, gradient in found[0][1].items():
        assert torch.allclose(gradient, found[1][1][name], atol=1e-12), name


def test_critic_state_round_trip(g):
    a, b = Critic(8, 9, 7), Critic(8, 9, 7)
    poses = torch.randn(4, 16, 3, generator=g)
    assert not torch.allclose(a(poses), b(poses))
    b.load_state_dict(a.state_dict())
    assert torch.equal(a(poses), b(poses))


@pytest.mark.parametrize(
    "bad",
    [torch.zeros(2, 17, 3), torch.zeros(2, 16, 2), torch.zeros(16, 3), torch.zeros(5, 2, 16, 3), torch.zeros(2, 48)],
)
def test_critic_refuses_other_joint_sets(bad):
    with pytest.raises(ShapeError, match="expected"):
        Critic(8, 8, 8)(bad)


def test_critic_refuses_bad_settings():
    with pytest.raises(ConfigError, match="chain_width"):
        Critic(chain_width=0)
    with pytest.raises(UnknownNameError, match="triangle"):
        Critic(8, 8, 8, pelvis="open")


# --- WGAN-GP ---


class Plane(nn.Module):
    def __init__(self, slope):
        super().__init__()
        self.weight = nn.Parameter(torch.full((48,), slope / 48**0.5))

    def forward(self, poses):
        return poses.flatten(1) @ self.weight


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0, 3.0])
def test_penalty_of_a_plane(slope, g):
    real, fake = torch.randn(2, 9, 16, 3, generator=g)
    critic = Plane(slope)
    assert gradient_penalty(critic, real, fake, g).item() == pytest.approx((slope - 1) ** 2, abs=1e-5)
    gap = critic(fake).mean() - critic(real).mean()
    assert critic_loss(critic, real, fake, weight=2.0, generator=g).item() == pytest.approx(
        gap.item() + 2 * (slope - 1) ** 2, abs=1e-4
    )


def test_penalty_works_under_no_grad_and_leaves_the_flow_alone(g):
    critic = Critic(8, 8, 8)
    real = torch.randn(4, 16, 3, generator=g)
    fake = torch.randn(4, 16, 3, generator=g, requires_grad=True)
    with torch.no_grad():
        assert torch.isfinite(gradient_penalty(critic, real, fake, g))
        assert torch.isfinite(gradient_penalty(Plain(critic), real, fake, g))
    critic_loss(critic, real, fake, generator=g).backward()
    assert fake.grad is None
    generator_loss(critic, fake).backward()
    assert fake.grad.abs().sum() > 0


def test_same_generator_same_penalty(g):
    critic, (real, fake) = Critic(8, 8, 8), torch.randn(2, 4, 16, 3, generator=g)
    a, b, c = (gradient_penalty(critic, real, fake, make_generator(s)) for s in (1, 1, 2))
    assert a == b and a != c


def test_penalty_refuses_different_batches():
    with pytest.raises(ShapeError, match="one shape"):
        gradient_penalty(Critic(8, 8, 8), torch.zeros(4, 16, 3), torch.zeros(3, 16, 3))


def test_generator_loss_is_the_negated_score(g):
    critic, fake = Critic(8, 8, 8), torch.randn(4, 16, 3, generator=g)
    assert generator_loss(critic, fake).item() == pytest.approx(-critic(fake).mean().item())
