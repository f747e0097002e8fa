"""One contract for every posterior."""

import pytest
import torch

from probpose.core.errors import ConfigError, DensityError, NotFiniteError, ShapeError
from probpose.evidence.detections import Detections
from probpose.models import build
from probpose.models.baselines.martinez import Martinez
from probpose.models.baselines.mean_pose import MeanPose
from probpose.models.diffpose.model import DiffPose
from probpose.models.elepose.model import ElePose


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
    "fmpose": lambda: build("fmpose", "smoke"),
    "fmpose_drawn": lambda: build("fmpose", "smoke", points="drawn", solver="heun"),
    "fmpose_root": lambda: build("fmpose", "smoke", root=True, solver="euler"),
    "elepose": with_prior,
    "elepose_fixed": lambda: with_prior(elevation="fixed", bases=0),
    "mdn": lambda: build("mdn", "smoke"),
    "cvae": lambda: build("cvae", "smoke"),
    "cgnf": lambda: build("cgnf", "smoke"),
    "martinez": lambda: build("martinez", "smoke"),
    "mean_pose": MeanPose,
}


DETERMINISTIC = (ElePose, Martinez, MeanPose)


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]().eval()


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
            model.log_prob(batch.poses, detections)


def test_densities_come_with_the_hypotheses(model, detections):
    if model.has_density:
        poses, values = model.sample_and_log_prob(detections, 3, generator())
        assert torch.equal(poses, model.sample(detections, 3, generator()))
        assert torch.allclose(values, model.log_prob(poses, detections), rtol=1e-3, atol=1e-2)
        lacking, whole = without_joint(detections), torch.tensor([0, 2])
        poses, values = model.sample_and_log_prob(lacking, 3, generator())
        assert torch.equal(poses, model.sample(lacking, 3, generator()))
        assert values[:, 1::2].isnan().all() if model.completions else values.isfinite().all()
        assert torch.allclose(values[:, whole], model.log_prob(poses, lacking)[:, whole], rtol=1e-3, atol=1e-2)
    else:
        with pytest.raises(DensityError, match="no tractable density"):
            model.sample_and_log_prob(detections, 3, generator())


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


def test_settings_that_features_depend_on_are_declared(model, batch, settings_read):
    "Models that agree in `feature_settings` share features; DiffPose, which declares derived ones, has its own test."
    if not isinstance(model, DiffPose):
        assert settings_read(model, batch) <= set(model.feature_settings())


def without_joint(detections, joint=10):  # the right wrist
    "The second and fourth of four people lack a joint."
    lost = torch.zeros(4, 16, dtype=torch.bool)
    lost[1::2, joint] = True
    return detections.without(lost)


def test_people_with_missing_joints_are_completed(model, detections):
    lacking = without_joint(detections)
    drawn = model.sample(lacking, 6, generator())
    assert drawn.shape == (6, 4, 17, 3) and drawn.isfinite().all()
    if isinstance(model, DETERMINISTIC):
        spread = drawn.std(0).amax((1, 2))
        assert (spread[::2] < 1e-6).all() and ((spread[1::2] > 1e-4).all() or isinstance(model, MeanPose))
    mode = model.mode(lacking)
    same = torch.isclose(mode, model.mode(lacking.completed()), atol=1e-5).all(-1).all(-1)
    assert same.all() if model.completions else same.tolist() == [True, False] * 2, "who sees gaps answers otherwise"
    assert torch.allclose(mode[::2], model.mode(detections[::2]), atol=1e-4)
    model.completions = 0
    learnt = model.sample(lacking, 6, generator())
    assert learnt.shape == drawn.shape and learnt.isfinite().all()


def test_hypotheses_share_the_completions_evenly(detections):
    model = with_prior()
    model.completions = 5
    drawn = model.sample(without_joint(detections), 13, generator())[:, 1]
    same = torch.cdist(drawn.flatten(1), drawn.flatten(1)) < 1e-6
    assert same.sum(1).tolist() == [3, 3, 3, 2, 2] * 2 + [3, 3, 3]


def test_no_density_where_joints_are_missing(detections):
    model = build("poseflow", "smoke").eval()
    poses, lacking = model.sample(detections, 2, generator()), without_joint(detections)
    values = model.log_prob(poses, lacking)
    assert values.isnan().all(0).tolist() == [False, True, False, True]
    assert torch.allclose(values[:, ::2], model.log_prob(poses, detections)[:, ::2], atol=1e-3)
    model.completions = 0
    assert model.log_prob(poses, lacking).isfinite().all()
