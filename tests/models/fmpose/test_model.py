"""FMPose: training, sampling, the density, evidence that is not as it should be."""

import pytest
import torch

from probpose.core.batches import FeatureBatch, Prepared
from probpose.core.errors import ConfigError, DegeneratePoseError, DensityError, ShapeError, UnknownNameError
from probpose.evidence.detections import Detections
from probpose.models import build
from probpose.models.fmpose.condition import largest_points, shuffle_points
from probpose.models.fmpose.config import FMPoseConfig
from probpose.models.fmpose.model import FMPose
from probpose.models.pose_vectors import pose_to_relative
from probpose.models.pretrained import load_pretrained
from probpose.training.loop import train
from probpose.training.specs import TrainingConfig


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def awake(**changes):
    "A small model whose condition sees the evidence, which that of an untrained one does not."
    model = build("fmpose", "smoke", **changes).eval()
    with torch.no_grad():
        model.encoder.adjacency += torch.randn(16, 16, generator=generator(9)) / 4
    return model


def test_the_papers_sizes():
    model = build("fmpose", "full", root=True)
    assert model.config == FMPoseConfig(root=True) and model.velocity.first.weight.shape == (1024, 51 + 1 + 64)
    assert model.velocity.last.weight.shape == (51, 1024) and len(model.velocity.blocks) == 2
    assert model.encoder.first.weight.shape == (128, 96) and model.encoder.project.weight.shape == (64, 16 * 128)
    assert (model.encoder.adjacency == 0).all() and model.encoder.adjacency.shape == (16, 16)
    assert (model.config.solver, model.config.steps + 1, model.config.joint_dropout) == ("midpoint", 25, 0.01)
    spec = model.optimisers()["main"]
    assert (spec.algorithm, spec.lr, spec.schedule(0.89), spec.schedule(0.9)) == ("adamw", 1e-4, 1.0, 0.1)


@pytest.mark.parametrize("points", ["largest", "drawn"])
def test_training_lowers_the_loss(points, data):
    settings = TrainingConfig(120, 32, device="cpu", log_every=30, progress=False)
    log = train(build("fmpose", "smoke", points=points), data, settings).log["main/loss"]
    assert log.iloc[-1] < 0.8 * log.iloc[0]


class _Rows:
    "A data set in name; a model finds its features elsewhere."

    fingerprint = "two depths"

    def to(self, device):
        return self


def test_two_depths_of_a_joint_both_get_a_share(seen):
    model = build("fmpose", "smoke", draws=4, lr=3e-3)
    row = model.features(seen)
    pose = row["x"][:1].repeat(64, 1)
    pose[:32, 47], pose[32:, 47] = 1.5, -1.5
    rows = {"x": pose} | {name: row[name][:1].expand(64, *row[name].shape[1:]) for name in ("pixels", "seen")}
    model.prepare = lambda dataset: Prepared(rows, dataset.fingerprint)
    train(model, _Rows(), TrainingConfig(4000, 64, device="cpu", progress=False))
    depth = model.sample(seen.detections[:1], 200, generator())[:, 0, 16, 2]
    near, far = (depth - 1.5).abs() < 0.6, (depth + 1.5).abs() < 0.6
    assert near.float().mean() > 0.25 and far.float().mean() > 0.25 and (near | far).float().mean() > 0.75


def test_the_density_of_samples_is_that_of_the_same_poses(seen):
    model = awake()
    poses, values = model.sample_and_log_prob(seen.detections, 3, generator())
    assert torch.equal(poses, model.sample(seen.detections, 3, generator()))
    assert torch.allclose(values, model.log_prob(poses, seen.detections), atol=1e-3)
    assert values.std() > 0.1


def test_the_density_is_that_of_the_paths_that_end_there(seen):
    model = awake(orders=1, density_steps=200).double().using("midpoint", 200)
    with torch.no_grad():
        condition = model._fixed_conditions(model._own(seen.detections), 1)[0]
        noise = torch.randn(2, 6, 48, generator=generator(), dtype=torch.float64)
        poses = model._poses(noise, condition)
        x = noise[0, 0].clone()
        end = torch.autograd.functional.jacobian(lambda z: pose_to_relative(model._poses(z[None], condition[:1]))[0], x)
    wanted = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum() - torch.linalg.slogdet(end)[1]
    assert model.log_prob(poses, seen.detections)[0, 0].item() == pytest.approx(wanted.item(), abs=1e-3)


