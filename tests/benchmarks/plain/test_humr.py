"HuMR written plainly has the losses and takes the steps of the library."

import copy
import math

import pytest
import torch

from probpose.benchmarks.plain.bodies import random_people
from probpose.benchmarks.plain.humr import PlainHuMR, on_cells, plain_joint_mmd
from probpose.benchmarks.plain.training import PlainTraining, losses_gap
from probpose.core.batches import Prepared
from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError
from probpose.data.rendered import unpack_mask
from probpose.geometry.crops import crop_coordinates
from probpose.losses.mmd import jointwise_mmd
from probpose.models.humr.config import HuMRConfig
from probpose.models.humr.model import HuMR
from probpose.models.humr.networks import inside_mask, pack_masks
from probpose.training.run import Run, iterate
from probpose.training.specs import TrainingConfig


def small_humr(body, people=5, **changes):
    "A network of bodies, a batch of features, some of them left out."
    model = HuMR(HuMRConfig.for_tier("smoke", **changes), body)
    f = model.features(random_people(body, people, seed=1))
    f["kept"] = torch.arange(people) != 2
    return model, f


@pytest.mark.parametrize(
    "changes",
    [
        {"mask_grid": 128},
        {"mask_grid": 64, "samples": 3},
        {"mask_grid": 128, "mask_dilation": 0, "head_dropout": 0.0, "use_features": False},
    ],
)
def test_plain_and_fast_losses_of_bodies_are_equal(body, changes):
    model, f = small_humr(body, **changes)
    assert losses_gap(PlainHuMR(model), model, f) < 1e-4
    assert model.training_step(f, generator=make_generator(0))["mask"] > 0


@pytest.mark.parametrize("changes", [{"bandwidths": (0.05,)}, {"weight_2d": 1.0}, {"visible": 0.9}])
def test_a_wrong_loss_of_bodies_is_noticed(body, changes):
    model, f = small_humr(body)
    plain = PlainHuMR(model)
    plain.model.config = plain.config = copy.copy(model.config)
    for name, value in changes.items():
        setattr(plain.config, name, value)
    assert losses_gap(plain, model, f) > 1e-3


def test_a_loss_that_is_no_number_is_noticed(body):
    model, f = small_humr(body)
    plain = PlainHuMR(model)
    plain.random_terms = lambda *_: {"mmd": torch.tensor(0.0), "mask": torch.tensor(math.nan)}
    assert math.isnan(losses_gap(plain, model, f))


def test_plain_training_of_bodies_takes_the_same_steps(body):
    model, f = small_humr(body, people=4)
    data = Prepared(f, "people")
    plain = PlainTraining(PlainHuMR(model), data, batch_size=4, seed=3)
    config = TrainingConfig(iterations=10**6, batch_size=4, seed=3, progress=False)
    fast = Run(copy.deepcopy(model), data, config, torch.device("cpu"))
    for _ in range(2):
        plain.iterate()
        iterate(fast)
    assert torch.equal(plain.noise.get_state(), fast.noise.get_state()) and plain.order.drawn == fast.order.drawn
    for mine, other, start in zip(fast.model.parameters(), plain.model.parameters(), model.parameters()):
        assert not torch.equal(mine, start) and (mine - other).abs().mean() < 0.1 * model.config.lr


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "additive"},
        {"random_supervision": "all"},
        {"mask_targets": "any"},
        {"weight_mask": 0.0},
        {"condition_embedding": True},
    ],
)
def test_another_objective_of_bodies_is_refused(body, changes):
    with pytest.raises(ConfigError, match="objective"):
        PlainHuMR(HuMR(HuMRConfig.for_tier("smoke", **changes), body))


@pytest.mark.parametrize("grid", [64, 128, 256])
def test_points_on_borders_of_cells_belong_to_one(grid):
    masks = torch.rand(3, 256, 256, generator=make_generator(0)) < 0.5
    packed = pack_masks(masks, grid, 0)
    cells = unpack_mask(packed).view(3, grid, grid)
    pixels = crop_coordinates(
        torch.randint(0, 64, (200, 3, 17, 2), generator=make_generator(1)).float()
    )  # on borders for a finer grid
    anywhere = 2.4 * torch.rand(200, 3, 17, 2, generator=make_generator(2)) - 1.2
    for points in (pixels, anywhere, torch.full((1, 3, 17, 2), 1.0), torch.full((1, 3, 17, 2), -1.0)):
        assert torch.equal(on_cells(points, cells), inside_mask(points, packed))


def test_kernels_of_all_pairs_are_those_of_single_joints():
    x, y = torch.rand(2, 7, 3, 17, 2, generator=make_generator(0))
    widths = (0.05, 0.2, 0.9)
    expected = jointwise_mmd(x, y, bandwidths=[w * w for w in widths], reduction="none")
    assert torch.allclose(plain_joint_mmd(x, y, widths), expected, atol=1e-5)
