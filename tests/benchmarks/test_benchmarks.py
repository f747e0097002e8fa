"""Contracts of probpose.speed: the plain versions give the same answers as the fast ones. Nothing here tests how fast anything is."""

import copy
import importlib.util
import math

import numpy as np
import pandas as pd
import pytest
import torch

from probpose.benchmarks.limits import matmul_gflop, matmul_peak, memory_bandwidth
from probpose.benchmarks.plain.diffpose import (
    PlainDiffPose,
    PlainDiffPoseTraining,
    PlainDiffusion,
    diffpose_gap,
    plain_channels,
)
from probpose.benchmarks.plain.humr import (
    PlainBody,
    PlainHuMR,
    PlainHuMRTraining,
    humr_gap,
    on_cells,
    plain_joint_mmd,
    random_bodies,
    random_people,
    shared_body,
)
from probpose.benchmarks.plain.poseflow import PlainPoseFlow, PlainTraining, training_gap
from probpose.benchmarks.plain.rendering import pictures_gap, rendered_pictures
from probpose.benchmarks.plain.scores import (
    cps_by_thresholds,
    cps_in_passes,
    curve_fit_bell,
    fit_gap,
    pa_mpjpe_by_svd,
    worker_pool,
)
from probpose.benchmarks.plain.stacked import StackedDiffPose, StackedTraining, _clip_each, stacking_gap
from probpose.benchmarks.plans import RATES, SPEED_PLANS, TARGETS, TASKS
from probpose.benchmarks.report import limits_met, limits_table, ratio_figure, speedup_table, speedups
from probpose.benchmarks.tasks import _measured, _one_by_one, _price_of_few_steps
from probpose.benchmarks.timing import check_agreement, interleaved, median_and_error
from probpose.core.batches import Prepared
from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, DisagreementError, ProbposeError, UnknownNameError
from probpose.data import load
from probpose.data.rendered import unpack_mask
from probpose.evidence.fitting import draw_gaussians, fit_gaussians
from probpose.evidence.gaussians import render_gaussians
from probpose.geometry.crops import crop_coordinates
from probpose.ledger.results import load_curves, load_results
from probpose.losses.mmd import jointwise_mmd
from probpose.metrics.pose import cps, pa_mpjpe
from probpose.models.diffpose.condition import soft_histogram
from probpose.models.diffpose.config import diffpose_config
from probpose.models.diffpose.model import DiffPose
from probpose.models.humr.config import HuMRConfig
from probpose.models.humr.model import HuMR
from probpose.models.humr.networks import inside_mask, pack_masks
from probpose.models.poseflow.config import poseflow_config
from probpose.models.poseflow.model import PoseFlow
from probpose.studies.speed import SpeedStudy
from probpose.training.run import Run, iterate
from probpose.training.specs import TrainingConfig


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def frames():
    return load("synthetic", size=64)


MESH = [
    name for name in ("smplx", "warp", "timm") if importlib.util.find_spec(name) is None
]  # importing them would be slow
with_meshes = pytest.mark.skipif(bool(MESH), reason=f"needs {', '.join(MESH)}: pip install 'probpose[mesh]'")


@pytest.fixture(scope="module")
def body():
    return shared_body()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    if MESH:
        pytest.skip(f"needs {', '.join(MESH)}")
    study = SpeedStudy("smoke", cache=tmp_path_factory.mktemp("speed"))
    return study.run()


def small_model(**changes):
    return PoseFlow(poseflow_config("smoke", **{"hidden": 16, "blocks": 2, "init_scale": 0.2} | changes))


def small_humr(body, people=5, **changes):
    "A network of bodies, a batch of features, some of them left out."
    model = HuMR(HuMRConfig.for_tier("smoke", **changes), body)
    f = model.features(random_people(body, people, seed=1))
    f["kept"] = torch.arange(people) != 2
    return model, f


def small_diffusion(**changes):
    return DiffPose(diffpose_config("smoke", **{"hidden": 32, "condition_features": 24, "steps": 6} | changes))


# ---------------------------------------------------------------------------------------------------------- the clock


