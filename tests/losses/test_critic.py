"""The critic: its layers, its slope against autograd, its losses."""

import pytest
import torch
from torch import nn

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, ShapeError, UnknownNameError
from probpose.geometry.conversions import insert_root
from probpose.geometry.skeletons import H36M_17
from probpose.losses.critic import Critic, critic_loss, generator_loss, gradient_penalty


def rotation(g):
    q = torch.linalg.qr(torch.randn(3, 3, generator=g, dtype=torch.float64)).Q
    return q * torch.linalg.det(q)


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
