"""HuMR and ProHMR: the contract of posteriors, oracles of what is clever, and what is refused."""

import math
from dataclasses import dataclass, replace

import pytest
import roma
import torch
from torch import Tensor, nn

from probpose.core.devices import make_generator
from probpose.core.errors import (
    CheckpointError,
    ConfigError,
    DegeneratePoseError,
    DensityError,
    NotFiniteError,
    ShapeError,
    UnknownNameError,
)
from probpose.core.storage import load_tensors
from probpose.evidence.detections import Detections
from probpose.evidence.gaussians import Gaussians, render_gaussians
from probpose.geometry.crops import crop_coordinates, map_pixels
from probpose.geometry.rotations import pack_rotations, unpack_rotations
from probpose.losses.bodies import mask_loss, orthonormality_loss, reprojection_loss
from probpose.losses.mmd import jointwise_mmd, mmd
from probpose.models.humr.config import HuMRConfig
from probpose.models.humr.evidence import pool_samples
from probpose.models.humr.hypotheses import BodyHypotheses
from probpose.models.humr.model import HuMR, supervision_ablation
from probpose.models.humr.networks import (
    DIM,
    RotationFlow,
    full_translation,
    inside_mask,
    pack_masks,
    project_to_crop,
)
from probpose.models.humr.objective import hidden_joints, loss_weights, mask_term, mmd_targets
from probpose.models.humr.prohmr import ProHMR, ProHMRConfig, component_ablation
from probpose.models.pretrained import load_pretrained

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)


class Sticks(nn.Module):
    "A body of 22 joints with the interface of `bodies.body.Body`: points are mixtures of joints, shape is one length."

    def __init__(self):
        super().__init__()
        g = make_generator(7)
        self.register_buffer(
            "offsets", 0.25 * torch.randn(22, 3, generator=g) * (torch.arange(22) > 0)[:, None], persistent=False
        )
        mix = (20 * torch.rand(2, 17, 22, generator=g)).softmax(-1)
        self.register_buffer("mix", mix, persistent=False)

    def joints(self, rotations, betas):
        turns, places = [rotations[..., 0, :, :]], [torch.zeros_like(rotations[..., 0, :, 0])]
        for j in range(1, 22):
            above = PARENTS[j]
            length = 1 + 0.05 * betas[..., :1]
            places.append(places[above] + (turns[above] @ (self.offsets[j] * length)[..., None])[..., 0])
            turns.append(turns[above] @ rotations[..., j, :, :])
        return torch.stack(places, -2)

    def points(self, name, rotations, betas):
        return self.mix[("coco_17", "h36m_17").index(name)] @ self.joints(rotations, betas)


@dataclass(frozen=True, eq=False)
class Evidence(Detections):
    features: Tensor | None = None
    box: Tensor | None = None


