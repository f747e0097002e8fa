"Training: exact resume after SIGKILL, order of the data, faults; on a toy with two phases, dropout, EMA and schedules."

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import probpose
from probpose.core.devices import make_generator, wants_progress
from probpose.core.errors import CheckpointError, ConfigError, DiskError, DivergedError, UnknownNameError
from probpose.core.storage import load_tensors, save_tensors
from probpose.training.loop import train
from probpose.training.order import BatchOrder
from probpose.training.specs import TrainingConfig
from probpose.training.steps import Phase


def spec(parameters, lr, **options):
    plain = dict(betas=(0.9, 0.999), weight_decay=0.0, schedule=None, clip_value=None, clip_norm=None, algorithm="adam")
    return SimpleNamespace(parameters=list(parameters), lr=lr, **(plain | options))


class Points:
    def __init__(self, n=70):
        self.points, self.fingerprint = torch.randn(n, 2, generator=make_generator(n)), f"points-{n}"

    def __len__(self):
        return len(self.points)

    def to(self, device):
        return self

    def batch(self, indices):
        return {"points": self.points[indices]}


class Duel(nn.Module):
    config = "toy"
    learning_rate = 1e-2

    def __init__(self, width=16):
        super().__init__()
        self.forger = nn.Sequential(
            nn.Linear(2, width), nn.BatchNorm1d(width), nn.Dropout(0.2), nn.ReLU(), nn.Linear(width, 2)
        )
        self.judge = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 1))
        with torch.no_grad():
            for p, g in zip(self.parameters(), range(100)):
                p.copy_(0.5 * torch.randn(p.shape, generator=make_generator(g)))

    def phases(self):
        return ("judge", "judge", "forger")

    def optimisers(self):
        return {
            "judge": spec(
                self.judge.parameters(),
                self.learning_rate,
                betas=(0.5, 0.9),
                clip_value=15.0,
                algorithm="adamw",
                weight_decay=1e-2,
            ),
            "forger": spec(
                self.forger.parameters(), self.learning_rate, schedule=lambda done: 1.0 - done, clip_norm=1.0
            ),
        }

    def training_step(self, batch, phase="main", generator=None):
        real = batch["points"]
        fake = self.forger(torch.randn(real.shape, generator=generator))
        if phase == "judge":
            gap = self.judge(fake.detach()).mean() - self.judge(real).mean()
            return {"loss": gap + 0.1 * self.judge(real).square().mean(), "gap": gap}
        return {"loss": -self.judge(fake).mean()}


HUNDRED = dict(iterations=100, batch_size=16, seed=3, ema=0.9, ema_every=3, log_every=7, progress=False, device="cpu")


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def without_clock(log):
    return log.drop(columns="seconds").to_dict("list")


def child(run_dir, stop, every):
    "A run in its own process that announces iteration `stop` and then waits to be killed; `stop` 0 never waits."

    def on_log(row):
        print(row["iteration"], flush=True)
        if stop and row["iteration"] >= stop:
            time.sleep(60)

    train(Duel(), Points(), TrainingConfig(**HUNDRED, checkpoint_every=every), run_dir, on_log=on_log)