def test_candidates_take_turns_and_short_calls_are_repeated():
    ticks = []
    runs = interleaved({"a": lambda: ticks.append("a"), "b": lambda: ticks.append("b")}, repeats=3, warmup=2)
    assert "".join(ticks) == "aabb" + "ab" * 3
    assert list(runs.columns) == ["a", "b"] and runs.index.name == "round" and (runs > 0).all(axis=None)
    ticks.clear()
    interleaved({"a": lambda: ticks.append("a")}, repeats=1, warmup=0, least=1e-3)
    assert len(ticks) > 10


def test_a_failing_candidate_leaves_the_garbage_collector_on():
    import gc

    calls = []

    def fails_later():
        calls.append(1)
        if len(calls) > 1:
            raise KeyError("later")

    with pytest.raises(KeyError):
        interleaved({"a": fails_later}, repeats=2)
    assert gc.isenabled()


@pytest.mark.parametrize("wrong", [dict(repeats=0), dict(repeats=2.5), dict(warmup=-1)])
def test_impossible_counts_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        interleaved({"a": lambda: None}, **wrong)


def test_median_and_error_ignore_one_outlier():
    values = pd.Series(np.linspace(1.0, 2.0, 101))
    middle, error = median_and_error(values)
    outlier = median_and_error(pd.concat([values, pd.Series([1e6])]))
    assert (
        middle == pytest.approx(1.5)
        and outlier[0] == pytest.approx(1.5, abs=0.01)
        and outlier[1] == pytest.approx(error, rel=0.05)
    )
    assert math.isnan(median_and_error(pd.Series([1.0, 2.0]))[1])


# --------------------------------------------------------------------------------------------------------- the limits


def test_operations_are_counted_through_double_backward():
    weight, x = torch.randn(5, 7, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    assert matmul_gflop(lambda: x @ weight) * 1e9 == pytest.approx(2 * 3 * 5 * 7)
    assert matmul_gflop(lambda: torch.autograd.grad((x @ weight).sum(), x, create_graph=True)) * 1e9 == pytest.approx(
        2 * 2 * 3 * 5 * 7
    )
    assert matmul_gflop(lambda: x + 1) == 0


def test_operations_of_fused_layers_are_counted():
    layer = torch.nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, dropout=0.0).eval()
    x = torch.randn(3, 5, 8)
    with torch.inference_mode():
        counted = matmul_gflop(lambda: layer(x)) * 1e9
    assert (
        counted == pytest.approx(2 * 3 * 5 * (4 * 8 * 8 + 2 * 8 * 12 + 2 * 5 * 8))
        and torch.backends.mha.get_fastpath_enabled()
    )
    with pytest.raises(KeyError):
        matmul_gflop(lambda: {}["nothing"])
    assert torch.backends.mha.get_fastpath_enabled()


def test_rates_are_positive_and_sizes_checked():
    assert matmul_peak(32, repeats=1) > 0 and memory_bandwidth(1, repeats=1) > 0
    for wrong in (lambda: matmul_peak(0), lambda: memory_bandwidth(0)):
        with pytest.raises(ConfigError):
            wrong()


# ------------------------------------------------------------------------------------------- both sides, the same
# answer


@pytest.mark.parametrize("changes", [{}, {"best": 1}, {"weight_hm": 0.0}, {"gradient": "all"}])
def test_plain_and_fast_losses_are_equal(frames, changes):
    model = small_model(**changes)
    features = model.prepare(frames).batch(torch.arange(24))
    sure = ~features["uncertain"].any(-1)
    assert 0 < sure.sum() < len(sure)
    if not model.config.weight_hm:  # the fast version does not compute what is not minimised
        features["uncertain"] = torch.zeros_like(features["uncertain"])
    assert training_gap(model, features) < 1e-4


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
    plain = PlainTraining(model, prepared, batch_size=16, seed=3)
    fast = Run(
        copy.deepcopy(model),
        prepared,
        TrainingConfig(iterations=50, batch_size=16, seed=3, progress=False),
        torch.device("cpu"),
    )
    for _ in range(2):
        plain.iterate(), iterate(fast)
    assert torch.equal(plain.noise.get_state(), fast.noise.get_state()) and plain.order.drawn == fast.order.drawn
    for mine, other, start in zip(fast.model.parameters(), plain.model.parameters(), model.parameters()):
        assert mine.numel() == 1 or not torch.equal(mine, start)  # the critic's last bias cancels out of its objective
        assert (mine - other).abs().mean() < 0.1 * model.config.lr