def make_batch(people=5, seed=0, features=240):
    g, body = make_generator(seed), Sticks()
    rotations = roma.rotvec_to_rotmat(0.3 * torch.randn(people, 22, 3, generator=g))
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotations[:, 0]
    betas = 0.5 * torch.randn(people, 11, generator=g)
    box = torch.cat([0.2 * torch.randn(people, 2, generator=g), 0.3 + 0.2 * torch.rand(people, 1, generator=g)], 1)
    camera = torch.tensor([[0.9, 0.0, 0.0]]).expand(people, 3)
    truth = project_to_crop(body.points("coco_17", rotations, betas), camera, box)
    peak = torch.rand(people, 17, generator=g)
    maps = render_gaussians(
        Gaussians(peak, map_pixels(truth), (9.0 * torch.eye(2)).expand(people, 17, 2, 2), peak > 0, peak), 64
    )
    index = maps.flatten(2).argmax(-1)
    xy = torch.stack([index % 64, index // 64], -1).float()
    evidence = Evidence(
        xy,
        maps.amax((-2, -1)).clamp(max=1),
        maps,
        skeleton="coco_17",
        features=torch.rand(people, features, generator=g),
        box=box,
    )
    masks = torch.zeros(people, 256, 256, dtype=torch.bool)
    masks[:, 100:150, 100:150] = True
    poses = body.points("h36m_17", rotations, betas)
    return {
        "detections": evidence,
        "poses": poses - poses[:, :1],
        "rotations": rotations,
        "betas": betas,
        "keypoints_true": map_pixels(truth),
        "masks": masks,
        "object_occlusion": torch.arange(people) == 1,
    }


class Toy:
    "A data set of toy batches."

    def __init__(self, people=24):
        self.rows, self.fingerprint = make_batch(people), f"toy {people}"

    def __len__(self):
        return len(self.rows["poses"])

    def to(self, device):
        return self

    def batch(self, index):
        return {name: value[index] for name, value in self.rows.items()}


def humr(**changes):
    return HuMR(HuMRConfig.for_tier("smoke", **changes), Sticks()).eval()


MODELS = {
    "humr": humr,
    "humr_pose_only": lambda: humr(use_features=False, use_box=False),
    "humr_embedding": lambda: humr(condition_embedding=True, random_supervision="none", weight_mask=0.0),
    "humr_any": lambda: humr(mask_targets="any", random_supervision="visible"),
    "prohmr": lambda: ProHMR(ProHMRConfig.for_tier("smoke"), Sticks()).eval(),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.fixture(scope="module")
def batch():
    return make_batch()


@pytest.fixture(scope="module")
def detections(batch):
    return batch["detections"]


# --- the contract ---


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
        model.log_prob(batch["poses"], detections)
    single, many = (
        model.rotation_log_prob(batch["rotations"], detections),
        model.rotation_log_prob(batch["rotations"].expand(3, -1, -1, -1, -1), detections),
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


def test_training_and_loading(model, tmp_path):
    from probpose.training.loop import train
    from probpose.training.specs import TrainingConfig

    trained = train(model, Toy(), TrainingConfig(3, 8, device="cpu", progress=False)).trained
    seen = Toy().rows["detections"]
    wanted = trained.sample(seen, 2, make_generator(0))
    folder = trained.save_pretrained(tmp_path / "weights")
    tensors, about = load_tensors(folder / "model.safetensors")
    assert about["model"] == type(model).__name__ and not any(name.startswith("body") for name in tensors)
    again = load_pretrained(folder)
    assert again.config == model.config and not again.training and again.body.vertex_count == 13718
    again.body = Sticks()
    assert torch.equal(again.sample(seen, 2, make_generator(0)), wanted)


def test_weights_of_prohmr_are_not_those_of_humr_with_a_full_condition(tmp_path):
    humr().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="expected weights of ProHMR, found HuMR"):
        ProHMR.from_pretrained(tmp_path)


def test_the_seed_decides_the_weights_and_nothing_else_is_seeded():
    before = torch.random.get_rng_state()
    first, second, other = humr(), humr(), humr(seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))
    assert not torch.equal(first.head.first.weight, other.head.first.weight)


def test_likelihood_grows_in_training():
    from probpose.training.loop import train
    from probpose.training.specs import TrainingConfig

    model, data = humr(lr=5e-3), Toy()
    before = model.rotation_log_prob(data.rows["rotations"], data.rows["detections"]).mean()
    train(model, data, TrainingConfig(60, 24, device="cpu", progress=False))
    after = model.rotation_log_prob(data.rows["rotations"], data.rows["detections"]).mean()
    assert after > before + 10


# --- answers ---


def test_hypotheses_know_their_density_and_project(detections):
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


@pytest.mark.parametrize("kind", ["affine", "additive"])
def test_density_is_that_of_the_change_of_variables(kind):
    torch.manual_seed(0)
    flow, condition, z = (
        RotationFlow(5, 2, 12, kind=kind).double(),
        torch.randn(1, 5).double(),
        torch.randn(1, 1, DIM).double(),
    )
    with torch.no_grad():
        vector = flow.draw(z, condition)
        density = flow.log_prob(vector[0], condition)
    jacobian = torch.autograd.functional.jacobian(lambda v: flow.draw(v[None, None], condition)[0, 0], z[0, 0])
    base = -0.5 * (z.square().sum() + DIM * math.log(2 * math.pi))
    assert torch.allclose(density, base - torch.linalg.slogdet(jacobian).logabsdet, atol=1e-8)
    assert kind == "affine" or torch.allclose(torch.linalg.slogdet(jacobian).logabsdet, flow.log_scale.sum(), atol=1e-8)


def test_density_of_a_density_integrates_over_samples():
    "The mean of log p over samples is the entropy, which the Jacobian gives as well."
    torch.manual_seed(0)
    flow, condition = RotationFlow(5, 2, 12), torch.randn(2, 5)
    z = torch.randn(4, 2, DIM)
    with torch.no_grad():
        vectors = flow.draw(z, condition)
        together = flow.log_prob(vectors, condition)
        apart = torch.stack([flow.log_prob(v, condition) for v in vectors])
    assert torch.allclose(together, apart, atol=1e-3)


def test_without_a_box_only_projection_is_refused(detections):
    model, blind = humr(use_box=False), replace(detections, box=None)
    answer = model.hypotheses(blind, 3)
    assert answer.box is None and answer[:2].betas.shape == (2, 11)
    for call in (answer.project, lambda: answer.translation, answer.to_map):
        with pytest.raises(ConfigError, match="box"):
            call()


def test_the_embedding_reads_heatmaps_and_the_rest_does_not(detections):
    other = replace(detections, heatmaps=detections.heatmaps.flip(-1))
    assert torch.equal(humr().mode(detections), humr().mode(other))
    model = humr(condition_embedding=True)
    assert model.reads_heatmaps and not torch.equal(model.mode(detections), model.mode(other))


@pytest.mark.parametrize("part", ["use_features", "use_pose2d", "use_box"])
def test_every_part_of_the_condition_can_be_switched_off(detections, part):
    changed = {
        "use_features": replace(detections, features=detections.features.flip(1)),
        "use_pose2d": replace(detections, scores=detections.scores.flip(1)),
        "use_box": replace(detections, box=2 * detections.box),
    }[part]
    seeing, blind = humr(), humr(**{part: False})
    assert not torch.equal(seeing.mode(detections), seeing.mode(changed)) and torch.equal(
        blind.mode(detections), blind.mode(changed)
    )


# --- cameras, rotations, masks ---


def test_six_numbers_and_back():
    turns = roma.rotvec_to_rotmat(torch.randn(3, 22, 3, generator=make_generator(1)))
    assert torch.allclose(unpack_rotations(pack_rotations(turns)), turns, atol=1e-6)
    assert torch.equal(pack_rotations(turns)[0, 6:9], turns[0, 1, :, 0]) and torch.equal(
        pack_rotations(turns)[0, 9:12], turns[0, 1, :, 1]
    )
    slope = torch.autograd.functional.jacobian(lambda v: unpack_rotations(v).sum(), torch.zeros(DIM))
    assert slope.isfinite().all(), "even of nothing"


def test_the_camera_is_that_of_the_full_image():
    g = make_generator(3)
    focal, image = 900.0, torch.tensor([1280.0, 720.0])
    centre, side = torch.tensor([[300.0, 500.0]]), torch.tensor([[260.0]])
    box = torch.cat([(centre - image / 2) / focal, side / focal], 1)
    camera, points = torch.tensor([[0.7, 0.1, -0.2]]), 0.5 * torch.randn(1, 6, 3, generator=g)
    place = points + full_translation(camera, box)[:, None]
    pixels = focal * place[..., :2] / place[..., 2:] + image / 2
    assert torch.allclose(project_to_crop(points, camera, box), (pixels - centre) / (side / 2), atol=1e-4)
    assert torch.allclose(full_translation(camera, box)[0, 2], 2 * focal / (0.7 * side[0, 0]))
    assert torch.allclose(crop_coordinates(torch.tensor([31.5, -0.5])), torch.tensor([0.0, -1.0]))


def test_no_projection_is_infinite():
    behind = project_to_crop(
        torch.full((1, 4, 3), -50.0), torch.tensor([[-2.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.3]])
    )
    assert behind.isfinite().all()


@pytest.mark.parametrize("grid", [64, 128, 256])
def test_masks_as_bits(grid):
    g = make_generator(4)
    masks = torch.rand(3, 256, 256, generator=g) > 0.999
    packed = pack_masks(masks, grid, 0)
    assert packed.shape == (3, grid * grid // 8) and packed.dtype == torch.uint8
    where = 2.4 * torch.rand(50, 3, 7, 2, generator=g) - 1.2
    step = 256 // grid
    cells = masks.unflatten(1, (grid, step)).unflatten(3, (grid, step)).any(4).any(2)
    x, y = ((where + 1) * grid / 2).long().clamp(0, grid - 1).unbind(-1)
    wanted = torch.stack([cells[b][y[:, b], x[:, b]] for b in range(3)], 1)
    assert torch.equal(inside_mask(where, packed), wanted)
    assert (inside_mask(where, pack_masks(masks, grid, 2)) >= wanted).all()
    with pytest.raises(ShapeError, match="mask_grid"):
        pack_masks(masks[:, :32, :32], grid)


def test_a_pool_never_holds_a_discarded_value():
    maps = torch.zeros(1, 17, 64, 64)
    maps[0, :, 10:20, 10:20], maps[0, 0] = 0.04, 0.0
    maps[0, 1:, 30, 40], maps[0, 1:, 31, 40] = 0.6, 0.3
    pool = pool_samples(maps, 200, 0.05, make_generator(0))
    assert (pool["values"][0, :, 0] == 0).all() and (pool["values"][0, :, 1:] >= 0.05 * 255).all()
    share = (pool["pixels"][0, 1:, 1:, 1] == 30).float().mean()
    assert (pool["pixels"][0, 0, 1:] == torch.tensor([40, 30])).all() and abs(float(share) - 2 / 3) < 0.05


# --- targets and masks of the terms ---


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


def test_mask_loss_only_concerns_hidden_joints_inside_the_crop_and_off_the_mask(batch):
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


def test_the_nearest_sample_of_any_joint_is_never_farther(batch):
    models = [humr(mask_targets=which, weight_mask=1.0) for which in ("joint", "any")]
    f = models[0].features(batch)
    own, anyone = (m.losses(f, m.draws(f, make_generator(3)))["mask"] for m in models)
    assert 0 < anyone <= own


def test_examples_of_another_person_do_not_count(batch):
    model = humr(filter_distance=0.2)
    moved = replace(
        batch["detections"],
        keypoints=torch.where(
            torch.arange(5)[:, None, None] == 3, batch["detections"].keypoints.flip(1), batch["detections"].keypoints
        ),
    )
    f = model.features(batch | {"detections": moved})
    assert (
        f["kept"].tolist() == [True, True, True, False, True]
        and humr(filter_distance=None).features(batch | {"detections": moved})["kept"].all()
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
def test_every_weight_scales_its_term(batch, term):
    name = f"weight_{term}"
    losses = {w: humr(**{name: w}).training_step(batch, generator=make_generator(0)) for w in (0.5, 3.0)}
    assert torch.allclose(losses[3.0]["loss"] - losses[0.5]["loss"], 2.5 * losses[3.0][term], rtol=1e-3, atol=1e-5)


def test_only_the_mode_is_projected_when_nothing_is_told_to_the_others(batch, monkeypatch):
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


def test_without_masks_there_is_no_mask_loss(batch):
    plain = {name: value for name, value in batch.items() if name not in ("masks", "object_occlusion")}
    assert humr().training_step(plain, generator=make_generator(0))["mask"] == 0


# --- losses ---


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


# --- settings and bad input ---


def test_ablations_are_the_rows_of_the_tables():
    parts, told = component_ablation("smoke"), supervision_ablation("smoke", blocks=3)
    assert list(parts) == ["prohmr", "+bbox", "+pose2d", "+realnvp", "+mmd", "+mask"] and parts[
        "+mask"
    ] == HuMRConfig.for_tier("smoke")
    assert type(parts["prohmr"]) is ProHMRConfig and parts["prohmr"].random_weight == 1e-3
    assert list(told) == [
        "none",
        "all_0.001",
        "all_0.005",
        "all_0.01",
        "visible_0.001",
        "visible_0.005",
        "visible_0.01",
        "diffpose_condition",
        "mmd",
    ]
    assert all(c.weight_mask == 0 and c.blocks == 3 for c in told.values()) and told["all_0.005"].random_weight == 5e-3
    paper = HuMRConfig()
    flow = HuMR(replace(paper, blocks=1), Sticks()).flow.flow
    assert flow.condition_dim == 979 and (paper.blocks, paper.hidden, paper.samples) == (8, 1024, 26)


@pytest.mark.parametrize(
    "changes",
    [
        dict(kind="glow"),
        dict(random_supervision="some"),
        dict(mask_targets="all"),
        dict(samples=2),
        dict(blocks=0),
        dict(weight_mmd=-1),
        dict(head_dropout=1.0),
        dict(unsure=(0.7, 0.2)),
        dict(mask_grid=100),
        dict(bandwidths=(0.1, 0.0)),
        dict(filter_distance=0),
        dict(use_features=False, use_pose2d=False, use_box=False),
    ],
)
def test_bad_settings(changes):
    with pytest.raises((ConfigError, UnknownNameError)):
        humr(**changes)


@pytest.mark.parametrize(
    "changes, error, words",
    [
        (dict(features=None), ConfigError, "use_features=False"),
        (dict(features=torch.zeros(5, 720)), ShapeError, "features=720"),
        (dict(features=torch.full((5, 240), float("nan"))), NotFiniteError, "features"),
        (dict(box=None), ConfigError, "use_box=False"),
        (dict(box=torch.zeros(5, 3)), ConfigError, "focal length"),
        (dict(box=torch.full((5, 3), float("inf"))), NotFiniteError, "box"),
        (dict(box=torch.ones(5, 4)), ShapeError, "box"),
        (dict(scores=torch.zeros(5, 17)), DegeneratePoseError, "person"),
    ],
)
def test_bad_detections(detections, changes, error, words):
    model = humr()
    for call in (lambda d: model.sample(d, 2), lambda d: model.hypotheses(d, 2), model.mode):
        with pytest.raises(error, match=words):
            call(replace(detections, **changes))


def test_other_joint_sets_and_missing_maps(batch, detections):
    with pytest.raises(ShapeError, match="coco_17"):
        humr().mode(Detections.from_keypoints(torch.rand(2, 16, 2) * 100))
    for model, call in (
        (humr(), lambda m, d: m.training_step(batch | {"detections": d})),
        (humr(condition_embedding=True), lambda m, d: m.mode(d)),
    ):
        with pytest.raises(ConfigError, match="heatmaps"):
            call(model, replace(detections, heatmaps=None))


def test_bad_batches(batch):
    model = humr()
    with pytest.raises(ConfigError, match="mask without a pixel"):
        model.features(batch | {"masks": torch.zeros_like(batch["masks"])})
    with pytest.raises(ShapeError, match="keypoints_true"):
        model.features(batch | {"keypoints_true": batch["keypoints_true"][:, :16]})
    with pytest.raises(ShapeError, match="rotations"):
        model.features(batch | {"rotations": batch["rotations"][:, :21]})
    with pytest.raises(NotFiniteError, match="keypoints_true"):
        model.features(batch | {"keypoints_true": batch["keypoints_true"] * float("nan")})
    with pytest.raises(ConfigError, match="box"):
        humr(use_box=False).features(batch | {"detections": replace(batch["detections"], box=None)})
    with pytest.raises(ShapeError, match="rotations"):
        model.rotation_log_prob(batch["rotations"][:2], batch["detections"])
    with pytest.raises(ConfigError, match="whole number"):
        model.hypotheses(batch["detections"], 0)