def test_more_orders_are_a_mean_of_densities(seen):
    few, many = awake(orders=1), awake(orders=3)
    poses = few.sample(seen.detections, 2, generator())
    one, three = few.log_prob(poses, seen.detections), many.log_prob(poses, seen.detections)
    assert not torch.allclose(one, three, atol=1e-3) and (three > one - 1.1 - 1e-3).all()


def test_a_person_alone_gets_the_same_answer(seen):
    model = awake()
    poses = model.sample(seen.detections, 2, generator())
    alone = model.log_prob(poses[:, 2:3], seen.detections[2:3])
    assert torch.allclose(model.mode(seen.detections)[2], model.mode(seen.detections[2:3])[0], atol=1e-5)
    assert torch.allclose(model.log_prob(poses, seen.detections)[:, 2:3], alone, atol=1e-3)


def test_every_hypothesis_has_its_own_order(seen):
    model, orders = awake(), []
    keep = model.encoder.register_forward_pre_hook(lambda module, given: orders.append(given[0]))
    model.sample(seen.detections, 3, generator())
    keep.remove()
    (positions,) = orders
    assert positions.shape == (3, 6, 8, 16, 2)
    assert not torch.equal(positions[0], positions[1])
    for joint in (0, 9):
        first, second = (sorted(positions[i, 1, :, joint].tolist()) for i in (0, 1))
        assert first == second, "the same positions in another order"


def test_the_order_of_given_points_does_not_matter_in_distribution():
    pixels = torch.arange(4.0).view(1, 4, 1, 1).expand(4000, -1, 3, -1)
    turned = pixels[:, [0, 3, 1, 2]]
    for given in (pixels, turned):
        shuffled = shuffle_points(given, 4, generator())
        share = torch.stack([(shuffled == value).float().mean((0, 3)) for value in range(4)])
        assert (share - 0.25).abs().max() < 0.04, "every point is as often in every place"
    few = shuffle_points(pixels, 2, generator())
    assert (few == 0).any(1).all() and ((few == 0).float().mean((0, 3)) - 0.5).abs().max() < 0.04


def test_cells_without_mass_are_no_evidence():
    maps = torch.zeros(1, 2, 64, 64)
    maps[0, 0, 7, 3], maps[0, 0, 8, 3] = 0.9, 0.4
    pixels, values = largest_points(maps, 5)
    assert pixels[0, :, 0].tolist() == [[3, 7], [3, 8], [3, 7], [3, 7], [3, 7]]
    assert torch.allclose(values[0, :, 0], torch.tensor([0.9, 0.4, 0.9, 0.9, 0.9])) and (values[0, :, 1] == 0).all()


def test_a_joint_without_mass_counts_as_dropped(seen):
    model = awake()
    lost = torch.zeros(6, 16, dtype=torch.bool)
    lost[1, 15] = True
    lacking = seen.detections.without(lost)
    model.completions = 0
    with torch.no_grad():
        points = model.points(lacking, None)
        assert points["seen"].sum() == 95 and not points["seen"][1, 15]
        here = model._positions(points)
        moved = here.clone()
        moved[1, :, 15] += 3.0  # where nobody is does not matter
        assert torch.equal(model.condition(here, points["seen"]), model.condition(moved, points["seen"]))
    assert (
        model.sample(lacking, 2, generator()).isfinite().all()
        and model.log_prob(model.sample(lacking, 2, generator()), lacking).isfinite().all()
    )
    model.completions = 50
    poses, values = model.sample_and_log_prob(lacking, 2, generator())
    assert poses.isfinite().all() and values.isnan().all(0).tolist() == [False, True, False, False, False, False]


