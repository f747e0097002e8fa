"""ElePose: nothing three-dimensional reaches its training, and what it answers."""

import copy
import math
import warnings
from dataclasses import replace

import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, UnknownNameError
from probpose.data.planar import DetectionDataset, training_proportions, with_true_keypoints
from probpose.evaluation.curves import calibration
from probpose.evaluation.evaluate import evaluate
from probpose.geometry.rotations import axis_rotation
from probpose.geometry.skeletons import H36M_17
from probpose.ledger.results import load_results
from probpose.models.elepose.lifter import project_pose
from probpose.models.elepose.model import ElePose
from probpose.models.elepose.prior import image_pose
from probpose.training.loop import train, train_stages


def fitted(people, small, **changes):
    model = ElePose(small(**changes))
    model.prior.fit(people)
    return model


class Guarded:
    "A batch that fails when somebody reaches for more than the evidence."

    def __init__(self, batch):
        self.batch = batch

    def __getattr__(self, name):
        assert name == "detections", f"training asked for {name!r}"
        return self.batch.detections


def test_no_3d_array_reaches_the_loss(people, small):
    model, batch = fitted(people, small), people.batch(torch.arange(16))
    losses = model.training_step(Guarded(batch), generator=make_generator(0))
    nonsense = model.training_step(
        replace(
            batch,
            poses=torch.full_like(batch.poses, math.nan),
            keypoints_true=torch.full_like(batch.keypoints_true, math.nan),
        ),
        generator=make_generator(0),
    )
    assert torch.equal(losses["loss"], nonsense["loss"])


def test_training_is_bit_for_bit_the_same_without_3d_poses(people, tmp_path, small, quick):
    clicked = DetectionDataset(people.detections)
    blind = replace(people, poses=torch.full_like(people.poses, math.nan), root=torch.full_like(people.root, math.nan))
    states = [
        train_stages(ElePose(small()), data, quick, tmp_path / str(k)).trained.state_dict()
        for k, data in enumerate((people, blind, clicked))
    ]
    for other in states[1:]:
        assert all(torch.equal(value, other[name]) for name, value in states[0].items())


def test_evaluation_without_3d_poses_says_what_it_cannot_compute(people, trained):
    clicked = DetectionDataset(people.detections[:8])
    with pytest.warns(UserWarning, match="pa_mpjpe.*cannot be computed; computed are symmetry"):
        frame = evaluate(trained, clicked, n=2, device="cpu", progress=False)
    assert set(frame["metric"]) == {"symmetry", "spread_x", "spread_y", "spread_z"} and frame["value"].notna().all()
    for ask in (
        lambda: evaluate(trained, clicked, n=1, protocols=["pa_mpjpe"], device="cpu", progress=False),
        lambda: calibration(trained, clicked, n=4, device="cpu", progress=False),
    ):
        with pytest.raises(ConfigError, match="3D poses"):
            ask()


def test_proportions_come_from_the_training_split(people):
    assert len(training_proportions(people)) == 16
    with pytest.raises(ConfigError, match="training split"):
        training_proportions(replace(people, split="test"))


def test_what_is_lifted_projects_onto_what_was_seen(people, trained):
    evidence = with_true_keypoints(people)[:6].detections
    pose, seen = trained.mode(evidence), image_pose(evidence)
    size = (pose[:, 1:, :2] * seen[:, 1:]).sum((1, 2)) / seen[:, 1:].square().sum((1, 2))
    apart = (pose[..., :2] / size[:, None, None] - seen).norm(dim=-1)[:, 1:] / seen.norm(dim=-1)[:, 1:].clamp(min=20)
    assert apart.mean() < 0.1, "perspective alone"


def test_committed_tripods_are_found_up_to_the_mirror():
    """Cameras of known height: mean and spread of the learned elevations within two degrees (recorded at the laptop
    tier).
    """
    table = load_results("book/results")
    rows = table[
        (table["chapter"] == "elepose") & (table["subset"] == "tripod") & (table["tier"] == "laptop")
    ].set_index(["variant", "metric"])["value"]
    found, truth = rows["tripod"], rows["cameras"]
    assert abs(truth["elevation_mean"] - 20) < 1 and abs(truth["elevation_spread"] - 2) < 0.5
    assert (
        abs(abs(found["elevation_mean"]) - truth["elevation_mean"]) < 2
        and abs(found["elevation_spread"] - truth["elevation_spread"]) < 2
    )
    right = "tripod" if found["elevation_mean"] > 0 else "tripod_mirrored"
    wrong = {"tripod": "tripod_mirrored", "tripod_mirrored": "tripod"}[right]
    assert rows[right, "pa_mpjpe"] < rows[wrong, "pa_mpjpe"], (
        "the sign of the elevation goes with the side of the noses"
    )