@pytest.mark.parametrize("channels", [2, 5, 16])
def test_channels_at_all_centres_add_up_to_the_histogram(channels):
    positions = torch.cat(
        [4 * torch.rand(2, 30, 3, 2, generator=make_generator(0)) - 2, torch.tensor([-1.0, 1.0]).expand(2, 1, 3, 2)], 1
    )
    weights = torch.rand(2, 31, 3, generator=make_generator(1))
    summed = plain_channels(positions, weights, channels).sum(1)
    assert torch.allclose(summed, soft_histogram(positions, weights, channels), atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{}, {"likelihood": False}, {"prediction": "x0"}, {"positions": "map"}, {"sampler": "ddim", "sampling_steps": 3}],
)
def test_plain_and_fast_diffusion_draw_the_same(frames, changes):
    model, source = small_diffusion(**changes).eval(), make_generator(2)
    with torch.inference_mode():
        points = model.points(frames[:3].detections, model.config.samples - 1, source)
        noise = torch.randn(7, 3, 48, generator=source)
        condition = model.condition(points)
        fast = model._denoised(noise, model.denoiser.projected(condition), model.config.sampler, make_generator(3))
        for tile, again in ((1, False), (5, True), (64, False)):
            plain = PlainDiffusion(model, tile)
            assert torch.allclose(plain.repeated(points, 7), condition.expand(7, -1, -1), atol=1e-5)
            assert torch.allclose(plain.sample(points, noise, make_generator(3), again), fast, atol=1e-4)


def test_the_first_layer_may_be_split_between_image_and_hypothesis(frames):
    denoiser = small_diffusion().denoiser
    x, condition = torch.randn(4, 3, 48, generator=make_generator(0)), torch.randn(3, 24, generator=make_generator(1))
    for t in (1, 6):
        joined = denoiser.first(torch.cat([x, torch.full((4, 3, 1), float(t)), condition.expand(4, -1, -1)], -1))
        shared = (
            torch.nn.functional.linear(x, denoiser.first.weight[:, :48])
            + denoiser.projected(condition)
            + t * denoiser.first.weight[:, 48]
        )
        assert torch.allclose(joined, shared, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{}, {"draws": 3, "prediction": "x0"}, {"joint_dropout": 0.5}, {"joint_dropout": 0.0, "likelihood": False}],
)
def test_plain_diffusion_training_takes_the_same_steps(frames, changes):
    model = small_diffusion(**changes)
    prepared = model.prepare(frames)
    plain = PlainDiffPoseTraining(model, prepared, batch_size=16, seed=3)
    assert diffpose_gap(plain, model, prepared.batch(torch.arange(16))) < 1e-5
    fast = Run(
        copy.deepcopy(model),
        prepared,
        TrainingConfig(iterations=10**6, batch_size=16, seed=3, progress=False),
        torch.device("cpu"),
    )
    for _ in range(2):
        plain.iterate(), iterate(fast)
    assert torch.equal(plain.noise.get_state(), fast.noise.get_state()) and plain.order.drawn == fast.order.drawn
    for mine, other, start in zip(fast.model.parameters(), plain.model.parameters(), model.parameters()):
        assert not torch.equal(mine, start) and (mine - other).abs().mean() < 0.1 * model.config.lr


@pytest.mark.parametrize(
    "changes", [{"joint_dropout": 0.3}, {"draws": 3, "prediction": "x0"}, {"likelihood": False, "joint_dropout": 0.0}]
)
def test_stacked_seeds_have_their_own_gradients(frames, changes):
    models = [small_diffusion(seed=seed, **changes) for seed in range(3)]
    prepared = models[0].prepare(frames)
    assert stacking_gap(models, [prepared.batch(torch.arange(8) + 8 * i) for i in range(3)]) < 1e-3
    assert all(p.grad is None for model in models for p in model.parameters())