def killed(run_dir, stop, every, delay=0.0):
    "Run `child` until it announces `stop`, then end it with SIGKILL."
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(probpose.__file__).parents[1])}
    command = [sys.executable, __file__, str(run_dir), str(0 if delay else stop), str(every)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    for line in process.stdout:
        if int(line) >= stop:
            break
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.fixture(scope="module")
def straight():
    return train(Duel(), Points(), TrainingConfig(**HUNDRED))


def test_fifty_kill_fifty_is_a_hundred_bit_for_bit(tmp_path, straight):
    killed(tmp_path, stop=77, every=50)  # past the checkpoint at 50, in the middle of a line of the log
    torch.rand(11)  # the state of the process that resumes is of no importance
    resumed = train(Duel(), Points(), TrainingConfig(**HUNDRED, checkpoint_every=50), tmp_path)
    assert resumed.resumed_from == 50 and resumed.iterations == 100
    assert same(resumed.model, straight.model) and same(resumed.ema_model, straight.ema_model)
    assert without_clock(resumed.log) == without_clock(straight.log)


def test_killed_while_saving_all_the_time(tmp_path, straight):
    """With a checkpoint after every iteration the kill lands, more often than not, inside the writing of one (a line
    is logged just before).
    """
    killed(tmp_path, stop=14, every=1, delay=0.004)
    resumed = train(Duel(), Points(), TrainingConfig(**HUNDRED, checkpoint_every=30), tmp_path)
    assert (
        13 <= resumed.resumed_from < 100
        and same(resumed.model, straight.model)
        and same(resumed.ema_model, straight.ema_model)
    )
    assert not list(tmp_path.glob(".*.partial"))


def test_same_seed_same_bits_other_seed_other_weights(straight):
    torch.rand(5)
    assert same(train(Duel(), Points(), TrainingConfig(**HUNDRED)).model, straight.model)
    assert not same(train(Duel(), Points(), TrainingConfig(**(HUNDRED | {"seed": 4}))).model, straight.model)


def test_global_random_state_is_given_back():
    model, before = Duel(), torch.get_rng_state()
    train(model, Points(), TrainingConfig(iterations=3, progress=False))
    assert torch.equal(torch.get_rng_state(), before)


def test_loop_equals_plain_adam():
    "The oracle: the same optimisation written down with nothing but torch.optim.Adam."

    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor([2.0, -1.0]))

        def phases(self):
            return ("main",)

        def optimisers(self):
            return {"main": spec([self.w], 0.1, schedule=lambda done: 0.5 if done >= 0.5 else 1.0, clip_value=0.3)}

        def training_step(self, batch, phase="main", generator=None):
            return {"loss": (batch["points"] @ self.w - 1).square().mean()}

    data, model = Points(30), Line()
    train(model, data, TrainingConfig(iterations=40, batch_size=10, seed=1, progress=False, device="cpu"))
    w, order = nn.Parameter(torch.tensor([2.0, -1.0])), BatchOrder(30, 10, seed=1)
    adam = torch.optim.Adam([w], lr=0.1)
    for step in range(40):
        adam.param_groups[0]["lr"] = 0.1 if step < 20 else 0.05
        adam.zero_grad()
        (data.points[order.next()] @ w - 1).square().mean().backward()
        nn.utils.clip_grad_value_([w], 0.3)
        adam.step()
    assert torch.allclose(model.w, w, atol=1e-6) and not torch.allclose(w, torch.tensor([2.0, -1.0]), atol=0.5)


def test_a_phase_moves_its_own_parameters_only():
    model = Duel()
    specs = model.optimisers()
    model.phases = lambda: ("forger",)
    before = [p.clone() for p in model.judge.parameters()]
    train(model, Points(), TrainingConfig(iterations=3, progress=False))
    assert all(torch.equal(a, b) for a, b in zip(before, model.judge.parameters())) and all(
        p.grad is None for p in model.judge.parameters()
    )
    assert set(specs) == {"judge", "forger"}


def test_prepared_features_are_used():
    "A model that offers `prepare` computes its inputs once for the whole data set."

    class Prepares(Duel):
        calls = 0

        def prepare(self, dataset):
            self.calls += 1
            doubled = Points(len(dataset))
            doubled.points = doubled.points * 2
            return doubled

    model = Prepares()
    train(model, Points(), TrainingConfig(**(HUNDRED | {"iterations": 5})))
    plain = Duel()
    train(plain, Points(), TrainingConfig(**(HUNDRED | {"iterations": 5})))
    assert model.calls == 1 and not same(model, plain)


class Breaks(Duel):
    "Its loss is NaN from the given iteration on; or its weights, while the losses are still finite."

    def __init__(self, at, weights=False):
        super().__init__()
        self.at, self.weights, self.calls = at, weights, 0

    def training_step(self, batch, phase="main", generator=None):
        losses = super().training_step(batch, phase, generator)
        self.calls += 1
        if phase == "forger" and self.calls >= 3 * self.at:
            if self.weights:
                self.forger[0].weight.register_hook(lambda gradient: gradient * float("nan"))
            else:
                losses["loss"] = losses["loss"] * float("nan")
        return losses


