"Storage: atomic files, safetensors with a header, refusals; nothing is unpickled."

import errno
import os
import pickle
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from probpose.core.errors import CheckpointError, DiskError, ProbposeError
from probpose.core.storage import (
    load_tensors,
    open_tensors,
    pack,
    read_metadata,
    release_memory,
    save_rows,
    save_tensors,
    unpack,
    write_atomic,
)

DTYPES = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)


@pytest.fixture
def small_disk():
    "A call that lowers the size at which the operating system refuses to write on."
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip_keeps_bits_shapes_and_dtypes(tmp_path, dtype):
    value = (torch.randn(4, 3) * 10).to(dtype)
    sent = {
        "value": value,
        "turned": value.T,
        "row": value[1],
        "wide": value[:1].expand(5, 3),
        "one": value[0, 0],
        "none": value[:0],
    }
    got, _ = load_tensors(save_tensors(tmp_path / "x.safetensors", sent))
    assert got.keys() == sent.keys()
    for name in sent:
        assert got[name].dtype == dtype and got[name].shape == sent[name].shape and torch.equal(got[name], sent[name])


def test_tied_weights_and_parameters_are_written(tmp_path):
    layer = torch.nn.Linear(3, 3)
    got, _ = load_tensors(save_tensors(tmp_path / "x.safetensors", {"a": layer.weight, "b": layer.weight}))
    assert torch.equal(got["a"], got["b"]) and not got["a"].requires_grad


def test_metadata_is_json_and_floats_keep_their_bits(tmp_path):
    about = {"lr": 0.1 + 0.2, "list": [1, None, "é"], "deep": {"x": {"y": True}}}
    path = save_tensors(tmp_path / "x.safetensors", {}, about)
    assert read_metadata(path) == about == load_tensors(path)[1]


@pytest.mark.parametrize(
    "tensors, metadata, word",
    [({"a": [1.0]}, None, "tensor"), ({}, {"a": object()}, "JSON"), ({}, {"a": torch.zeros(1)}, "JSON")],
)
def test_what_cannot_be_stored_is_refused_before_the_file_is_touched(tmp_path, tensors, metadata, word):
    path = save_tensors(tmp_path / "x.safetensors", {"a": torch.ones(1)})
    with pytest.raises(CheckpointError, match=word):
        save_tensors(path, tensors, metadata)
    assert load_tensors(path)[0]["a"] == 1


def test_full_disk_leaves_the_old_file(tmp_path, small_disk):
    path = save_tensors(tmp_path / "x.safetensors", {"a": torch.arange(4.0)}, {"version": 1})
    small_disk(4096)
    with pytest.raises(DiskError, match="unchanged") as caught:
        save_tensors(path, {"a": torch.zeros(100_000)}, {"version": 2})
    assert isinstance(caught.value, OSError) and isinstance(caught.value, ProbposeError)
    small_disk(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    tensors, metadata = load_tensors(path)
    assert metadata == {"version": 1} and torch.equal(tensors["a"], torch.arange(4.0))
    assert os.listdir(tmp_path) == ["x.safetensors"]


@pytest.mark.parametrize("step", ("fsync", "replace"))
def test_failure_at_any_step_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = write_atomic(tmp_path / "note.txt", "old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(DiskError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["note.txt"]


def test_an_interruption_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    write_atomic(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a.txt", "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "old")]


def test_unwritable_place_is_a_typed_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="could not write"):
        write_atomic(tmp_path / "file" / "below.txt", "x")


@pytest.mark.parametrize("keep", (0, 4, 8, 20, 60, -1))
def test_truncated_files_are_refused(tmp_path, keep):
    path = save_tensors(tmp_path / "x.safetensors", {"a": torch.randn(50)}, {"k": 1})
    path.write_bytes(path.read_bytes()[:keep])
    for read in (load_tensors, read_metadata, open_tensors):
        with pytest.raises(CheckpointError, match="truncated"):
            read(path)


def blocks_of(tensors, *lengths):
    "The same tensors in blocks of rows."
    parts = {name: tensor.split(lengths) for name, tensor in tensors.items()}
    return ({name: part[k] for name, part in parts.items()} for k in range(len(lengths)))


