"What the benchmarks do beside measuring."

import pytest
import torch

from probpose.benchmarks.plain.bodies import random_people
from probpose.benchmarks.plain.humr import draw_one_by_one
from probpose.benchmarks.plans import SPEED_PLANS
from probpose.benchmarks.tasks import compare_versions, price_of_few_steps
from probpose.core.devices import make_generator
from probpose.core.errors import UnknownNameError
from probpose.models.humr.config import HuMRConfig
from probpose.models.humr.model import HuMR


def test_bodies_drawn_alone_are_those_drawn_together(body):
    model = HuMR(HuMRConfig.for_tier("smoke"), body).eval()
    one = random_people(body, 1).detections
    together = model.hypotheses(one, 6, make_generator(0))
    with torch.inference_mode():
        rotations, density, seen = draw_one_by_one(model, one, model._latents(6, 1, make_generator(0)))
    assert torch.allclose(rotations, together.rotations, atol=1e-5) and torch.allclose(
        seen, together.project(), atol=1e-4
    )
    assert torch.allclose(density, together.log_prob, rtol=1e-4) and (seen[1:] != seen[:1]).any()


def test_the_price_of_few_steps_needs_weights(small_diffusion, monkeypatch, tmp_path):
    plan = SPEED_PLANS["smoke"]
    monkeypatch.setattr("probpose.benchmarks.tasks.weights_folder", lambda *_: None)
    assert "untrained" in price_of_few_steps(plan, 2, "cpu")
    folder = small_diffusion(prediction="x0").save_pretrained(tmp_path)
    monkeypatch.setattr("probpose.benchmarks.tasks.weights_folder", lambda *_: folder)
    assert f"best of {plan.drawn} PA-MPJPE" in price_of_few_steps(plan, 2, "cpu")


def test_an_unknown_task_is_named():
    with pytest.raises(UnknownNameError, match="task"):
        compare_versions("speed", {"plain": int, "fast": int}, "", SPEED_PLANS["smoke"], "cpu")