def test_stacked_seeds_take_the_steps_of_single_ones(frames):
    models = [small_diffusion(seed=seed, draws=2) for seed in range(2)]
    prepared = models[0].prepare(frames)
    stacked = StackedTraining(models, prepared, batch_size=16)
    for seed, model in enumerate(models):
        run = Run(
            copy.deepcopy(model),
            prepared,
            TrainingConfig(iterations=10**6, batch_size=16, seed=seed, progress=False),
            torch.device("cpu"),
        )
        for _ in range(2):
            iterate(run)
            if seed == 0:
                stacked.iterate()
        for name, p in run.model.named_parameters():
            assert (stacked.weights[name][seed] - p).abs().mean() < 0.1 * model.config.lr, name


def test_gradients_are_clipped_seed_by_seed():
    gradients = [torch.randn(3, 4, 5), torch.randn(3, 6)]
    gradients[0][1], gradients[1][1] = 1e-3 * gradients[0][1], 1e-3 * gradients[1][1]
    before = [g.clone() for g in gradients]
    _clip_each(gradients, 0.5)
    for seed in range(3):
        alone = [torch.nn.Parameter(torch.zeros_like(g[seed])) for g in before]
        for p, g in zip(alone, before):
            p.grad = g[seed].clone()
        torch.nn.utils.clip_grad_norm_(alone, 0.5)
        assert all(torch.allclose(g[seed], p.grad) for g, p in zip(gradients, alone))


@pytest.mark.parametrize(
    "changes", [{"condition": "argmax"}, {"cross_spatial": False}, {"transformer": False}, {"include_argmax": False}]
)
def test_another_embedding_is_refused(changes):
    model = small_diffusion(**changes)
    for wrong in (lambda: PlainDiffPose(model), lambda: StackedDiffPose([model])):
        with pytest.raises(ConfigError, match="embedding"):
            wrong()


def test_only_seeds_may_differ_in_a_stack():
    with pytest.raises(ConfigError, match="same settings"):
        StackedDiffPose([small_diffusion(), small_diffusion(hidden=16)])


@with_meshes
@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_points_without_a_surface_are_those_of_smplx(body, chunk):
    rotations, betas = random_bodies(5, make_generator(3))
    joints, points = PlainBody(body, chunk).points(rotations, betas)
    assert torch.allclose(joints, body.joints(rotations, betas), atol=1e-5) and torch.allclose(
        points, body.points("coco_17", rotations, betas), atol=1e-5
    )


@pytest.mark.parametrize("gap", [0.2, math.nan, math.inf])
def test_what_disagrees_is_not_timed(gap):
    assert check_agreement(0.1, 0.1, "things") == 0.1
    with pytest.raises(DisagreementError, match="things"):
        check_agreement(gap, 0.1, "things")


@with_meshes
@pytest.mark.parametrize(
    "changes",
    [
        {"mask_grid": 128},
        {"mask_grid": 64, "samples": 3},
        {"mask_grid": 128, "mask_dilation": 0, "head_dropout": 0.0, "use_features": False},
    ],
)
def test_plain_and_fast_losses_of_bodies_are_equal(body, changes):
    model, f = small_humr(body, **changes)
    assert humr_gap(PlainHuMR(model), model, f) < 1e-4
    assert model.training_step(f, generator=make_generator(0))["mask"] > 0


@with_meshes
@pytest.mark.parametrize("changes", [{"bandwidths": (0.05,)}, {"weight_2d": 1.0}, {"visible": 0.9}])
def test_a_wrong_loss_of_bodies_is_noticed(body, changes):
    model, f = small_humr(body)
    plain = PlainHuMR(model)
    plain.model.config = plain.config = copy.copy(model.config)
    for name, value in changes.items():
        setattr(plain.config, name, value)
    assert humr_gap(plain, model, f) > 1e-3


