"`probpose train` and `evaluate`, and that a mistake ends with one sentence and status 2."

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from probpose.cli.app import app
from probpose.core.devices import seeded
from probpose.core.errors import ConfigError
from probpose.models import build
from probpose.models.convert.backbone import BackboneConfig, OfficialBackbone
from probpose.models.humr.config import HuMRConfig
from probpose.models.humr.model import HuMR
from probpose.models.pretrained import CATALOGUE, TRAINABLE
from probpose.studies import open_study
from probpose.studies.plans import STUDIES, study_plan


@pytest.mark.parametrize(
    "words",
    [
        ("lift", "missing.json"),
        ("lift", "people.txt"),
        ("evaluate", "no-such-weights"),
        ("data", "h36m"),
        ("data", "nothing"),
        ("train", "posflow", "--out", "x", "--tier", "smoke"),
        ("train", "martinez", "--out", "x", "--tier", "huge"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(run, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*words)
    assert done.exit_code == 2 and "Traceback" not in done.output and "Error" in done.output


@pytest.mark.parametrize("model", ["diffpose", "mdn", "cvae"])
def test_every_posterior_trains_and_lifts_from_the_command_line(run, model, keypoints, tmp_path):
    done = run("train", model, "--out", tmp_path / "run", "--tier", "smoke", "--iterations", 2, "--device", "cpu")
    assert done.exit_code == 0, done.output
    done = run(
        "lift",
        keypoints,
        "--model",
        tmp_path / "run",
        "--skeleton",
        "coco_17",
        "--n",
        3,
        "--out",
        tmp_path / "poses.npz",
        *(["--density"] if model == "mdn" else []),
    )
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "poses.npz") as file:
        assert np.isfinite(file["poses"]).all() and ("log_prob" in file) == (model == "mdn")


def test_humr_is_trained_and_evaluated_on_rendered_people(run, tmp_path):
    pytest.importorskip("warp")
    done = run("train", "humr", "--out", tmp_path / "humr", "--tier", "smoke", "--iterations", 1)
    assert done.exit_code == 0 and "1 iterations" in done.output, done.output
    evaluated = run("evaluate", tmp_path / "humr", "--size", 4, "--n", 3, "--out", tmp_path / "evaluated.csv")
    assert evaluated.exit_code == 0 and "mpjpe" in evaluated.output and (tmp_path / "evaluated.csv").exists(), (
        evaluated.output
    )


def test_converted_bodies_are_evaluated_through_their_own_backbone(run, tmp_path):
    pytest.importorskip("warp")
    pytest.importorskip("timm")
    width = 18
    HuMR(HuMRConfig.for_tier("smoke", detector="official", features=15 * width)).save_pretrained(tmp_path / "humr")
    words = ("evaluate", "--weights", tmp_path / "humr", "--size", 4, "--n", 3)
    done = run(*words)
    assert done.exit_code == 2 and "backbone.safetensors" in done.output, done.output
    with seeded(0):
        OfficialBackbone(BackboneConfig(width)).save_pretrained(tmp_path / "humr")
    done = run(*words)
    assert done.exit_code == 0 and "energy_score" in done.output, done.output


class Caught(Exception):
    "Carries what would have been trained."


def what_is_trained(call, monkeypatch):
    "Model, data and training settings of a call that would train."

    def catch(model, dataset, config, *_, **__):
        raise Caught(model, dataset, config)

    monkeypatch.setattr("probpose.studies.runner.train_stages", catch)
    with pytest.raises(Caught) as caught:
        call()
    return caught.value.args


@pytest.mark.parametrize("name", TRAINABLE)
def test_the_command_line_trains_as_the_chapter_does(name, tmp_path, monkeypatch):
    if CATALOGUE[name].chapter == "humr":
        pytest.importorskip("warp")
    words = ["train", name, "--out", str(tmp_path / "out"), "--tier", "smoke", "--seed", "3", "--device", "cpu"]
    chapter, variant = CATALOGUE[name].chapter, CATALOGUE[name].variant
    study = open_study(chapter, tier="smoke", seed=3, device="cpu", cache=tmp_path / "studies").runner
    mine = what_is_trained(lambda: CliRunner().invoke(app, words, catch_exceptions=False), monkeypatch)
    theirs = what_is_trained(lambda: study.trained_model(variant), monkeypatch)
    assert type(mine[0]).__name__.lower() == name and mine[0].config == theirs[0].config
    assert all(map(torch.equal, mine[0].state_dict().values(), theirs[0].state_dict().values()))
    assert mine[1].fingerprint == theirs[1].fingerprint and mine[2] == theirs[2]
    assert mine[0].config == build(name, "smoke", **stated(mine[0].config)).config
    assert (
        mine[2].iterations == STUDIES[chapter].iterations_of(study_plan(chapter, "smoke"), variant)
        and mine[2].seed == 3
    )


def stated(config):
    "What the command line adds to the settings of a tier."
    return {name: getattr(config, name) for name in ("seed", "proportions", "detector") if hasattr(config, name)}


def test_iterations_can_be_others_than_the_plans(tmp_path, monkeypatch):
    words = ["train", "diffpose", "--out", str(tmp_path), "--tier", "smoke", "--iterations", "50", "--device", "cpu"]
    config = what_is_trained(lambda: CliRunner().invoke(app, words, catch_exceptions=False), monkeypatch)[2]
    assert config.iterations == 50 and config.ema is not None and config.ema_start == 5


def test_a_training_is_resumed_in_its_folder(run, tmp_path):
    words = ("train", "mdn", "--out", tmp_path, "--tier", "smoke", "--iterations", 3, "--device", "cpu")
    assert run(*words).exit_code == 0
    weights, log = (tmp_path / "model.safetensors").read_bytes(), (tmp_path / "log.jsonl").read_text()
    (tmp_path / "model.safetensors").unlink()
    assert run(*words).exit_code == 0 and (tmp_path / "log.jsonl").read_text() == log
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    refused = run(*words[:-4], "--iterations", 4, "--device", "cpu")
    assert refused.exit_code == 2 and "belongs to another run" in refused.output


def test_the_help_names_every_model_that_can_be_trained(run):
    help_text = " ".join(run("train", "--help").output.replace("│", " ").split())
    assert "poseflow, elepose, diffpose, fmpose, humr, prohmr, mdn, cvae, cgnf or martinez" in help_text


@pytest.mark.parametrize("split, size", [("test", None), ("train", None), ("test", 7)])
def test_people_are_rendered_as_the_help_of_evaluate_says(run, split, size, tmp_path, monkeypatch):
    def catch(name, split, size, **_):
        raise ConfigError(f"{size} images of {split}")

    monkeypatch.setattr("probpose.data.detected.load_detected", catch)
    folder, plan = build("humr", "smoke").save_pretrained(tmp_path), study_plan("humr", "laptop")
    wanted = size or {"train": plan.train_frames, "test": plan.test_frames}[split]
    done = run("evaluate", folder, "--split", split, *(("--size", size) if size else ()))
    assert f"{wanted} images of {split}" in done.output, done.output
    assert "laptop" in run("evaluate", "--help").output
