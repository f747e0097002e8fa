"""PoseFlow: both directions, the density on the fibre, the terms of the objective."""

import json
from pathlib import Path

import pytest
import torch

import probpose
from probpose.core.batches import FeatureBatch
from probpose.core.errors import ConfigError, UnknownNameError
from probpose.core.storage import load_tensors
from probpose.evidence.detections import Detections
from probpose.models import build
from probpose.models.pose_vectors import pose_to_vector, vector_to_pose
from probpose.models.poseflow.config import poseflow_config
from probpose.models.poseflow.model import LATENT

BENCHMARK = Path(__file__).resolve().parents[3] / "book/weights/poseflow-full"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_density_of_own_hypotheses_is_the_density_at_their_latent():
    from probpose.data import load
    from probpose.distributions.fibres import fibre_log_density

    flow = probpose.load("poseflow").double()
    evidence = flow._own(load("synthetic", split="test", size=24).detections)
    y, condition = flow.evidence(evidence)
    z = torch.randn(3, 24, LATENT, generator=generator(), dtype=torch.float64)
    with torch.no_grad():
        vectors = flow.lift(z, y, condition)
        wanted = fibre_log_density(flow.flow, z, y, condition, LATENT)
        found = flow.log_prob(vector_to_pose(vectors), evidence)
    assert vectors.unflatten(-1, (3, 16)).mean(-1).abs().max() > 1e-3  # the pose has lost something
    gap = (found - wanted).abs().flatten()
    assert gap.median() < 1e-3 and gap.quantile(0.9) < 1e-2


def test_poseflow_inverse_undoes_forward_and_respects_the_detection(detections):
    flow = build("poseflow", "smoke")
    y, condition = flow.evidence(detections)
    z = torch.randn(5, 4, LATENT)
    with torch.no_grad():
        x = flow.lift(z, y, condition)
        output, _ = flow.flow(x.flatten(0, 1), condition.repeat(5, 1))
        again, _ = flow.flow.inverse(output, condition.repeat(5, 1))
    assert torch.allclose(output[:, :LATENT].view_as(z), z, atol=1e-4)
    assert torch.allclose(output[:, LATENT:], y.repeat(5, 1), atol=1e-4)
    assert torch.allclose(again, x.flatten(0, 1), atol=1e-4)


