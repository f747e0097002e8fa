"""DiffPose: the rows of Table 4, sampling, the shared pool, evidence that is not as it should be."""

import pytest
import torch

from probpose.core.batches import PreparedCache
from probpose.core.errors import ConfigError, DegeneratePoseError, ShapeError, UnknownNameError
from probpose.evidence.detections import Detections
from probpose.models import build
from probpose.models.diffpose.config import DiffPoseConfig
from probpose.models.diffpose.model import DiffPose
from probpose.models.pretrained import load_pretrained
from probpose.studies.diffpose import diffpose_variant
from probpose.training.loop import train
from probpose.training.specs import TrainingConfig


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def with_maps(detections, change):
    maps = detections.heatmaps.clone()
    change(maps)
    return Detections.from_heatmaps(maps)


ROWS = [
    "full",
    "sample_free",
    "sample_based",
    "full_heatmap",
    "no_sampling",
    "no_argmax",
    "no_cross_spatial",
    "no_likelihood_scaling",
    "no_transformer",
    "no_dropout",
]


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_table_4_is_a_configuration_that_trains_and_samples(row, seen):
    model = diffpose_variant(row, "smoke")
    assert isinstance(model, DiffPose)
    losses = model.train().training_step(seen, generator=generator())
    losses["loss"].backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.sample(seen.detections, 2, generator()).isfinite().all()


def test_rows_of_table_4_differ_as_the_paper_says():
    config = {row: diffpose_variant(row, "full").config for row in ROWS}
    assert config["full"] == DiffPoseConfig() and (
        config["full"].samples,
        config["full"].steps,
        config["full"].joint_dropout,
    ) == (32, 25, 0.01)
    changed = {row: {k for k, v in vars(c).items() if v != getattr(config["full"], k)} for row, c in config.items()}
    assert changed == {
        "full": set(),
        "sample_free": {"condition"},
        "sample_based": {"condition"},
        "full_heatmap": {"condition"},
        "no_sampling": {"samples"},
        "no_argmax": {"include_argmax"},
        "no_cross_spatial": {"cross_spatial"},
        "no_likelihood_scaling": {"likelihood"},
        "no_transformer": {"transformer"},
        "no_dropout": {"joint_dropout"},
    }


def test_first_layer_shares_the_condition(seen):
    model = build("diffpose", "full").eval()
    with torch.no_grad():
        condition = model.condition(model.points(seen.detections, 31, generator()))
        x, t = torch.randn(20, 6, 48, generator=generator()), torch.full((20, 6), 13)
        literal = model.denoiser(x, t, condition.expand(20, -1, -1))
        shared = model.denoiser.conditioned(x, 13, model.denoiser.projected(condition))
    assert condition.shape == (6, 2048) and (shared - literal).abs().max() < 1e-5 * max(1.0, literal.abs().max().item())


def test_sampling_equals_the_plain_loop(seen):
    model = build("diffpose", "smoke").eval()
    detections = model._own(seen.detections)
    with torch.inference_mode():
        source = generator(4)
        condition = model.condition(model.points(detections, model.config.samples - 1, source))
        x = torch.randn(3, 6, 48, generator=source)
        left = model.schedule.alpha_bars
        for t in range(25, 0, -1):
            beta = model.schedule.betas[t - 1].item()
            epsilon = model.denoiser(x, torch.full((3, 6), t), condition.expand(3, -1, -1))
            x0 = ((x - (1 - left[t]).sqrt().float() * epsilon) / left[t].sqrt().float()).clamp(-30, 30)
            x = (left[t - 1].sqrt() * beta / (1 - left[t])).float() * x0 + (
                (1 - beta) ** 0.5 * (1 - left[t - 1]) / (1 - left[t])
            ).float() * x
            if t > 1:
                x = x + (beta * (1 - left[t - 1]) / (1 - left[t])).sqrt().float() * torch.randn(
                    x.shape, generator=source
                )
    poses = model.sample(seen.detections, 3, generator(4))
    from probpose.models.pose_vectors import vector_to_pose

    assert (vector_to_pose(x / 10) - poses).abs().max() < 1e-4


def test_two_modes_of_a_heatmap_change_the_condition(seen):
    def second_mode(maps):
        maps[0, 15] = maps[0, 15].roll(20, -1) + maps[0, 15]

    model = build("diffpose", "smoke").eval()
    first, second = seen.detections, with_maps(seen.detections, second_mode)

    def condition(d):
        return model.condition(model.points(d, 200, generator()))[0]

    assert not torch.allclose(condition(first), condition(second), atol=1e-3)


def test_a_joint_without_mass_counts_as_dropped(seen):
    def erase(maps):
        maps[1, 15] = 0

    model = build("diffpose", "smoke").eval()
    erased = with_maps(seen.detections, erase)
    poses = model.sample(erased, 4, generator())
    assert poses.isfinite().all() and model.mode(erased).isfinite().all()
    f = model.points(erased, 7, generator())
    kept = torch.ones(6, 16, dtype=torch.bool)
    kept[1, 15] = False
    moved = {**f, "pixels": f["pixels"].clone()}
    moved["pixels"][1, :, 15] = 40  # where nobody is does not matter
    for changed in (f, moved):
        assert torch.equal(model.condition(changed), model.condition(f, kept))