@with_meshes
def test_a_loss_that_is_no_number_is_noticed(body):
    model, f = small_humr(body)
    plain = PlainHuMR(model)
    plain.random_terms = lambda *_: {"mmd": torch.tensor(0.0), "mask": torch.tensor(math.nan)}
    assert math.isnan(humr_gap(plain, model, f))


@with_meshes
def test_plain_training_of_bodies_takes_the_same_steps(body):
    model, f = small_humr(body, people=4)
    data = Prepared(f, "people")
    plain = PlainHuMRTraining(model, data, batch_size=4, seed=3)
    fast = Run(
        copy.deepcopy(model),
        data,
        TrainingConfig(iterations=10**6, batch_size=4, seed=3, progress=False),
        torch.device("cpu"),
    )
    for _ in range(2):
        plain.iterate(), iterate(fast)
    assert torch.equal(plain.noise.get_state(), fast.noise.get_state()) and plain.order.drawn == fast.order.drawn
    for mine, other, start in zip(fast.model.parameters(), plain.model.parameters(), model.parameters()):
        assert not torch.equal(mine, start) and (mine - other).abs().mean() < 0.1 * model.config.lr


@with_meshes
@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "additive"},
        {"random_supervision": "all"},
        {"mask_targets": "any"},
        {"weight_mask": 0.0},
        {"condition_embedding": True},
    ],
)
def test_another_objective_of_bodies_is_refused(body, changes):
    with pytest.raises(ConfigError, match="objective"):
        PlainHuMR(HuMR(HuMRConfig.for_tier("smoke", **changes), body))


@pytest.mark.parametrize("grid", [64, 128, 256])
def test_points_on_borders_of_cells_belong_to_one(grid):
    masks = torch.rand(3, 256, 256, generator=make_generator(0)) < 0.5
    packed = pack_masks(masks, grid, 0)
    cells = unpack_mask(packed).view(3, grid, grid)
    pixels = crop_coordinates(
        torch.randint(0, 64, (200, 3, 17, 2), generator=make_generator(1)).float()
    )  # on borders for a finer grid
    anywhere = 2.4 * torch.rand(200, 3, 17, 2, generator=make_generator(2)) - 1.2
    for points in (pixels, anywhere, torch.full((1, 3, 17, 2), 1.0), torch.full((1, 3, 17, 2), -1.0)):
        assert torch.equal(on_cells(points, cells), inside_mask(points, packed))


def test_kernels_of_all_pairs_are_those_of_single_joints():
    x, y = torch.rand(2, 7, 3, 17, 2, generator=make_generator(0))
    widths = (0.05, 0.2, 0.9)
    expected = jointwise_mmd(x, y, bandwidths=[w * w for w in widths], reduction="none")
    assert torch.allclose(plain_joint_mmd(x, y, widths), expected, atol=1e-5)


@with_meshes
def test_bodies_drawn_alone_are_those_drawn_together(body):
    model = HuMR(HuMRConfig.for_tier("smoke"), body).eval()
    one = random_people(body, 1)["detections"]
    together = model.hypotheses(one, 6, make_generator(0))
    with torch.inference_mode():
        rotations, density, seen = _one_by_one(model, one, model._latents(6, 1, make_generator(0)))
    assert torch.allclose(rotations, together.rotations, atol=1e-5) and torch.allclose(
        seen, together.project(), atol=1e-4
    )
    assert torch.allclose(density, together.log_prob, rtol=1e-4) and (seen[1:] != seen[:1]).any()


@with_meshes
def test_rays_and_projected_triangles_give_the_same_picture():
    plain, fast = (rendered_pictures((0, 3), side, 64) for side in ("plain", "fast"))
    assert pictures_gap(plain, fast) < 5e-3
    assert all(torch.equal(plain[name], fast[name]) for name in ("poses", "box", "keypoints_true"))
    for name in ("images", "mask", "person"):
        assert pictures_gap(plain, fast | {name: fast[name].flip(1)}) > 0.05, name
    with pytest.raises(UnknownNameError):
        rendered_pictures((0, 1), "slow", 64)