def test_the_authors_vector_has_the_root_and_no_density(seen, tmp_path):
    model = awake(root=True)
    poses = model.sample(seen.detections, 2, generator())
    assert poses.shape == (2, 6, 17, 3) and (poses[..., 0, :] == 0).all() and model.dim == 51
    with pytest.raises(DensityError, match="FMPose"):
        model.log_prob(poses, seen.detections)
    assert model.train().training_step(seen, generator=generator())["loss"].isfinite()
    assert load_pretrained(model.save_pretrained(tmp_path)).dim == 51


def test_another_solver_on_the_same_weights(seen, tmp_path):
    model = awake()
    fine = model.using("heun", 400).mode(seen.detections)
    errors = [(model.using("euler", steps).mode(seen.detections) - fine).abs().max() for steps in (10, 40)]
    assert errors[1] < 0.5 * errors[0] and model.config.solver == "midpoint"
    again = load_pretrained(model.using("euler", 10).save_pretrained(tmp_path))
    assert (again.config.solver, again.config.steps) == ("euler", 10)
    assert torch.equal(again.mode(seen.detections), model.using("euler", 10).mode(seen.detections))
    with pytest.raises(UnknownNameError, match="heun"):
        model.using("ddim")
    with pytest.raises(ConfigError, match="steps"):
        model.using("heun", 0)


def test_joint_dropout_drops_in_training_only(seen):
    model = awake(joint_dropout=0.9)
    losses = [model.train(mode).training_step(seen, generator=generator())["loss"] for mode in (True, False)]
    never = awake(joint_dropout=0.0).train().training_step(seen, generator=generator())["loss"]
    assert losses[0] != losses[1] and torch.allclose(losses[1], never)


@pytest.mark.parametrize(
    "changes",
    [
        dict(samples=0),
        dict(samples=5000),
        dict(samples=20, points="drawn"),
        dict(steps=0),
        dict(orders=0),
        dict(density_steps=0),
        dict(draws=0),
        dict(joint_dropout=1.0),
        dict(reach=0.0),
        dict(lr=float("nan")),
        dict(weight_decay=-1.0),
        dict(drop_at=1.5),
    ],
)
def test_impossible_settings(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        build("fmpose", "smoke", **changes)


@pytest.mark.parametrize("changes", [dict(points="words"), dict(positions="sky"), dict(solver="ddim")])
def test_unknown_choices(changes):
    with pytest.raises(UnknownNameError, match=next(iter(changes.values()))):
        build("fmpose", "smoke", **changes)


def test_evidence_of_another_kind_is_refused(seen):
    model = awake()
    larger = torch.nn.functional.interpolate(seen.detections.heatmaps, size=96)
    with pytest.raises(ShapeError, match="64×64.*96×96"):
        model.sample(Detections.from_heatmaps(larger), 2)
    with pytest.raises(ShapeError, match="mpii_16"):
        model.sample(Detections(torch.rand(2, 17, 2) * 60, torch.ones(2, 17), skeleton="coco_17"), 2)
    maps = seen.detections.heatmaps.clone()
    maps[2] = 0
    with pytest.raises(DegeneratePoseError):
        model.sample(Detections.from_heatmaps(maps), 2)


def test_prepared_features_are_those_of_the_batches(data):
    model = FMPose(FMPoseConfig.for_tier("smoke"))
    prepared = model.prepare(data)
    rows = model.features(data.batch(torch.arange(5), heatmaps=True))
    assert isinstance(rows, FeatureBatch) and len(prepared) == 64
    assert all(torch.equal(prepared.tensors[name][:5], rows[name]) for name in rows)


def test_a_watched_path_ends_at_the_samples(seen):
    model = awake()
    path = model.path(seen.detections, 3, generator())
    assert sorted(path) == pytest.approx([i / model.config.steps for i in range(model.config.steps + 1)])
    assert torch.equal(path[1.0], model.sample(seen.detections, 3, generator()))
    assert path[0.0].shape == (3, 6, 17, 3) and (path[0.0] - path[1.0]).abs().max() > 0.1
    with pytest.raises(ConfigError, match="n: expected"):
        model.path(seen.detections, 0)