def test_selected_gradient_equals_the_literal_one(batch):
    results = {}
    for mode in ("all", "selected"):
        flow = build("poseflow", "smoke", gradient=mode).double()
        features = FeatureBatch(
            {k: v.double() if v.is_floating_point() else v for k, v in flow.features(batch).items()}
        )
        losses = flow.training_step(features, "flow", generator(3))
        losses["loss"].backward()
        results[mode] = losses, [p.grad for p in flow.optimisers()["flow"].parameters]
    assert results["all"][0]["hm"] > 0
    for name, value in results["all"][0].items():
        assert torch.allclose(value, results["selected"][0][name], rtol=1e-9), name
    for first, second in zip(results["all"][1], results["selected"][1]):
        assert torch.allclose(first, second, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("term", ["mmd", "det", "mb", "hm"])
def test_every_weight_switches_its_term(batch, term):
    losses = {
        w: build("poseflow", "smoke", **{f"weight_{term}": w}).training_step(batch, "flow", generator())
        for w in (0.0, 3.0)
    }
    assert torch.allclose(losses[3.0]["loss"] - losses[0.0]["loss"], 3.0 * losses[3.0][term], rtol=1e-3)


def test_gradient_of_the_mmd_reaches_z_and_not_the_2d_output(batch):
    only_mmd = dict(weight_2d=0.0, weight_gen=0.0, weight_det=0.0, weight_mb=0.0, weight_hm=0.0)
    flow = build("poseflow", "smoke", **only_mmd)
    seen = {}
    forward = flow.flow.forward_fast
    flow.flow.forward_fast = lambda x, c: seen.setdefault("output", forward(x, c))
    losses = flow.training_step(batch, "flow", generator())
    seen["output"][0].retain_grad()
    losses["mmd"].backward()
    gradient = seen["output"][0].grad
    assert gradient[:, :LATENT].abs().max() > 0 and (gradient[:, LATENT:] == 0).all()


def test_without_condition_the_scores_do_not_matter(detections):
    certain = Detections.from_keypoints(detections.keypoints, torch.ones(4, 16))
    blind, seeing = build("poseflow", "smoke", use_condition=False), build("poseflow", "smoke")
    uncertain = Detections.from_keypoints(detections.keypoints, torch.full((4, 16), 0.1))
    assert torch.equal(blind.mode(certain), blind.mode(uncertain))
    assert not torch.equal(seeing.mode(certain), seeing.mode(uncertain))


def test_critic_is_not_part_of_the_weights(tmp_path):
    tensors, about = load_tensors(build("poseflow", "smoke").save_pretrained(tmp_path) / "model.safetensors")
    assert not [name for name in tensors if name.startswith("critic")]
    assert json.loads(json.dumps(about["config"]))["hypotheses"] == poseflow_config("smoke").hypotheses


@pytest.mark.parametrize("changes", [dict(best=0), dict(best=13), dict(gradient="some")])
def test_bad_settings(changes):
    with pytest.raises((ConfigError, UnknownNameError)):
        build("poseflow", "smoke", **changes)


@pytest.fixture(scope="module")
def hypotheses():
    "The benchmark's flow, whose fibres bend less than the shipped one's; people, and hypotheses of its own."
    from probpose.data import load

    flow, evidence = probpose.load(BENCHMARK), load("synthetic", split="test", size=12).detections
    return flow, evidence, flow.sample(evidence, 40, generator(4)).clone()


def test_density_in_single_precision_is_that_of_double(hypotheses):
    flow, evidence, poses = hypotheses
    exact = probpose.load(BENCHMARK).double().log_prob(poses.double(), evidence)
    gap = (flow.log_prob(poses, evidence) - exact).abs().flatten()
    assert gap.median() < 1e-4 and gap.quantile(0.98) < 1e-2


def test_density_against_forward_derivatives_of_the_graph(hypotheses):
    from probpose.benchmarks.plain.poseflow import PlainPoseFlow

    flow, evidence, poses = hypotheses
    with torch.no_grad():
        gap = (PlainPoseFlow(flow).log_prob(poses, evidence) - flow.log_prob(poses, evidence)).abs().flatten()
    assert gap.median() < 1e-4 and gap.quantile(0.98) < 1e-2


def test_density_does_not_depend_on_the_batch_or_on_threads(hypotheses):
    flow, evidence, poses = hypotheses
    whole, before = flow.log_prob(poses, evidence), torch.get_num_threads()
    one = torch.cat([flow.log_prob(poses[:, k : k + 1], evidence[k : k + 1]) for k in range(len(evidence))], 1)
    torch.set_num_threads(2)
    try:
        shared = flow.log_prob(poses.repeat(50, 1, 1, 1, 1), evidence)[-40:]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert max(float((whole - other).abs().quantile(0.98)) for other in (one, shared)) < 1e-2
    assert flow.log_prob(poses[0], evidence).shape == (12,) and flow.off_fibre(poses, evidence).shape == (40, 12)


def test_density_carries_a_gradient(hypotheses):
    flow, evidence, poses = hypotheses
    place = poses[:2, :3].double().requires_grad_()
    model = probpose.load("poseflow").double()
    (slope,) = torch.autograd.grad(model.log_prob(place, evidence[:3]).sum(), place)
    assert slope.isfinite().all() and slope.abs().max() > 1


def test_a_pose_beside_its_fibre_is_brought_nearest_to_it(hypotheses):
    "Hardly any translation of the flow's input has an image nearer to the detection than the one that was found."
    flow, evidence, poses = hypotheses
    moved = poses[:1] + 0.01 * torch.randn(poses[:1].shape, generator=generator(2))
    with torch.no_grad():
        off, (y, condition) = flow.off_fibre(moved, evidence)[0], flow.evidence(evidence)
        assert (off > 1e-3).all()
        for push in 2e-3 * torch.randn(6, 3, generator=generator(3)):
            vectors = pose_to_vector(moved)[0] + push.repeat_interleave(16)
            image = flow.flow.forward_fast(vectors, condition)[0][:, LATENT:]
            assert ((image - y).square().mean(-1).sqrt() >= off - 1e-3).float().mean() > 0.9