def test_nan_loss_stops_names_the_loss_and_keeps_the_checkpoint(tmp_path):
    config = TrainingConfig(iterations=100, log_every=10, checkpoint_every=10, progress=False)
    with pytest.raises(DivergedError, match="forger/loss") as caught:
        train(Breaks(35), Points(), config, tmp_path)
    assert "30 and 40" in str(caught.value) and "checkpoint.safetensors" in str(caught.value)
    tensors, _ = load_tensors(tmp_path / "checkpoint.safetensors")
    assert all(value.isfinite().all() for value in tensors.values() if value.is_floating_point())
    assert train(Duel(), Points(), config, tmp_path / "other").iterations == 100
    with pytest.raises(DivergedError, match="no checkpoint was kept"):
        train(Breaks(5), Points(), config)


def test_nan_weights_are_never_saved(tmp_path):
    "At the checkpoint of iteration 10 all losses are finite, but the last step has just broken the weights."
    config = TrainingConfig(iterations=100, log_every=10, checkpoint_every=5, progress=False)
    model = Breaks(10, weights=True)
    model.forger[0].weight.register_hook(lambda gradient: gradient)
    with pytest.raises(DivergedError, match="weight forger"):
        train(model, Points(), config, tmp_path)
    state = dict(load_tensors(tmp_path / "checkpoint.safetensors")[1]["state"]["$items"])
    assert state["iteration"] == 5


@pytest.mark.parametrize(
    "change",
    (
        dict(model=Duel(17)),
        dict(data=Points(71)),
        dict(config=dict(seed=9)),
        dict(config=dict(iterations=101)),
        dict(config=dict(ema=None)),
        dict(rate=1e-3),
    ),
    ids=lambda change: next(iter(change)),
)
def test_another_run_refuses_the_checkpoint_and_can_overwrite_it(tmp_path, change):
    base = HUNDRED | {"iterations": 4}
    train(Duel(), Points(), TrainingConfig(**base), tmp_path)
    model, data, config = (
        change.get("model", Duel()),
        change.get("data", Points()),
        TrainingConfig(**(base | change.get("config", {}))),
    )
    model.learning_rate = change.get("rate", Duel.learning_rate)
    with pytest.raises(CheckpointError, match="another run"):
        train(model, data, config, tmp_path)
    assert train(model, data, config, tmp_path, resume=False).resumed_from == 0
    assert train(model, data, config, tmp_path).resumed_from == config.iterations


def test_what_does_not_change_the_result_may_change(tmp_path, straight):
    first = HUNDRED | {"iterations": 100}

    class Stop(Exception):
        pass

    def stop(row):
        if row["iteration"] > 60:
            raise Stop

    with pytest.raises(Stop):
        train(Duel(), Points(), TrainingConfig(**first, checkpoint_every=20), tmp_path, on_log=stop)
    resumed = train(
        Duel(),
        Points(),
        TrainingConfig(**(first | {"log_every": 50, "progress": True, "checkpoint_every": 33})),
        tmp_path,
    )
    assert resumed.resumed_from == 60 and same(resumed.model, straight.model)