def test_log_prob_is_the_mean_over_views(people, trained):
    evidence = with_true_keypoints(people)[:3].detections
    poses = trained.sample(evidence, 2) + 0.02 * torch.randn(2, 3, 17, 3)
    own, upright = trained._lift(trained._scaled_poses(evidence))
    noise = make_generator(trained.config.seed)
    azimuth, back = (2 * torch.rand(5, 1, generator=noise) - 1) * math.pi, torch.randn(5, 1, generator=noise)
    for m in range(2):
        for b in range(3):
            pose = poses[m, b] - poses[m, b, :1]

            def length(p):
                return torch.stack([(p[c] - p[a]).norm() for a, c in H36M_17.bones]).mean()

            pose = pose * length(own[b]) / length(pose)
            each = []
            for k in range(5):
                rotation = (
                    axis_rotation("x", -trained.upright_mean + trained.upright_deviation * back[k, 0])
                    @ axis_rotation("y", azimuth[k, 0])
                    @ axis_rotation("x", upright[b])
                )
                each.append(trained.prior.log_prob(project_pose((rotation @ pose.T).T[None]))[0])
            assert torch.allclose(
                trained.log_prob(poses, evidence)[m, b], torch.stack(each).mean(), atol=1e-3, rtol=1e-4
            )


def test_elevations_and_spread_are_followed_in_training(people, trained):
    assert trained.elevations(people.detections).shape == (64,)
    assert trained.upright_deviation > 0 and trained.steps == 6
    assert (
        abs(
            float(-trained.upright_mean.rad2deg())
            - float(trained.elevations(with_true_keypoints(people).detections).mean())
        )
        < 5
    )


@pytest.mark.parametrize(
    "changes",
    [
        dict(elevation="fixed"),
        dict(elevation="compensated"),
        dict(bases=0),
        dict(weight_bones=0.0),
        dict(normalise="pose"),
        dict(views=3),
        dict(bones_from=4),
    ],
)
def test_configurations_train(people, changes, small, quick):
    model = train_stages(ElePose(small(**changes)), people, quick).trained
    assert model.mode(people[:2].detections).isfinite().all()
    if changes.get("elevation") == "fixed":
        assert model.elevations(people[:2].detections).abs().max() == 0


def test_bones_from_raises_the_weight_slowly(people, small):
    model = fitted(people, small, bones_from=4).train()
    weights = []
    for _ in range(6):
        weights.append(float(model._bone_weight()))
        model.training_step(people.batch(torch.arange(8)), generator=make_generator(0))
    assert weights == pytest.approx([50 * min(1, k / 4) ** 2 for k in range(6)])


def test_an_untrained_prior_is_refused(people, small, quick):
    model = ElePose(small())
    for ask in (
        lambda: model.mode(people[:2].detections),
        lambda: train(model, people, quick),
        lambda: model.training_step(people.batch(torch.arange(4))),
    ):
        with pytest.raises(ConfigError, match="trained prior"):
            ask()


def test_a_killed_training_goes_on_in_its_stage(people, tmp_path, small, quick):
    model = ElePose(small())
    whole = train_stages(copy.deepcopy(model), people, quick).trained
    first = copy.deepcopy(model)
    train(first.prior, people, quick, tmp_path / "stage_0")  # killed before the second stage
    again = train_stages(copy.deepcopy(model), people, quick, tmp_path).trained
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))


def test_compact_weights_are_small_and_near(trained, people, tmp_path, small):
    wide = ElePose(small(hidden=96))
    wide.prior.fit(people)
    sizes = [
        (wide.save_pretrained(tmp_path / name, compact=compact) / "model.safetensors").stat().st_size
        for name, compact in (("a", None), ("b", "half"), ("c", "bytes"))
    ]
    assert sizes[1] < 0.75 * sizes[0] and sizes[2] < 0.75 * sizes[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact, near, nearby = (ElePose.from_pretrained(tmp_path / name).mode(people[:4].detections) for name in "abc")
    assert (
        near.dtype == nearby.dtype == torch.float32
        and (exact - near).abs().max() < 1e-3
        and (exact - nearby).abs().max() < 2e-2
    )
    with pytest.raises(UnknownNameError, match="half"):
        wide.save_pretrained(tmp_path / "d", compact="quarter")


def test_people_of_another_size_are_counted_and_a_way_out_is_named(trained):
    from probpose.data import load

    seen = load("synthetic", split="test", size=6).detections
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained.mode(seen)
    crop = seen.crop
    far = replace(seen, crop=replace(crop, size=torch.where(torch.arange(6) == 2, crop.size / 12, crop.size)))
    with pytest.warns(UserWarning, match="1 of 6 people.*adapt_unit.*--model poseflow"):
        trained.mode(far)
