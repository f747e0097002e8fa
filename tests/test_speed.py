"""Contracts of probpose.speed: the plain versions give the same answers as the fast ones. Nothing here tests how fast anything is."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
import torch

from probpose import speed
from probpose.artifacts import load_curves, load_results
from probpose.checks import ConfigError, ProbposeError, UnknownNameError, generator
from probpose.heatmaps import fit_gaussians, random_gaussians, render_gaussians
from probpose.metrics import cps, pa_mpjpe
from probpose.models.poseflow import PoseFlow, poseflow_config


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def frames():
    return speed.load("synthetic", size=64)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    study = speed.SpeedStudy("smoke", cache=tmp_path_factory.mktemp("speed"))
    return study.run()


def small_model(**changes):
    return PoseFlow(poseflow_config("smoke", **{"hidden": 16, "blocks": 2, "init_scale": 0.2} | changes))


# ---------------------------------------------------------------------------------------------------------- the clock


def test_candidates_take_turns_and_short_calls_are_repeated():
    ticks = []
    runs = speed.interleaved({"a": lambda: ticks.append("a"), "b": lambda: ticks.append("b")}, repeats=3, warmup=2)
    assert "".join(ticks) == "aabb" + "ab" * 3
    assert list(runs.columns) == ["a", "b"] and runs.index.name == "round" and (runs > 0).all(axis=None)
    ticks.clear()
    speed.interleaved({"a": lambda: ticks.append("a")}, repeats=1, warmup=0, least=1e-3)
    assert len(ticks) > 10


def test_a_failing_candidate_leaves_the_garbage_collector_on():
    import gc

    calls = []

    def fails_later():
        calls.append(1)
        if len(calls) > 1:
            raise KeyError("later")

    with pytest.raises(KeyError):
        speed.interleaved({"a": fails_later}, repeats=2)
    assert gc.isenabled()


@pytest.mark.parametrize("wrong", [dict(repeats=0), dict(repeats=2.5), dict(warmup=-1)])
def test_impossible_counts_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        speed.interleaved({"a": lambda: None}, **wrong)


def test_median_and_error_ignore_one_outlier():
    values = pd.Series(np.linspace(1.0, 2.0, 101))
    middle, error = speed.median_and_error(values)
    outlier = speed.median_and_error(pd.concat([values, pd.Series([1e6])]))
    assert middle == pytest.approx(1.5) and outlier[0] == pytest.approx(1.5, abs=0.01) and outlier[1] == pytest.approx(error, rel=0.05)
    assert math.isnan(speed.median_and_error(pd.Series([1.0, 2.0]))[1])


# --------------------------------------------------------------------------------------------------------- the limits


def test_operations_are_counted_through_double_backward():
    weight, x = torch.randn(5, 7, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    assert speed.matmul_gflop(lambda: x @ weight) * 1e9 == pytest.approx(2 * 3 * 5 * 7)
    assert speed.matmul_gflop(lambda: torch.autograd.grad((x @ weight).sum(), x, create_graph=True)) * 1e9 == pytest.approx(2 * 2 * 3 * 5 * 7)
    assert speed.matmul_gflop(lambda: x + 1) == 0


def test_rates_are_positive_and_sizes_checked():
    assert speed.matmul_peak(32, repeats=1) > 0 and speed.memory_bandwidth(1, repeats=1) > 0
    for wrong in (lambda: speed.matmul_peak(0), lambda: speed.memory_bandwidth(0)):
        with pytest.raises(ConfigError):
            wrong()


# ------------------------------------------------------------------------------------------- both sides, the same answer


@pytest.mark.parametrize("changes", [{}, {"best": 1}, {"weight_hm": 0.0}, {"gradient": "all"}])
def test_plain_and_fast_losses_are_equal(frames, changes):
    model = small_model(**changes)
    features = model.prepare(frames).batch(torch.arange(24))
    sure = ~features["uncertain"].any(-1)
    assert 0 < sure.sum() < len(sure)
    if not model.config.weight_hm:  # the fast version does not compute what is not minimised
        features["uncertain"] = torch.zeros_like(features["uncertain"])
    assert speed.training_gap(model, features) < 1e-4


def test_a_wrong_loss_is_noticed(frames):
    model = small_model()
    features = model.prepare(frames).batch(torch.arange(16))
    model.config.best = 2
    plain = speed.PlainPoseFlow(model)
    plain.config = copy.copy(model.config)
    plain.config.best = 1
    assert float(plain.flow_losses(features, generator(0))["mb"].detach()) != pytest.approx(float(model.training_step(features, "flow", generator(0))["mb"].detach()), rel=1e-4)


def test_plain_training_takes_the_same_steps(frames):
    model = small_model()
    prepared = model.prepare(frames)
    plain = speed.PlainTraining(model, prepared, batch_size=16, seed=3)
    fast = speed._Run(copy.deepcopy(model), prepared, speed.TrainingConfig(iterations=50, batch_size=16, seed=3, progress=False), torch.device("cpu"))
    for _ in range(2):
        plain.iterate(), speed._iterate(fast)
    assert torch.equal(plain.noise.get_state(), fast.noise.get_state()) and plain.order.drawn == fast.order.drawn
    for mine, other, start in zip(fast.model.parameters(), plain.model.parameters(), model.parameters()):
        assert mine.numel() == 1 or not torch.equal(mine, start)  # the critic's last bias cancels out of its objective
        assert (mine - other).abs().mean() < 0.1 * model.config.lr


def test_curve_fit_finds_the_bell_and_the_batched_fit_the_same():
    bells = random_gaussians(6, generator(0))
    maps = render_gaussians(bells)
    plain = [speed.curve_fit_bell(m) for m in maps.numpy()]
    share, shift = speed.fit_gap(plain, fit_gaussians(maps))
    assert share == 1 and shift < 1e-3
    found = torch.from_numpy(np.stack(plain))
    assert torch.allclose(found[:, 0], bells.amplitude.double(), atol=1e-3) and torch.allclose(found[:, 1:3], bells.mean.double(), atol=1e-2)
    assert torch.allclose(found[:, [3, 4, 4, 5]].view(-1, 2, 2), bells.covariance.double(), rtol=1e-2, atol=2e-2)  # as near as curve_fit's own tolerance takes it


def test_curve_fit_gives_nan_where_it_gives_up(monkeypatch):
    def gives_up(*_, **__):
        raise RuntimeError("Optimal parameters not found")

    monkeypatch.setattr(speed, "curve_fit", gives_up)
    assert np.isnan(speed.curve_fit_bell(np.eye(8))).all()


def test_scores_agree_with_the_closed_forms(frames):
    target = frames.poses[:4]
    guesses = target + 0.06 * torch.randn(20, *target.shape, generator=generator(1))
    loop = speed.cps_by_thresholds(guesses, target)
    assert torch.equal(loop, speed.cps_in_passes(guesses, target))
    above = loop - cps(guesses, target, align=False)
    assert 0 < above.mean() < 1 and above.min() > -1e-3 and above.max() < 1 + 1e-3
    assert torch.allclose(speed.pa_mpjpe_by_svd(guesses, target), pa_mpjpe(guesses, target), atol=1e-2)


def test_a_pool_maps_in_processes_that_are_ready():
    with speed.worker_pool(2) as mapped:
        assert mapped(math.sqrt, [1.0, 4.0, 9.0]) == [1.0, 2.0, 3.0]
    with speed.worker_pool(1) as mapped:
        assert mapped(lambda x: x + 1, [1]) == [2]
    with pytest.raises(ConfigError), speed.worker_pool(0):
        pass


# ----------------------------------------------------------------------------------------------------------- the study


def test_the_study_writes_what_claims_and_tables_look_for(lab, tmp_path):
    file = lab.save(tmp_path)
    assert file.name == "speed-synthetic-smoke-0.json"
    table = load_results(file)
    times = table[table["metric"] == "time"].set_index(["variant", "hypotheses"])
    assert {("full", 1), ("full", 1000), ("gaussian_fit", 1)} <= set(times.index) and times["stderr"].notna().all() and (times["value"] > 0).all()
    assert set(table[table["metric"] == "speedup"]["variant"]) == set(speed.TASKS) >= set(speed.TARGETS)
    assert set(load_curves("runs", file)["task"]) == set(speed.TASKS) and set(load_curves("limits", file)["name"]) == {"peak", "bandwidth"}
    assert table["wall_time"].iloc[0] > 0


def test_the_page_shows_a_better_tier_when_there_is_one(lab, tmp_path, monkeypatch):
    import json

    file = lab.save(tmp_path)
    better = json.loads(file.read_text())
    better["tier"] = "laptop"
    better["curves"]["limits"]["value"] = [1234.0, 56.0]
    (tmp_path / "speed-synthetic-laptop-0.json").write_text(json.dumps(better))
    monkeypatch.setenv("PROBPOSE_RESULTS", str(tmp_path))
    page = speed.SpeedStudy("smoke", cache=tmp_path / "cache")
    page.measured = lab.measured
    assert page.limit("peak") == 1234 and "laptop tier" in page.caption
    with pytest.raises(UnknownNameError):
        page.limit("colour")


def test_tables_and_figure(lab):
    summary = speed.speedups(lab.measured["runs"])
    table = speed.speedup_table(summary, "where").frame
    assert len(table) == len(speed.TASKS) and set(table["reached"]) <= {"yes", "no", "–"} and (table["reached"] == "–").sum() == 1
    assert "matrix products" in speed.limits_table(summary, 100.0, 10.0).frame["what the limit is"].iloc[0]
    figure = speed.ratio_figure(summary)
    assert len(figure.data[0].x) == len(speed.TASKS) and sorted(figure.data[1].x) == sorted(speed.TARGETS.values())


def test_unknown_tier_and_task_are_named():
    for wrong in (lambda: speed.SpeedStudy("huge"), lambda: speed._measured("speed", {"plain": int, "fast": int}, "", speed.SPEED_PLANS["smoke"], "cpu")):
        with pytest.raises(ProbposeError):
            wrong()