@pytest.mark.parametrize("damage", ("cut", "text", "other"))
def test_damaged_checkpoints_are_refused(tmp_path, damage):
    config = TrainingConfig(**(HUNDRED | {"iterations": 4}))
    train(Duel(), Points(), config, tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    elif damage == "text":
        path.write_text("not a checkpoint")
    else:
        save_tensors(path, {"w": torch.zeros(1)}, {"model": "Duel"})
    with pytest.raises(CheckpointError):
        train(Duel(), Points(), config, tmp_path)


def test_full_disk_keeps_the_old_checkpoint(tmp_path):
    config = TrainingConfig(**(HUNDRED | {"iterations": 20}), checkpoint_every=5)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(row):
        if row["iteration"] == 7:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))

    try:
        with pytest.raises(DiskError, match="unchanged"):
            train(Duel(), Points(), config, tmp_path, on_log=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    resumed = train(Duel(), Points(), config, tmp_path)
    assert resumed.resumed_from == 5
    assert same(resumed.model, train(Duel(), Points(), config).model)


def test_full_disk_while_logging_is_a_typed_error_and_the_run_goes_on_later(tmp_path):
    config = TrainingConfig(**(HUNDRED | {"iterations": 20}), checkpoint_every=7)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(row):
        if row["iteration"] == 14:
            resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "log.jsonl").stat().st_size + 20, limits[1]))

    try:
        with pytest.raises(DiskError, match="could not write"):
            train(Duel(), Points(), config, tmp_path, on_log=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    resumed, whole = train(Duel(), Points(), config, tmp_path), train(Duel(), Points(), config)
    assert (
        resumed.resumed_from == 7
        and same(resumed.model, whole.model)
        and without_clock(resumed.log) == without_clock(whole.log)
    )


def test_run_dir_that_is_a_file_is_a_typed_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="run_dir"):
        train(Duel(), Points(), TrainingConfig(iterations=1), tmp_path / "file")


def test_log_file_and_callback_tell_the_same(tmp_path):
    rows = []
    result = train(Duel(), Points(), TrainingConfig(**(HUNDRED | {"iterations": 20})), tmp_path, on_log=rows.append)
    written = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert written == rows == result.log.to_dict("records") and [row["iteration"] for row in rows] == [7, 14, 20]
    assert {"judge/loss", "judge/gap", "forger/loss", "judge/lr", "forger/lr", "seconds"} <= set(rows[0])


def test_no_number_is_read_back_between_lines_of_the_log(monkeypatch):
    "Reading a tensor stalls an accelerator; the loop may do it when a line is due and at no other time."
    reads = []
    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda self, *a, _f=original, _n=name, **k: (reads.append(_n), _f(self, *a, **k))[1]
        )
    counts = []
    train(
        Duel(),
        Points(),
        TrainingConfig(**(HUNDRED | {"iterations": 60, "log_every": 20})),
        on_log=lambda row: counts.append(len(reads)),
    )
    assert len(counts) == 3 and counts[0] == 1 and counts[2] - counts[1] == 1, (counts, reads)


class Strange(Duel):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.calls = kind, 0

    def phases(self):
        return ("juge",) if self.kind == "phase" else super().phases()

    def optimisers(self):
        specs = super().optimisers()
        if self.kind == "frozen":
            specs["judge"] = spec([], 1e-3)
        if self.kind == "algorithm":
            specs["judge"] = spec(self.judge.parameters(), 1e-3, algorithm="lion")
        return specs

    def training_step(self, batch, phase="main", generator=None):
        self.calls += 1
        losses = super().training_step(batch, phase, generator)
        if self.kind == "nothing":
            return {"total": losses["loss"]}
        return losses | ({"extra": losses["loss"]} if self.kind == "changing" and self.calls == 4 else {})


@pytest.mark.parametrize(
    "kind, error, word",
    [
        ("phase", UnknownNameError, "juge"),
        ("frozen", ConfigError, "parameters"),
        ("algorithm", UnknownNameError, "lion"),
        ("nothing", ConfigError, "'loss'"),
        ("changing", ConfigError, "extra"),
    ],
)
def test_models_that_break_the_contract_get_a_sentence(kind, error, word):
    with pytest.raises(error, match=word):
        train(Strange(kind), Points(), TrainingConfig(**(HUNDRED | {"iterations": 5})))


def test_empty_data_and_unknown_device_are_refused():
    with pytest.raises(ConfigError, match="data set"):
        train(Duel(), Points(0), TrainingConfig(iterations=1))
    with pytest.raises(ConfigError, match="abacus"):
        train(Duel(), Points(), TrainingConfig(iterations=1, device="abacus"))