def test_rows_in_blocks_are_the_whole(tmp_path):
    kinds = (torch.float64, torch.float32, torch.int64, torch.int32, torch.uint8, torch.bool)
    whole = {str(kind): (torch.randn(11, 3, 2) * 10).to(kind) for kind in kinds} | {"flat": torch.arange(11)}
    path = save_rows(tmp_path / "x.safetensors", blocks_of(whole, 4, 1, 6), 11, {"a": "é"}, lambda _: {"sum": 1})
    for read in (load_tensors, open_tensors):
        found, about = read(path)
        release_memory()
        assert about == {"a": "é", "sum": 1} and found.keys() == whole.keys()
        assert all(torch.equal(found[name], whole[name]) and found[name].dtype == whole[name].dtype for name in whole)


def test_rows_on_a_full_disk_leave_the_old_file(tmp_path, small_disk):
    path = save_tensors(tmp_path / "x.safetensors", {"a": torch.arange(4.0)})
    small_disk(4096)
    with pytest.raises(DiskError, match="unchanged"):
        save_rows(path, blocks_of({"a": torch.zeros(100_000)}, 50_000, 50_000), 100_000, {})
    small_disk(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    assert torch.equal(load_tensors(path)[0]["a"], torch.arange(4.0)) and os.listdir(tmp_path) == ["x.safetensors"]


@pytest.mark.parametrize("wrong", [{"b": torch.zeros(2, 3)}, {"a": torch.zeros(3, 3)}, {"a": torch.zeros(2, 4)}])
def test_blocks_that_do_not_belong_together_are_refused(tmp_path, wrong):
    with pytest.raises(CheckpointError, match="expected"):
        save_rows(tmp_path / "x.safetensors", [{"a": torch.zeros(2, 3)}, wrong], 4, {})
    with pytest.raises(CheckpointError, match="float16"):
        save_rows(tmp_path / "x.safetensors", [{"a": torch.zeros(4, 3).half()}], 4, {})
    assert not os.listdir(tmp_path)


def test_tensors_that_stay_in_their_file_can_leave_memory(tmp_path):
    if not Path("/proc/self/statm").is_file():
        pytest.skip("the memory of a process is read from /proc")

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    tensors, _ = open_tensors(save_tensors(tmp_path / "x.safetensors", {"a": torch.ones(10_000_000)}))
    before = resident()
    assert tensors["a"].sum() == 10_000_000 and resident() - before > 3e7
    release_memory()
    assert resident() - before < 1e7 and tensors["a"][-1] == 1


def test_foreign_missing_and_pickled_files_are_refused(tmp_path):
    save_file({"x": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="another program"):
        load_tensors(tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="there is none"):
        load_tensors(tmp_path / "absent.safetensors")
    with pytest.raises(CheckpointError):
        load_tensors(tmp_path)

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    (tmp_path / "trap.safetensors").write_bytes(pickle.dumps(Trap()))
    torch.save({"a": Trap()}, tmp_path / "trap.pt")
    for name in ("trap.safetensors", "trap.pt"):
        with pytest.raises(CheckpointError):
            load_tensors(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_pack_is_undone_by_unpack_through_a_file(tmp_path):
    tree = {
        "state": {0: {"m": torch.randn(3), "step": torch.tensor(7.0)}, 1: {}},
        "groups": [{"betas": (0.5, 0.9), "lr": 1e-4, "name": None}],
        "flag": True,
    }
    tensors, plain = pack(tree, "adam")
    assert set(tensors) == {"adam.state.0.m", "adam.state.0.step"}
    got, about = load_tensors(save_tensors(tmp_path / "x.safetensors", tensors, {"tree": plain}))
    back = unpack(got, about["tree"])
    assert torch.equal(back["state"][0]["m"], tree["state"][0]["m"])
    assert back["groups"] == tree["groups"] and back["state"][1] == {} and back["flag"] is True
    with pytest.raises(CheckpointError, match="adam.state.0.m"):
        unpack({"adam.state.0.step": torch.zeros(())}, plain)