def test_the_price_of_few_steps_needs_weights(monkeypatch, tmp_path):
    plan = SPEED_PLANS["smoke"]
    monkeypatch.setattr("probpose.benchmarks.tasks.shipped", lambda *_: None)
    assert "untrained" in _price_of_few_steps(plan, 2, "cpu")
    folder = small_diffusion(prediction="x0").save_pretrained(tmp_path)
    monkeypatch.setattr("probpose.benchmarks.tasks.shipped", lambda *_: folder)
    assert f"best of {plan.drawn} PA-MPJPE" in _price_of_few_steps(plan, 2, "cpu")


def test_curve_fit_finds_the_bell_and_the_batched_fit_the_same():
    bells = draw_gaussians(6, make_generator(0))
    maps = render_gaussians(bells)
    plain = [curve_fit_bell(m) for m in maps.numpy()]
    share, shift = fit_gap(plain, fit_gaussians(maps))
    assert share == 1 and shift < 1e-3
    found = torch.from_numpy(np.stack(plain))
    assert torch.allclose(found[:, 0], bells.amplitude.double(), atol=1e-3) and torch.allclose(
        found[:, 1:3], bells.mean.double(), atol=1e-2
    )
    assert torch.allclose(
        found[:, [3, 4, 4, 5]].view(-1, 2, 2), bells.covariance.double(), rtol=1e-2, atol=2e-2
    )  # as near as curve_fit's own tolerance takes it


def test_curve_fit_gives_nan_where_it_gives_up(monkeypatch):
    def gives_up(*_, **__):
        raise RuntimeError("Optimal parameters not found")

    monkeypatch.setattr("probpose.benchmarks.plain.scores.curve_fit", gives_up)
    assert np.isnan(curve_fit_bell(np.eye(8))).all()


def test_scores_agree_with_the_closed_forms(frames):
    target = frames.poses[:4]
    guesses = target + 0.06 * torch.randn(20, *target.shape, generator=make_generator(1))
    loop = cps_by_thresholds(guesses, target)
    assert torch.equal(loop, cps_in_passes(guesses, target))
    above = loop - cps(guesses, target, align=False)
    assert 0 < above.mean() < 1 and above.min() > -1e-3 and above.max() < 1 + 1e-3
    assert torch.allclose(pa_mpjpe_by_svd(guesses, target), pa_mpjpe(guesses, target), atol=1e-2)


def test_a_pool_maps_in_processes_that_are_ready():
    with worker_pool(2) as mapped:
        assert mapped(math.sqrt, [1.0, 4.0, 9.0]) == [1.0, 2.0, 3.0]
    done = []
    with worker_pool(1, lambda: done.append(1)) as mapped:
        assert mapped(lambda x: x + 1, [1]) == [2] and done == [1]
    with pytest.raises(ConfigError), worker_pool(0):
        pass


# ----------------------------------------------------------------------------------------------------------- the study


def test_the_study_writes_what_claims_and_tables_look_for(lab, tmp_path):
    file = lab.save(tmp_path)
    assert file.name == "speed-synthetic-smoke-0.json"
    table = load_results(file)
    times = table[table["metric"] == "time"].set_index(["variant", "hypotheses"])
    assert (
        {
            ("full", 1),
            ("full", 1000),
            ("diffpose", 1),
            ("diffpose", 1000),
            ("diffpose_few", 1000),
            ("gaussian_fit", 1),
            ("detector", 1),
        }
        <= set(times.index)
        and times["stderr"].notna().all()
        and (times["value"] > 0).all()
    )
    assert set(table[table["metric"] == "speedup"]["variant"]) == set(TASKS) >= set(TARGETS)
    rates = table[table["metric"] == "rate"].set_index("variant")["value"]
    assert set(rates.index) == set(RATES) and (rates > 0).all() and not set(RATES) & set(TARGETS)
    assert set(load_curves("runs", file)["task"]) == set(TASKS) and set(load_curves("limits", file)["name"]) == {
        "peak",
        "bandwidth",
    }
    assert table["wall_time"].iloc[0] > 0