def test_average_starts_as_a_copy_and_then_follows():
    plain = HUNDRED | {"iterations": 20, "ema_every": 1}
    copied = train(Duel(), Points(), TrainingConfig(**(plain | {"ema_start": 20})))
    assert same(copied.model, copied.ema_model) and copied.trained is copied.ema_model
    assert not same(copied.model, train(Duel(), Points(), TrainingConfig(**plain)).ema_model)
    assert train(Duel(), Points(), TrainingConfig(**(plain | {"ema": None}))).ema_model is None


def test_graphs_without_cuda_fall_back_with_a_message():
    with pytest.warns(UserWarning, match="without graphs"):
        result = train(Duel(), Points(), TrainingConfig(**(HUNDRED | {"iterations": 5}), cuda_graphs=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(result.model, train(Duel(), Points(), TrainingConfig(**(HUNDRED | {"iterations": 5}))).model)


def test_recording_prepares_records_once_and_replays(monkeypatch):
    "The order of events around a CUDA graph, with a stand-in for the graph (which records and computes nothing)."
    events = []

    class Graph:
        def register_generator_state(self, noise):
            events.append("register")

        def replay(self):
            events.append("replay")

    class Stream:
        def __init__(self, *_):
            pass

        def wait_stream(self, other):
            events.append("wait")

    for name, stand_in in dict(
        CUDAGraph=Graph,
        Stream=Stream,
        current_stream=Stream,
        synchronize=lambda: None,
        stream=lambda s: contextlib.nullcontext(),
        graph=lambda g: contextlib.nullcontext(),
    ).items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr("probpose.training.run.wants_graphs", lambda config, device: True)
    result = train(Duel(), Points(), TrainingConfig(**(HUNDRED | {"iterations": 10})))
    assert events.count("register") == 2 and events.count("wait") == 2 * 6 and events.count("replay") == 30 - 6
    assert events[:4] == ["wait"] * 4 and result.log["forger/lr"].tolist() == pytest.approx([4e-3, 1e-3])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA device")
def test_graphs_train_like_plain_steps_on_cuda():
    class OnDevice(Points):
        def to(self, device):
            self.points = self.points.to(device)
            return self

    class Quiet(Duel):
        def training_step(self, batch, phase="main", generator=None):
            real = batch["points"]
            fake = self.forger(torch.randn(real.shape, generator=generator, device=real.device))
            return {
                "loss": (self.judge(fake.detach()).mean() - self.judge(real).mean())
                if phase == "judge"
                else -self.judge(fake).mean()
            }

    results = []
    for graphs in (False, True):
        model = Quiet()
        model.forger[2] = nn.Identity()
        results.append(
            train(
                model,
                OnDevice(),
                TrainingConfig(**(HUNDRED | {"device": "cuda", "iterations": 30, "cuda_graphs": graphs})),
            )
        )
    for a, b in zip(results[0].model.parameters(), results[1].model.parameters()):
        assert torch.allclose(a, b, atol=1e-3)


def test_capturable_phase_reads_its_rate_from_memory():
    parameter = nn.Parameter(torch.ones(2))
    phase = Phase("main", spec([parameter], 0.1, schedule=lambda done: 1 - done), torch.device("cpu"), capturable=False)
    phase.set_rate(0.5)
    assert phase.optimiser.param_groups[0]["lr"] == 0.05 and phase.optimiser.param_groups[0]["fused"]


def test_progress_is_for_people(monkeypatch):
    assert wants_progress(True) and not wants_progress(False)
    monkeypatch.setenv("CI", "1")
    assert not wants_progress(None)
    monkeypatch.delenv("CI")
    monkeypatch.setenv("PROBPOSE_PROGRESS", "0")
    assert not wants_progress(None)


def test_bar_shows_losses_and_time_left(capfd):
    train(Duel(), Points(), TrainingConfig(**(HUNDRED | {"iterations": 30, "progress": True})))
    shown = capfd.readouterr().err
    assert "Duel" in shown and "forger/loss=" in shown and "30/30" in shown and "<" in shown
    train(Duel(), Points(), TrainingConfig(**(HUNDRED | {"iterations": 30})))
    assert capfd.readouterr().err == ""


if __name__ == "__main__":
    torch.set_num_threads(1)
    child(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
