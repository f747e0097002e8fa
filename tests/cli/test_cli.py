"""The command line: what it writes, and that a mistake ends with one sentence and status 2."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from probpose.cli.shared import app
from probpose.core.errors import DataFileError
from probpose.evidence.files import read_keypoint_file
from probpose.models import build


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def keypoints(tmp_path):
    xy = np.random.default_rng(0).uniform(100, 300, (2, 17, 2))
    (tmp_path / "people.json").write_text(json.dumps({"keypoints": xy.tolist(), "scores": np.ones((2, 17)).tolist()}))
    return tmp_path / "people.json"


@pytest.fixture
def weights(tmp_path):
    return build("poseflow", "smoke").save_pretrained(tmp_path / "weights")


def test_lift_writes_poses_mode_and_density(keypoints, weights, tmp_path):
    done = run(
        "lift",
        keypoints,
        "--model",
        weights,
        "--skeleton",
        "coco_17",
        "--n",
        4,
        "--out",
        tmp_path / "deep" / "poses.npz",
    )
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "deep" / "poses.npz") as file:
        assert (
            file["poses"].shape == (4, 2, 17, 3)
            and file["mode"].shape == (2, 17, 3)
            and file["log_prob"].shape == (4, 2)
        )


def test_lift_is_deterministic_given_the_seed(keypoints, weights, tmp_path):
    files = [tmp_path / f"{i}.npz" for i in range(3)]
    for file, seed in zip(files, (1, 1, 2)):
        run("lift", keypoints, "--model", weights, "--skeleton", "coco_17", "--n", 2, "--seed", seed, "--out", file)
    first, second, third = (np.load(file)["poses"] for file in files)
    assert (first == second).all() and not (first == third).all()


@pytest.mark.parametrize(
    "content", ["[1, 2", '{"points": []}', '{"keypoints": [1, 2]}', '{"keypoints": [[["a", "b"]]]}']
)
def test_damaged_keypoints_are_refused(content, tmp_path):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(DataFileError, match="keypoints"):
        read_keypoint_file(tmp_path / "bad.json")


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
def test_a_mistake_is_one_sentence_and_status_2(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*words)
    assert done.exit_code == 2 and "Traceback" not in done.output and "Error" in done.output


def test_wrong_joint_order_is_refused(keypoints, weights, tmp_path):
    done = run("lift", keypoints, "--model", weights, "--out", tmp_path / "x.npz")  # 17 joints as MPII-16
    assert done.exit_code == 2 and "16" in done.output and not (tmp_path / "x.npz").exists()


def test_truncated_archives_and_foreign_scores_are_refused(tmp_path):
    np.savez(tmp_path / "whole.npz", keypoints=np.zeros((2, 16, 2)), scores=np.ones(5))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:100])
    (tmp_path / "empty.npz").touch()
    for name in ("whole", "cut", "empty"):
        with pytest.raises(DataFileError, match="keypoints"):
            read_keypoint_file(tmp_path / f"{name}.npz")


def test_people_of_a_table_keep_their_order(tmp_path):
    (tmp_path / "people.csv").write_text("person,joint,x,y,score\n" + "".join(f"{p},0,{p},0,1\n" for p in (2, 10, 9)))
    assert read_keypoint_file(tmp_path / "people.csv")[0][:, 0, 0].tolist() == [2, 10, 9]


def test_pickled_arrays_are_never_loaded(tmp_path, weights):
    np.savez(tmp_path / "evil.npz", keypoints=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataFileError):
        read_keypoint_file(tmp_path / "evil.npz")


@pytest.mark.parametrize("model", ["diffpose", "mdn", "cvae"])
def test_every_posterior_trains_and_lifts_from_the_command_line(model, keypoints, tmp_path):
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


def test_humr_is_trained_and_judged_on_rendered_people(tmp_path):
    for module in ("smplx", "warp"):
        pytest.importorskip(module)
    done = run("train", "humr", "--out", tmp_path / "humr", "--tier", "smoke", "--iterations", 1)
    assert done.exit_code == 0 and "1 iterations" in done.output, done.output
    judged = run("evaluate", tmp_path / "humr", "--size", 4, "--n", 3, "--out", tmp_path / "judged.csv")
    assert judged.exit_code == 0 and "mpjpe" in judged.output and (tmp_path / "judged.csv").exists(), judged.output