@pytest.mark.parametrize("condition", ["embedding", "argmax", "samples"])
def test_a_person_without_any_mass_is_refused(condition, seen):
    def erase(maps):
        maps[2] = 0

    with pytest.raises(DegeneratePoseError, match="at least 4 joints"):
        build("diffpose", "smoke", condition=condition).sample(with_maps(seen.detections, erase), 2)


def test_maps_of_another_size_are_refused(seen):
    larger = torch.nn.functional.interpolate(seen.detections.heatmaps, size=96)
    model = build("diffpose", "smoke")
    for detections in (
        Detections.from_heatmaps(larger),
        Detections.from_keypoints(seen.detections.keypoints * 3, map_size=96),
    ):
        with pytest.raises(ShapeError, match="64×64.*96×96"):
            model.sample(detections, 2)


def test_another_joint_set_is_refused():
    coco = Detections(torch.rand(2, 17, 2) * 60, torch.ones(2, 17), skeleton="coco_17")
    with pytest.raises(ShapeError, match="mpii_16"):
        build("diffpose", "smoke").sample(coco, 2)


@pytest.mark.parametrize(
    "changes",
    [
        dict(steps=0),
        dict(sampling_steps=0),
        dict(sampling_steps=26),
        dict(samples=0),
        dict(joint_dropout=1.0),
        dict(heads=3),
        dict(reach=0.0),
        dict(clip=-1.0),
        dict(draws=0),
        dict(pool=0),
    ],
)
def test_impossible_settings(changes):
    with pytest.raises(ConfigError):
        build("diffpose", "smoke", **changes)


@pytest.mark.parametrize(
    "changes",
    [
        dict(condition="words"),
        dict(schedule="square"),
        dict(prediction="velocity"),
        dict(sampler="euler"),
        dict(positions="sky"),
    ],
)
def test_unknown_choices(changes):
    with pytest.raises(UnknownNameError, match=next(iter(changes.values()))):
        build("diffpose", "smoke", **changes)


def test_another_sampler_on_the_same_weights(seen, tmp_path):
    model = build("diffpose", "smoke", prediction="x0").eval()
    fast = model.using("dpm", 2)
    assert fast.denoiser is model.denoiser and model.config.sampler == "ancestral"
    assert fast.sample(seen.detections, 3, generator()).shape == (3, 6, 17, 3)
    again = load_pretrained(fast.save_pretrained(tmp_path))
    assert again.config.sampler == "dpm" and torch.equal(
        again.sample(seen.detections, 3, generator()), fast.sample(seen.detections, 3, generator())
    )
    with pytest.raises(UnknownNameError, match="dpm"):
        model.using("euler")
    with pytest.raises(ConfigError, match="steps"):
        model.using("ddim", 0)


def test_keypoints_with_scores_are_enough(seen):
    model = build("diffpose", "smoke").eval()
    certain = Detections.from_keypoints(seen.detections.keypoints * 5)
    doubtful = Detections.from_keypoints(seen.detections.keypoints * 5, torch.full((6, 16), 0.1))
    assert not torch.allclose(model.mode(certain), model.mode(doubtful))


def test_joint_dropout_drops_in_training_only(seen):
    model = build("diffpose", "smoke", joint_dropout=0.9)
    losses = [model.train(mode).training_step(seen, generator=generator())["loss"] for mode in (True, False)]
    never = build("diffpose", "smoke", joint_dropout=0.0).train().training_step(seen, generator=generator())["loss"]
    assert losses[0] != losses[1] and torch.allclose(losses[1], never)


def test_pool_is_shared_by_the_variants_of_an_ablation(data):
    cache, full = PreparedCache(), build("diffpose", "smoke")
    pool = cache.prepare(full, data)
    assert cache.prepare(build("diffpose", "smoke", transformer=False), data) is pool
    assert cache.prepare(build("diffpose", "smoke", pool=5), data).tensors["pixels"].shape[1] == 6
    assert "maps" in cache.prepare(build("diffpose", "smoke", condition="heatmap"), data).tensors
    again = cache.prepare(full, data)
    assert again is not pool and all(torch.equal(again.tensors[name], pool.tensors[name]) for name in pool.tensors)


def test_a_shared_pool_trains_to_the_same_bits(data):
    cache = PreparedCache()
    cache.prepare(build("diffpose", "smoke", transformer=False), data)
    few = TrainingConfig(iterations=3, batch_size=8, device="cpu", progress=False)
    alone, shared = (train(build("diffpose", "smoke"), data, few, prepared=p).trained for p in (None, cache))
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), shared.parameters()))


@pytest.mark.parametrize(
    "changes",
    [
        dict(condition="heatmap"),
        dict(condition="argmax"),
        dict(condition="samples"),
        dict(samples=1),
        dict(samples=1, include_argmax=False),
        dict(pool=3),
        dict(positions="map"),
        dict(seed=1, hidden=16),
    ],
)
def test_settings_that_change_the_features_are_declared(changes, data):
    plain, other = build("diffpose", "smoke"), build("diffpose", "smoke", **changes)
    first, second = (model.prepare(data).tensors for model in (plain, other))
    same = first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert same == (plain.feature_settings() == other.feature_settings())


def test_a_path_ends_with_the_sample(seen):
    model = build("diffpose", "smoke").eval()
    path = model.path(seen.detections, 2, generator(1))
    assert list(path) == list(range(25, 0, -1)) and torch.equal(path[1], model.sample(seen.detections, 2, generator(1)))
