"""Networks whose inner tensors are outputs as well: nothing else of them changes."""

import struct
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import probpose
from probpose.core.devices import make_generator
from probpose.core.errors import CheckpointError, ConfigError
from probpose.vision.blazepose import INNER
from probpose.vision.litert import answer, load_network, with_outputs

FILE = Path(probpose.__file__).parent / "weights" / "blazepose" / "pose_landmark_full.tflite"
TENSORS = [tensor for tensor, _ in INNER.values()]


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(3, 256, 256, 3, generator=make_generator(0))


@pytest.fixture(scope="module")
def networks():
    pytest.importorskip("ai_edge_litert")
    return load_network(FILE, 1), load_network(FILE, 1, TENSORS)


def test_its_own_outputs_stay_the_same_to_the_last_bit(networks, pictures):
    plain, open_one = networks
    for picture in pictures:
        own = answer(plain, picture)
        for mine, other in zip(own, answer(open_one, picture)[: len(own)], strict=True):
            assert torch.equal(mine, other)


def test_inner_tensors_are_those_that_litert_keeps_on_request(networks, pictures):
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that keeping everything takes memory
        keeping = Interpreter(str(FILE), num_threads=1, experimental_preserve_all_tensors=True)
    keeping.allocate_tensors()
    keeping.set_tensor(0, pictures[:1].numpy())
    keeping.invoke()
    for (tensor, width), found in zip(INNER.values(), answer(networks[1], pictures[0])[-3:], strict=True):
        kept = keeping.get_tensor(tensor)[0]
        assert found.shape[-1] == width and np.allclose(found, kept, atol=1e-4 * np.abs(kept).max())


def test_answers_depend_on_no_earlier_picture(networks, pictures):
    first = answer(networks[1], pictures[0])
    answer(networks[1], pictures[1])
    assert all(torch.equal(*pair) for pair in zip(first, answer(networks[1], pictures[0])))


def test_files_and_tensors_that_are_none():
    content = FILE.read_bytes()
    for wrong in (
        b"",
        b"TFL3",
        content[:40],
        b"\x1c\0\0\0TFL2" + content[8:],
        struct.pack("<I", 1 << 30) + content[4:],
    ):
        with pytest.raises(CheckpointError, match="TensorFlow Lite"):
            with_outputs(wrong, [1])
    for tensor in (-1, 535):
        with pytest.raises(ConfigError, match="below 535"):
            with_outputs(content, [tensor])


def test_networks_that_cannot_be_read(tmp_path, monkeypatch):
    pytest.importorskip("ai_edge_litert")
    with pytest.raises(CheckpointError, match="no such file"):
        load_network(tmp_path / "a.tflite", 1)
    (tmp_path / "a.tflite").write_bytes(FILE.read_bytes()[:1000])
    for inner in ([], [251]):
        with pytest.raises(CheckpointError):
            load_network(tmp_path / "a.tflite", 1, inner)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ConfigError, match=r"probpose\[photo\]"):
        load_network(FILE, 1)
