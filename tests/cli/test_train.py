"`probpose train` and `evaluate`, and that a mistake ends with one sentence and status 2."

import numpy as np
import pytest

from probpose.studies.plans import study_plan


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
    )
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "poses.npz") as file:
        assert np.isfinite(file["poses"]).all() and ("log_prob" in file) == (model == "mdn")


def test_humr_is_trained_and_evaluated_on_rendered_people(run, tmp_path):
    for module in ("smplx", "warp"):
        pytest.importorskip(module)
    done = run("train", "humr", "--out", tmp_path / "humr", "--tier", "smoke", "--iterations", 1)
    assert done.exit_code == 0 and "1 iterations" in done.output, done.output
    evaluated = run("evaluate", tmp_path / "humr", "--size", 4, "--n", 3, "--out", tmp_path / "evaluated.csv")
    assert evaluated.exit_code == 0 and "mpjpe" in evaluated.output and (tmp_path / "evaluated.csv").exists(), (
        evaluated.output
    )


def test_the_command_line_trains_as_the_studies_do(run, tmp_path, monkeypatch):
    from probpose.training import loop

    wanted = []
    kept = loop.train_stages
    monkeypatch.setattr(loop, "train_stages", lambda *args, **options: wanted.append(args[2]) or kept(*args, **options))
    done = run("train", "diffpose", "--out", tmp_path, "--tier", "smoke", "--device", "cpu")
    plan = study_plan("diffpose", "smoke")
    assert done.exit_code == 0 and wanted[0].iterations == plan.iterations and wanted[0].ema is not None
    assert wanted[0].ema_start == plan.iterations // 10
