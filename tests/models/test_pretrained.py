"""Weights that are not what they should be."""

import pytest

import probpose
from probpose.core.errors import CheckpointError, UnknownNameError
from probpose.core.storage import load_tensors, save_tensors
from probpose.models import build
from probpose.models.poseflow.model import PoseFlow
from probpose.models.pretrained import load_pretrained


def test_weights_of_another_model_are_refused(tmp_path):
    build("martinez", "smoke").save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="expected weights of PoseFlow, found Martinez"):
        PoseFlow.from_pretrained(tmp_path)


def test_weights_of_another_shape_truncated_or_unknown(tmp_path):
    folder = build("martinez", "smoke").save_pretrained(tmp_path / "a")
    file = folder / "model.safetensors"
    tensors, about = load_tensors(file)
    about["config"]["hidden"] = 32
    save_tensors(file, tensors, about)
    with pytest.raises(CheckpointError, match="do not fit"):
        load_pretrained(folder)
    save_tensors(file, tensors, {"model": "Oracle", "config": {}})
    with pytest.raises(CheckpointError, match="Oracle"):
        load_pretrained(folder)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(CheckpointError):
        load_pretrained(folder)
    with pytest.raises(UnknownNameError, match="packaged"):
        probpose.load("no-such-weights")
