"""HuMR: targets, masks and weights of the objective."""

from dataclasses import replace

import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, ShapeError, UnknownNameError
from probpose.losses.bodies import mask_loss, orthonormality_loss, reprojection_loss
from probpose.losses.mmd import jointwise_mmd, mmd
from probpose.models.humr.config import HuMRConfig
from probpose.models.humr.objective import hidden_joints, mask_term, mmd_targets


def test_targets_follow_the_rules_of_the_paper():
    c, g = HuMRConfig(), make_generator(0)
    samples, truth = torch.rand(25, 2, 17, 2, generator=g), torch.zeros(2, 17, 2)
    peak = torch.full((2, 17), 0.6)
    peak[1] = 0.3
    truth[0, 10, 0] = -1.1  # outside the crop
    peak[0, 9], peak[0, 7] = 0.75, 0.1  # sure; lost
    targets, counts = mmd_targets(samples, truth, peak, c)
    assert torch.equal(targets[0], truth)
    drawn = (targets[1:] == samples[1:]).flatten(3).all(-1).all(0)
    assert drawn[0].nonzero().flatten().tolist() == [8, 13, 14, 15, 16] and drawn[1].nonzero().flatten().tolist() == [
        7,
        8,
        9,
        10,
        13,
        14,
        15,
        16,
    ]
    assert (~counts[0]).nonzero().flatten().tolist() == [10] and counts[1].nonzero().flatten().tolist() == [
        7,
        8,
        9,
        10,
        13,
        14,
        15,
        16,
    ]


def test_mask_loss_only_concerns_hidden_joints_inside_the_crop_and_off_the_mask(batch, humr):
    model = humr()
    f = model.features(batch)
    f["peak"], f["truth"] = torch.full_like(f["peak"], 0.9), torch.zeros_like(f["truth"])
    f["kept"][:] = True
    values = torch.ones(4, 5, 17)
    off = torch.full((4, 5, 17, 2), 0.9)
    places = torch.zeros(4, 5, 17, 2)

    def term(x, f):
        return float(mask_term(x, places, values, f["truth"], hidden_joints(f, model.config), f["mask"]))

    assert term(off, f) == 0, "visible joints"
    f["peak"] = torch.full_like(f["peak"], 0.4)
    assert f["masked"].tolist() == [True, False, True, True, True]
    assert abs(term(off, f) - 17 * 1.8 * 4 / 5) < 1e-4, (
        "each of 17 joints is 1.8 away, one of five people is hidden by an object"
    )
    assert term(off * 2, f) == 0 and term(off * 0, f) == 0, "outside the crop, inside the mask"
    places = torch.full_like(places, 0.8)  # nearer, but not on the mask
    assert abs(term(off, f) - 17 * 1.8 * 4 / 5) < 1e-4
    f["kept"][0] = False
    assert abs(term(off, f) - 17 * 1.8 * 3 / 5) < 1e-4


def test_the_nearest_sample_of_any_joint_is_never_farther(batch, humr):
    models = [humr(mask_targets=which, weight_mask=1.0) for which in ("joint", "any")]
    f = models[0].features(batch)
    own, anyone = (m.losses(f, m.draws(f, make_generator(3)))["mask"] for m in models)
    assert 0 < anyone <= own


