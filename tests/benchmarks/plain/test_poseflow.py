"PoseFlow written plainly has the losses and takes the steps of the library."

import copy

import pytest
import torch

from probpose.benchmarks.plain.poseflow import PlainPoseFlow
from probpose.benchmarks.plain.training import PlainTraining, losses_gap
from probpose.core.devices import make_generator
from probpose.evidence.detections import Detections
from probpose.models.poseflow.config import poseflow_config
from probpose.models.poseflow.model import PoseFlow
from probpose.training.run import Run, iterate
from probpose.training.specs import TrainingConfig


def small_model(**changes):
    "A network with few weights."
    return PoseFlow(poseflow_config("smoke", **{"hidden": 16, "blocks": 2, "init_scale": 0.2} | changes))


@pytest.mark.parametrize("changes", [{}, {"best": 1}, {"weight_hm": 0.0}, {"gradient": "all"}])
def test_plain_and_fast_losses_are_equal(frames, changes):
    model = small_model(**changes)
    features = model.prepare(frames).batch(torch.arange(24))
    sure = ~features["uncertain"].any(-1)
    assert 0 < sure.sum() < len(sure)
    if not model.config.weight_hm:  # the fast version does not compute what is not minimised
        features["uncertain"] = torch.zeros_like(features["uncertain"])
    assert losses_gap(PlainPoseFlow(model), model, features, floor=1e-6) < 1e-4


def test_a_wrong_loss_is_noticed(frames):
    model = small_model()
    features = model.prepare(frames).batch(torch.arange(16))
    model.config.best = 2
    plain = PlainPoseFlow(model)
    plain.config = copy.copy(model.config)
    plain.config.best = 1
    assert float(plain.flow_losses(features, make_generator(0))["mb"].detach()) != pytest.approx(
        float(model.training_step(features, "flow", make_generator(0))["mb"].detach()), rel=1e-4
    )


def test_plain_training_takes_the_same_steps(frames):
    model = small_model()
    prepared = model.prepare(frames)
    plain = PlainTraining(PlainPoseFlow(model), prepared, batch_size=16, seed=3)
    config = TrainingConfig(iterations=50, batch_size=16, seed=3, progress=False)
    fast = Run(copy.deepcopy(model), prepared, config, torch.device("cpu"))
    for _ in range(2):
        plain.iterate()
        iterate(fast)
    assert torch.equal(plain.noise.get_state(), fast.noise.get_state()) and plain.order.drawn == fast.order.drawn
    for mine, other, start in zip(fast.model.parameters(), plain.model.parameters(), model.parameters()):
        assert mine.numel() == 1 or not torch.equal(mine, start)  # the critic's last bias cancels out of its objective
        assert (mine - other).abs().mean() < 0.1 * model.config.lr


def test_one_person_at_a_time_is_what_all_people_get():
    from probpose.metrics.reprojection import credible_radii

    model = small_model().eval()
    keypoints, scores = torch.rand(2, 16, 2, generator=make_generator(0)) * 200, torch.ones(2, 16)
    people = Detections.from_keypoints(keypoints, scores)
    with torch.no_grad():
        poses, mode, radii = PlainPoseFlow(model).hypotheses(keypoints[1], scores[1], "mpii_16", 50, make_generator(1))
    assert poses.shape == (50, 17, 3) and torch.allclose(mode, model.mode(people)[1], atol=1e-5)
    assert torch.allclose(radii, credible_radii(poses, mode), atol=1e-6)
