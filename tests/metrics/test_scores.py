"""Proper scores against all pairs, and the likelihood."""

import numpy as np
import pytest
import torch

from probpose.core.errors import ConfigError, NotFiniteError
from probpose.metrics.scores import crps, energy_score, negative_log_likelihood


def energy_oracle(h, t):
    h, t = h.double().flatten(-2), t.double().flatten(-2)
    m = len(h)
    pairs = sum((h[i] - h[j]).norm(dim=-1) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return 1000 * ((h - t).norm(dim=-1).mean(0) - 0.5 * pairs)


@pytest.mark.parametrize("count", [2, 3, 40])
@pytest.mark.parametrize("piece", [1, 1000, 1 << 20])
def test_energy_score(count, piece, g, monkeypatch):
    monkeypatch.setattr("probpose.metrics.scores.PIECE", piece)
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


@pytest.mark.parametrize("score", [crps, energy_score])
def test_scores_are_proper(score, g):
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


def test_negative_log_likelihood():
    log_prob = torch.tensor([-3.0, 2.0, -float("inf")])
    assert negative_log_likelihood(log_prob).tolist() == [3.0, -2.0, float("inf")]
    assert negative_log_likelihood(log_prob[:1], dimensions=3).tolist() == [1.0]
    for bad in (float("nan"), float("inf")):
        with pytest.raises(NotFiniteError):
            negative_log_likelihood(torch.tensor([0.0, bad]))
    with pytest.raises(ConfigError):
        negative_log_likelihood(log_prob, dimensions=0)


@pytest.mark.parametrize("shifts", [0, 4])
def test_shifts_are_checked(shifts, g):
    h = torch.randn(4, 3, 17, 3, generator=g)
    with pytest.raises(ConfigError, match="shifts"):
        energy_score(h, h[0], shifts=shifts)
