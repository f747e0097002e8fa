"Mistakes that look like bad models are named, and good models are left in peace."

from itertools import product

import pytest
import torch

from probpose.data import load
from probpose.evaluation.suspicions import find_other_axes, find_suspicions
from probpose.geometry.skeletons import H36M_17


@pytest.fixture(scope="module")
def truth():
    return load("synthetic", split="test", size=120).poses


@pytest.fixture(scope="module")
def good(truth):
    noise = 0.05 * torch.randn(30, *truth.shape, generator=torch.Generator().manual_seed(0))
    noise[:, :, 0] = 0
    return truth + noise


def test_good_and_honest_bad_hypotheses_are_left_in_peace(good, truth):
    assert find_suspicions(good, truth) == []
    wide = truth + 4 * (good - truth)
    wide[:, :, 0] = 0
    assert find_suspicions(wide, truth) == []
    mean_pose = truth.mean(0).expand_as(good) + good - truth
    assert any("do not depend" in line for line in find_suspicions(mean_pose, truth))


@pytest.mark.parametrize("order", [(0, 2, 1), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_exchanged_axes_are_named_as_the_option_wants_them(good, truth, order):
    wrong = good[..., list(order)]  # the file's first coordinate is our coordinate order[0]
    said = find_other_axes(wrong.mean(0), truth)
    wanted = ",".join("xyz"[order.index(axis)] for axis in range(3))
    assert f"axes {wanted} " in said and "left and right" not in said


@pytest.mark.parametrize("signs", [s for s in product((1, -1), repeat=3) if s != (1, 1, 1)])
def test_negated_axes(good, truth, signs):
    said = find_other_axes((good * torch.tensor(signs)).mean(0), truth)
    assert "follow different conventions" in said


def test_exchanged_sides_rows_sizes_copies_and_leaks(good, truth):
    def only(poses, word, true=truth):
        found = find_suspicions(poses, true)
        assert len(found) == 1 and word in found[0], found

    only(good[:, :, list(H36M_17.mirror_order)], "left and right joints exchanged")
    only(good.roll(1, 1), "different orders")
    only(1.25 * good, "1.2")
    only(0.8 * good, "0.8")
    only(good[:1].repeat(30, 1, 1, 1), "are equal in 100 %")
    only(good[torch.arange(30) % 20], "67 %")
    leaky = good.clone()
    leaky[4, :6] = truth[:6]
    only(leaky, "In 5 % of the frames one hypothesis is the truth")
    up = torch.tensor([1.0, -1.0, -1.0])
    only(good * up, "y probably points up", truth * up)
    assert any("few" in line for line in find_suspicions(good[:, :20], truth[:20]))
    assert any("With 5 hypotheses" in line for line in find_suspicions(good[:5], truth))
