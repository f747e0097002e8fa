"`probpose convert-checkpoint`, and that `evaluate --weights` takes what it wrote."

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from probpose.models import build
from probpose.models.elepose.config import ElePoseConfig
from probpose.models.elepose.model import ElePose
from probpose.models.pretrained import load_pretrained


@pytest.fixture
def poseflow(tmp_path):
    "A file of PoseFlow's layout with the weights of a small network of ours."
    model = build("poseflow", "smoke")
    state = {
        name.replace("encoder.", "cond_net.").replace("flow.graph.", "inn."): value
        for name, value in model.inference_state().items()
    }
    torch.save({"net": state}, tmp_path / "original_model.pt")
    return tmp_path / "original_model.pt"


def test_weights_are_converted_and_evaluated(run, poseflow, tmp_path):
    done = run("convert-checkpoint", poseflow, tmp_path / "out", "--clamp", "rounded")
    assert done.exit_code == 0 and "PoseFlow from original_model.pt" in done.output, done.output
    assert "note: assumed: the soft clamp has α = 2 and the form 'rounded'" in done.output
    card = (tmp_path / "out" / "README.md").read_text()
    assert "original_model.pt` (net), SHA-256" in card and "`hidden` = 32" in card and "licence" in card
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        about = json.loads(file.metadata()["probpose"])
    assert about["model"] == "PoseFlow" and about["config"]["own_frame"]
    words = ("--dataset", "synthetic", "--size", 6, "--n", 3, "--device", "cpu", "--out", tmp_path / "scores.csv")
    judged = run("evaluate", "--weights", tmp_path / "out", *words)
    assert judged.exit_code == 0 and "pa_mpjpe" in judged.output, judged.output
    again = run("evaluate", tmp_path / "out", "--data", *words[1:])
    assert again.output == judged.output, "both spellings are one command"


def test_elepose_is_converted_from_its_parts(run, tmp_path):
    model = ElePose(
        ElePoseConfig(hidden=8, shared_blocks=1, branch_blocks=2, prior_layers=1, prior_hidden=8, prior_blocks=2)
    )
    blocks = {"shared.0": "res_common", "depth.0": "res_pose1", "depth.1": "res_pose2"}
    blocks |= {"elevation.0": "res_angle1", "elevation.1": "res_angle2"}
    names = {
        f"{ours}.{mine}": f"{theirs}.{layer}"
        for ours, theirs in blocks.items()
        for mine, layer in (("first", "l1"), ("second", "l2"))
    }
    names |= {"entry": "upscale", "depth.2": "depth", "elevation.2": "angles"}
    lifter = model.lifter.state_dict()
    torch.save(
        {f"{theirs}.{p}": lifter[f"{ours}.{p}"] for ours, theirs in names.items() for p in ("weight", "bias")},
        tmp_path / "lifter.pt",
    )
    torch.save(model.prior.flow.graph.state_dict(), tmp_path / "flow.pt")
    basis = np.eye(34)[[c for c in range(34) if c not in (0, 17)]]
    np.savez(tmp_path / "pca.npz", mean=np.zeros(34), components=basis, explained_variance_ratio=np.ones(32) / 32)
    parts = ("--prior", tmp_path / "flow.pt", "--pca", tmp_path / "pca.npz", "--unit", 120)
    done = run("convert-checkpoint", tmp_path / "lifter.pt", tmp_path / "out", *parts)
    assert done.exit_code == 0 and "divided by 120 pixels" in done.output, done.output
    made = load_pretrained(tmp_path / "out")
    assert float(made.prior.unit) == 120 and made.config.outer_activation
    card = (tmp_path / "out" / "README.md").read_text()
    assert "lifter.pt" in card and "flow.pt" in card
    refused = run("convert-checkpoint", tmp_path / "lifter.pt", tmp_path / "no", *parts[:2])
    assert refused.exit_code == 2 and "--pca" in refused.output and not (tmp_path / "no").exists()


def test_a_refusal_lists_all_keys_and_writes_nothing(run, poseflow, tmp_path):
    state = torch.load(poseflow)["net"]
    state["first.odd"], state["second.odd"] = torch.ones(1), state.pop("cond_net.2.bias")
    torch.save({"net": state}, poseflow)
    done = run("convert-checkpoint", poseflow, tmp_path / "out")
    assert done.exit_code == 2 and done.output.startswith("CheckpointError") and "Traceback" not in done.output
    for words in ("first.odd, second.odd", "cond_net.2.bias", "original_model.pt"):
        assert words in done.output, words
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words, said",
    [
        (("--model", "humr"), "got those of poseflow"),
        (("--model", "vae"), "unknown model 'vae'"),
        (("--clamp", "hard"), "freia_0.2"),
        (("--average",), "'ema'"),
        (("--pca", "x.npz"), "pca"),
    ],
)
def test_wrong_options_are_named(words, said, run, poseflow, tmp_path):
    done = run("convert-checkpoint", poseflow, tmp_path / "out", *words)
    assert done.exit_code == 2 and said in done.output and not (tmp_path / "out").exists(), done.output


def test_evaluate_wants_weights_once(run, poseflow, tmp_path):
    for words in ((), (tmp_path, "--weights", tmp_path)):
        done = run("evaluate", *words)
        assert done.exit_code == 2 and "expected weights once" in done.output, done.output