def test_examples_of_another_person_do_not_count(batch, humr):
    model = humr(filter_distance=0.2)
    moved = replace(
        batch.detections,
        keypoints=torch.where(
            torch.arange(5)[:, None, None] == 3, batch.detections.keypoints.flip(1), batch.detections.keypoints
        ),
    )
    f = model.features(replace(batch, detections=moved))
    assert (
        f["kept"].tolist() == [True, True, True, False, True]
        and humr(filter_distance=None).features(replace(batch, detections=moved))["kept"].all()
    )
    draws = model.draws(f, make_generator(1))
    some = model.losses(f, draws)
    changed = {name: value.clone() for name, value in f.items()}
    changed["pose6d"][3] += 1
    changed["truth"][3] += 1
    changed["betas"][3] += 1
    for name, value in model.losses(changed, draws).items():
        assert torch.allclose(value, some[name], atol=1e-6), name
    rest = [0, 1, 2, 4]
    without = {
        k: v if v is None else v[:, :, rest] if k == "dropout" else v[rest] if k == "noise" else v[:, rest]
        for k, v in draws.items()
    }
    fewer = model.losses({name: value[rest] for name, value in f.items()}, without)
    for name in ("nll", "betas", "2d", "mmd", "mask"):
        assert torch.allclose(fewer[name], some[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("term", ["mmd", "mask", "nll", "betas", "2d", "orth", "camera"])
def test_every_weight_scales_its_term(batch, term, humr):
    name = f"weight_{term}"
    losses = {w: humr(**{name: w}).training_step(batch, generator=make_generator(0)) for w in (0.5, 3.0)}
    assert torch.allclose(losses[3.0]["loss"] - losses[0.5]["loss"], 2.5 * losses[3.0][term], rtol=1e-3, atol=1e-5)


def test_only_the_mode_is_projected_when_nothing_is_told_to_the_others(batch, monkeypatch, humr):
    model = humr(random_supervision="none", weight_mask=0.0)
    seen = []
    points = model.body.points
    monkeypatch.setattr(
        model.body,
        "points",
        lambda name, rotations, betas: seen.append(len(rotations)) or points(name, rotations, betas),
    )
    model.training_step(batch, generator=make_generator(0))
    assert seen == [1]


def test_without_masks_there_is_no_mask_loss(batch, humr):
    plain = replace(batch, masks=None, object_occlusion=None)
    assert humr().training_step(plain, generator=make_generator(0))["mask"] == 0


def test_jointwise_mmd_is_mmd_of_every_joint():
    g = make_generator(5)
    x, y = torch.randn(6, 2, 3, 2, generator=g), torch.randn(6, 2, 3, 2, generator=g)
    each = jointwise_mmd(x, y, reduction="none")
    assert torch.allclose(
        each, torch.tensor([[mmd(x[:, b, j], y[:, b, j]) for j in range(3)] for b in range(2)]), atol=1e-6
    )
    point = jointwise_mmd(x, y[:1], reduction="none")
    assert torch.allclose(point, jointwise_mmd(x, y[:1].expand(6, -1, -1, -1), reduction="none"), atol=1e-6)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    assert torch.allclose(jointwise_mmd(x, y, mask), (each * mask).sum() / 6)


def test_mmd_pulls_samples_to_the_width_of_the_target():
    g = make_generator(6)
    for width in (0.3, 0.05):
        x = (0.15 * torch.randn(25, 1, 1, 2, generator=g)).requires_grad_()
        y = width * torch.randn(400, 1, 1, 2, generator=g)
        jointwise_mmd(x, y).backward()
        outwards = (x.grad * x).sum()
        assert (outwards < 0) == (width > 0.15)


def test_losses_refuse_other_shapes():
    x, y, ok = torch.zeros(3, 2, 4, 2), torch.zeros(5, 2, 4, 2), torch.ones(5, 2, 4, dtype=torch.bool)
    with pytest.raises(ShapeError):
        jointwise_mmd(x, y[:, :1])
    with pytest.raises(ShapeError):
        jointwise_mmd(x, y, torch.ones(2, 5))
    with pytest.raises(ConfigError, match="2 samples"):
        jointwise_mmd(x[:1], y)
    with pytest.raises(ConfigError, match="bandwidths"):
        jointwise_mmd(x, y, bandwidths=(0.1, -1.0))
    with pytest.raises(UnknownNameError):
        jointwise_mmd(x, y, reduction="sum")
    with pytest.raises(ShapeError):
        mask_loss(x, y, ok[:3], ok[:3])
    with pytest.raises(ShapeError):
        reprojection_loss(x, y[0, 0])
    with pytest.raises(ShapeError):
        orthonormality_loss(torch.zeros(3, 5))
