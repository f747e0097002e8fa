"""One contract for every posterior, and what is special about each model."""

import json

import pytest
import torch

import probpose
from probpose.core.batches import FeatureBatch
from probpose.core.errors import (
    CheckpointError,
    ConfigError,
    DensityError,
    NotFiniteError,
    ShapeError,
    UnknownNameError,
)
from probpose.core.storage import load_tensors, save_tensors
from probpose.evidence.detections import Detections
from probpose.models import build
from probpose.models.baselines.martinez import Martinez
from probpose.models.baselines.mean_pose import MeanPose
from probpose.models.elepose.model import ElePose
from probpose.models.pose_vectors import pose_to_vector, vector_to_pose
from probpose.models.poseflow.config import poseflow_config
from probpose.models.poseflow.model import LATENT, PoseFlow
from probpose.models.pretrained import load_pretrained


def with_prior(**changes):
    "An ElePose whose prior has seen some 2D poses."
    from probpose.data import load

    model = build("elepose", "smoke", **changes)
    model.prior.fit(load("synthetic", split="train", size=48))
    return model


MODELS = {
    "poseflow": lambda: build("poseflow", "smoke"),
    "diffpose": lambda: build("diffpose", "smoke"),
    "diffpose_few_steps": lambda: build("diffpose", "smoke", prediction="x0", sampler="dpm", sampling_steps=3),
    "diffpose_redraw": lambda: build("diffpose", "smoke", redraw=True),
    "diffpose_argmax": lambda: build("diffpose", "smoke", condition="argmax"),
    "diffpose_samples": lambda: build("diffpose", "smoke", condition="samples"),
    "diffpose_heatmap": lambda: build("diffpose", "smoke", condition="heatmap"),
    "elepose": with_prior,
    "elepose_fixed": lambda: with_prior(elevation="fixed", bases=0),
    "mdn": lambda: build("mdn", "smoke"),
    "cvae": lambda: build("cvae", "smoke"),
    "martinez": lambda: build("martinez", "smoke"),
    "mean_pose": MeanPose,
}


DETERMINISTIC = (ElePose, Martinez, MeanPose)


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]().eval()


@pytest.fixture
def detections():
    g = torch.Generator().manual_seed(1)
    scores = torch.ones(4, 16)
    scores[:2, 15] = 0.1
    return Detections.from_keypoints(torch.rand(4, 16, 2, generator=g) * 200 + 100, scores)


@pytest.fixture
def batch(detections):
    poses = torch.randn(4, 17, 3, generator=torch.Generator().manual_seed(2)) * 0.3
    return {"poses": poses - poses[:, :1], "keypoints": detections.keypoints, "detections": detections}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_sample_and_mode_shapes(model, detections):
    poses = model.sample(detections, 3, generator())
    assert poses.shape == (3, 4, 17, 3) and poses.dtype == torch.float32
    assert poses[..., 0, :].abs().max() < 1e-5 or isinstance(model, MeanPose)
    assert model.mode(detections).shape == (4, 17, 3)


def test_sampling_is_deterministic_given_the_generator(model, detections):
    first, second = (model.sample(detections, 3, generator(5)) for _ in range(2))
    assert torch.equal(first, second)
    if not isinstance(model, DETERMINISTIC):
        assert not torch.equal(first, model.sample(detections, 3, generator(6)))


def test_sampling_leaves_global_random_state_alone(model, detections):
    before = torch.random.get_rng_state()
    model.sample(detections, 2, generator())
    assert torch.equal(before, torch.random.get_rng_state())


def test_people_do_not_influence_each_other(model, detections):
    assert torch.allclose(model.mode(detections)[2], model.mode(detections[2:3])[0], atol=1e-5)


def test_density_or_a_clear_error(model, detections, batch):
    if model.has_density:
        value = model.log_prob(model.sample(detections, 2, generator()), detections)
        assert value.shape == (2, 4) and torch.isfinite(value).all()
    else:
        with pytest.raises(DensityError, match="no tractable density"):
            model.log_prob(batch["poses"], detections)


def test_training_step_names_its_losses_and_reaches_its_parameters(model, batch):
    model.train()
    for phase, spec in model.optimisers().items():
        model.zero_grad()
        losses = model.training_step(batch, phase=phase, generator=generator())
        assert "loss" in losses and all(value.ndim == 0 and torch.isfinite(value) for value in losses.values())
        losses["loss"].backward()
        assert all(p.grad is not None for p in spec.parameters)
    assert set(model.phases()) <= set(model.optimisers())