def test_the_page_shows_a_better_tier_when_there_is_one(lab, tmp_path, monkeypatch):
    import json

    file = lab.save(tmp_path)
    better = json.loads(file.read_text())
    better["tier"] = "laptop"
    better["curves"]["limits"]["value"] = [1234.0, 56.0]
    (tmp_path / "speed-synthetic-laptop-0.json").write_text(json.dumps(better))
    monkeypatch.setenv("PROBPOSE_RESULTS", str(tmp_path))
    page = SpeedStudy("smoke", cache=tmp_path / "cache")
    page.measured = lab.measured
    assert page.limit("peak") == 1234 and "laptop tier" in page.caption
    with pytest.raises(UnknownNameError):
        page.limit("colour")


def test_tables_and_figure(lab):
    summary = speedups(lab.measured["runs"])
    table = speedup_table(summary, "where").frame
    assert (
        len(table) == len(TASKS)
        and set(table["reached"]) <= {"yes", "no", "–"}
        and (table["reached"] == "–").sum() == len(TASKS) - len(TARGETS) - len(RATES)
    )
    assert "matrix products" in limits_table(summary, 100.0, 10.0).frame["what the limit is"].iloc[0]
    figure = ratio_figure(summary)
    assert len(set(figure.data[0].y)) == len(TASKS) and sorted(figure.data[1].x) == sorted(TARGETS.values())


def test_a_rate_has_a_target_of_its_own(lab):
    runs = lab.measured["runs"]
    for seconds, reached in ((1 / 61, "yes"), (1 / 59, "no")):
        summary = speedups(runs[runs["task"] == "rendering"].assign(fast=seconds))
        table = speedup_table(summary).frame
        assert (
            table["reached"].tolist() == [reached]
            and table["target"].tolist() == ["60 a second"]
            and limits_met(summary.iloc[0]) == (reached == "yes")
        )
    assert limits_met(speedups(runs[runs["task"] == "components"]).iloc[0]) is None


def test_what_did_not_pay_is_shown_as_it_is(lab):
    runs = lab.measured["runs"]
    part = runs[runs["task"] == "seeds_together"].assign(plain=1.0, fast=2.0)
    summary = speedups(pd.concat([runs[runs["task"] == "cps"], part]))
    table, figure = speedup_table(summary).frame, ratio_figure(summary)
    assert (
        table["speed-up"].iloc[1] == "0.50 ×"
        and table["reached"].iloc[1] == "–"
        and summary["rounds"].tolist() == [3, 3]
    )
    assert figure.data[0].x[0] == -0.5 and figure.data[0].base == 1 and figure.layout.xaxis.range[0] < math.log10(0.5)


def test_a_result_from_before_a_row_was_added_is_shown(lab, tmp_path, monkeypatch):
    import json

    older = json.loads(lab.save(tmp_path).read_text())
    older["tier"] = "laptop"
    runs = older["curves"]["runs"]
    kept = [
        i
        for i, task in enumerate(runs["task"])
        if task in ("sampling", "training", "gaussian_fit", "cps", "cps_passes", "pa_mpjpe")
    ]
    older["curves"]["runs"] = {name: [values[i] for i in kept] for name, values in runs.items()}
    (tmp_path / "speed-synthetic-laptop-0.json").write_text(json.dumps(older))
    monkeypatch.setenv("PROBPOSE_RESULTS", str(tmp_path))
    page = SpeedStudy("smoke", cache=tmp_path / "cache")
    page.measured = lab.measured
    assert len(page.summary) == len(speedup_table(page.summary).frame) == 6
    assert len(ratio_figure(page.summary).data[0].y) == 6 and len(limits_table(page.summary, 100.0, 10.0).frame) == 5


def test_unknown_tier_and_task_are_named():
    for wrong in (
        lambda: SpeedStudy("huge"),
        lambda: _measured("speed", {"plain": int, "fast": int}, "", SPEED_PLANS["smoke"], "cpu"),
    ):
        with pytest.raises(ProbposeError):
            wrong()
