"""HuMR and ProHMR: the contract of posteriors, training, and what each part of the condition does."""

from dataclasses import replace

import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, DensityError
from probpose.core.storage import load_tensors
from probpose.geometry.crops import crop_coordinates
from probpose.models.humr.hypotheses import BodyHypotheses
from probpose.models.humr.networks import project_to_crop
from probpose.models.humr.objective import loss_weights
from probpose.models.pretrained import load_pretrained


def test_samples_have_the_form_of_every_posterior(model, detections):
    before = torch.random.get_rng_state()
    poses = model.sample(detections, 4, make_generator(5))
    assert poses.shape == (4, 5, 17, 3) and poses.dtype == torch.float32 and poses[..., 0, :].abs().max() < 1e-6
    assert torch.equal(poses, model.sample(detections, 4, make_generator(5))) and not torch.equal(
        poses, model.sample(detections, 4, make_generator(6))
    )
    assert torch.allclose(poses[0], model.mode(detections), atol=1e-5), "z = 0 comes first"
    assert torch.equal(before, torch.random.get_rng_state())


def test_people_do_not_influence_each_other(model, detections):
    alone = replace(
        detections, **{f: getattr(detections, f)[2:3] for f in ("keypoints", "scores", "heatmaps", "features", "box")}
    )
    assert torch.allclose(model.mode(detections)[2], model.mode(alone)[0], atol=1e-5)


def test_joint_positions_have_no_density_and_rotations_have_one(model, batch, detections):
    with pytest.raises(DensityError, match="no tractable density"):
        model.log_prob(batch.poses, detections)
    single, many = (
        model.rotation_log_prob(batch.rotations, detections),
        model.rotation_log_prob(batch.rotations.expand(3, -1, -1, -1, -1), detections),
    )
    assert single.shape == (5,) and many.shape == (3, 5) and torch.allclose(many[1], single, atol=1e-3)


def test_training_step_reaches_every_parameter(model, batch):
    model.train()
    (spec,) = model.optimisers().values()
    assert spec.algorithm == "adamw"
    losses = model.training_step(batch, generator=make_generator(0))
    assert all(v.ndim == 0 and v.isfinite() for v in losses.values())
    weights = loss_weights(model.config)
    assert torch.allclose(losses["loss"], sum(weights[k] * v for k, v in losses.items() if k != "loss"))
    losses["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in spec.parameters)


def test_prepared_features_give_the_same_losses(model, batch):
    f = model.features(batch)
    raw, prepared = (model.training_step(b, generator=make_generator(1)) for b in (batch, f))
    assert torch.equal(raw["loss"], prepared["loss"]) and len({len(v) for v in f.values()}) == 1


def test_training_and_loading(model, tmp_path, toy, sticks):
    from probpose.training.loop import train
    from probpose.training.specs import TrainingConfig

    trained = train(model, toy(), TrainingConfig(3, 8, device="cpu", progress=False)).trained
    seen = toy().rows.detections
    wanted = trained.sample(seen, 2, make_generator(0))
    folder = trained.save_pretrained(tmp_path / "weights")
    tensors, about = load_tensors(folder / "model.safetensors")
    assert about["model"] == type(model).__name__ and not any(name.startswith("body") for name in tensors)
    again = load_pretrained(folder)
    assert again.config == model.config and not again.training and again.body.vertex_count == 13718
    again.body = sticks()
    assert torch.equal(again.sample(seen, 2, make_generator(0)), wanted)


def test_the_seed_decides_the_weights_and_nothing_else_is_seeded(humr):
    before = torch.random.get_rng_state()
    first, second, other = humr(), humr(), humr(seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))
    assert not torch.equal(first.head.first.weight, other.head.first.weight)


def test_likelihood_grows_in_training(humr, toy):
    from probpose.training.loop import train
    from probpose.training.specs import TrainingConfig

    model, data = humr(lr=5e-3), toy()
    before = model.rotation_log_prob(data.rows.rotations, data.rows.detections).mean()
    train(model, data, TrainingConfig(60, 24, device="cpu", progress=False))
    after = model.rotation_log_prob(data.rows.rotations, data.rows.detections).mean()
    assert after > before + 10


def test_hypotheses_know_their_density_and_project(detections, humr):
    model = humr()
    answer = model.hypotheses(detections, 6, make_generator(2))
    assert (
        isinstance(answer, BodyHypotheses)
        and answer.rotations.shape == (6, 5, 22, 3, 3)
        and answer.betas.shape == (5, 11)
    )
    eye = answer.rotations @ answer.rotations.mT
    assert (
        torch.allclose(eye, torch.eye(3).expand_as(eye), atol=1e-5) and (torch.linalg.det(answer.rotations) > 0).all()
    )
    assert torch.allclose(answer.project("coco_17"), project_to_crop(answer.points(), answer.camera, answer.box))
    assert torch.allclose(crop_coordinates(answer.to_map()), answer.project(), atol=1e-5)
    part = answer[3]
    assert part.rotations.shape == (6, 1, 22, 3, 3) and torch.allclose(
        part.project(), answer.project()[:, 3:4], atol=1e-6
    )
    assert torch.equal(model.mode_hypothesis(detections).rotations[0], answer.rotations[0]) or torch.allclose(
        model.mode_hypothesis(detections).rotations[0], answer.rotations[0], atol=1e-5
    )


def test_without_a_box_only_projection_is_refused(detections, humr):
    model, blind = humr(use_box=False), replace(detections, box=None)
    answer = model.hypotheses(blind, 3)
    assert answer.box is None and answer[:2].betas.shape == (2, 11)
    for call in (answer.project, lambda: answer.translation, answer.to_map):
        with pytest.raises(ConfigError, match="box"):
            call()


def test_the_embedding_reads_heatmaps_and_the_rest_does_not(detections, humr):
    other = replace(detections, heatmaps=detections.heatmaps.flip(-1))
    assert torch.equal(humr().mode(detections), humr().mode(other))
    model = humr(condition_embedding=True)
    assert model.reads_heatmaps and not torch.equal(model.mode(detections), model.mode(other))


@pytest.mark.parametrize("part", ["use_features", "use_pose2d", "use_box"])
def test_every_part_of_the_condition_can_be_switched_off(detections, part, humr):
    changed = {
        "use_features": replace(detections, features=detections.features.flip(1)),
        "use_pose2d": replace(detections, scores=detections.scores.flip(1)),
        "use_box": replace(detections, box=2 * detections.box),
    }[part]
    seeing, blind = humr(), humr(**{part: False})
    assert not torch.equal(seeing.mode(detections), seeing.mode(changed)) and torch.equal(
        blind.mode(detections), blind.mode(changed)
    )


@pytest.mark.parametrize("changes", [{}, {"use_features": False}, {"filter_distance": None}])
def test_settings_that_features_depend_on_are_declared(changes, humr, batch, settings_read):
    model = humr(**changes)
    read = settings_read(model, batch)
    assert "pool" in read and read <= set(model.feature_settings())