def test_prepared_features_give_the_same_losses(model, batch):
    model.eval()
    raw = model.training_step(batch, phase=model.phases()[-1], generator=generator())
    prepared = model.training_step(model.features(batch), phase=model.phases()[-1], generator=generator())
    assert torch.allclose(raw["loss"], prepared["loss"])


def test_a_data_set_can_be_prepared_and_trained_on(model):
    from probpose.data import load
    from probpose.training.loop import train
    from probpose.training.specs import TrainingConfig

    data = load("synthetic", split="train", size=24)
    trained = train(model, data, TrainingConfig(3, 8, device="cpu", progress=False)).trained
    assert all(p.isfinite().all() for p in trained.parameters())
    assert trained.sample(data[:2].detections, 2, generator()).isfinite().all()


def test_save_and_load_return_the_same_model(model, detections, tmp_path):
    again = type(model).from_pretrained(model.save_pretrained(tmp_path / "weights", card="# a card\n"))
    assert torch.equal(again.mode(detections), model.mode(detections))
    assert (tmp_path / "weights" / "README.md").read_text() == "# a card\n"
    assert again.config == model.config and not again.training


@pytest.mark.parametrize("n", [0, -1, 2.5, True])
def test_bad_number_of_hypotheses(model, detections, n):
    with pytest.raises(ConfigError, match="whole number"):
        model.sample(detections, n)


def test_weights_of_another_model_are_refused(tmp_path):
    build("martinez", "smoke").save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="expected weights of PoseFlow, found Martinez"):
        PoseFlow.from_pretrained(tmp_path)


def test_weights_of_another_shape_truncated_or_unknown(tmp_path):
    folder = build("martinez", "smoke").save_pretrained(tmp_path / "a")
    file = folder / "model.safetensors"
    tensors, about = load_tensors(file)
    about["config"]["hidden"] = 32
    save_tensors(file, tensors, about)
    with pytest.raises(CheckpointError, match="do not fit"):
        load_pretrained(folder)
    save_tensors(file, tensors, {"model": "Oracle", "config": {}})
    with pytest.raises(CheckpointError, match="Oracle"):
        load_pretrained(folder)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(CheckpointError):
        load_pretrained(folder)
    with pytest.raises(UnknownNameError, match="packaged"):
        probpose.load("no-such-weights")


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


def test_numbers_of_another_format_are_converted(model, detections):
    double = Detections.from_keypoints(detections.keypoints.double() + 200, torch.ones(4, 16).double())
    assert model.sample(double, 2, generator()).dtype == torch.float32


def test_a_model_left_in_training_mode_samples_as_in_evaluation(model, detections):
    wanted = model.mode(detections)
    model.train()
    assert torch.equal(model.mode(detections), wanted) and model.sample(detections[:1], 2, generator()).shape == (
        2,
        1,
        17,
        3,
    )
    assert model.training


def test_unknown_settings_are_refused():
    with pytest.raises(ConfigError, match="wings"):
        build("poseflow", "smoke", wings=2)


def test_wrong_poses_are_refused(detections):
    flow = build("poseflow", "smoke")
    with pytest.raises(ShapeError, match="17"):
        flow.log_prob(torch.zeros(4, 16, 3), detections)
    with pytest.raises(NotFiniteError):
        flow.log_prob(torch.full((4, 17, 3), float("nan")), detections)
    for wrong in (torch.zeros(3, 17, 3), torch.zeros(17, 3)):
        with pytest.raises(ConfigError, match="one column per detection"):
            flow.log_prob(wrong, detections)
    assert flow.log_prob(torch.zeros(2, 0, 17, 3), detections[:0]).shape == (2, 0)


def test_pose_vectors_are_coordinate_major_and_invert():
    pose = torch.randn(5, 17, 3)
    pose[:, 0] = (pose[:, 1] + pose[:, 4]) / 2
    vector = pose_to_vector(pose)
    centred = pose[:, 1:] - pose[:, 1:].mean(1, keepdim=True)
    assert torch.allclose(vector[:, :16], centred[..., 0]) and torch.allclose(vector[:, 16:32], -centred[..., 1])
    assert torch.allclose(vector_to_pose(vector), pose - pose[:, :1], atol=1e-5)


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


def test_unknown_model_or_tier():
    with pytest.raises(UnknownNameError, match="poseflow"):
        build("posflow")
    with pytest.raises(UnknownNameError, match="laptop"):
        build("poseflow", "laptpo")
