"The authors' files: every wrapper is recognised, nothing in them is run, and what is damaged is named."

import io
import os
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest
import torch

from probpose.core.errors import CheckpointError
from probpose.models.convert import convert_checkpoint
from probpose.models.convert.reading import guess_model, read_official

WEIGHTS = {"cond_net.0.weight": torch.ones(4, 3), "inn.module_list.1.perm": torch.arange(3)}
MARKS = []


def leave_a_mark(*arguments):
    MARKS.append(arguments)
    return torch.ones(1)


class Calls:
    "A pickle that calls a function while it is read."

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Restores:
    "A pickle whose class runs code when its state is set."

    def __setstate__(self, state):
        MARKS.append(state)

    def __reduce__(self):
        return Restores, (), {"a": 1}


MARK = "__import__('os').environ.setdefault('PROBPOSE_MARK', '1')"


def evil():
    return {
        "function": Calls(leave_a_mark, 1),
        "eval": Calls(eval, MARK),
        "exec": Calls(exec, MARK),
        "system": Calls(os.system, "echo PROBPOSE_MARK > evil.txt"),
        "getattr": Calls(getattr, "text", "upper"),
        "load": Calls(torch.load, "evil.pt"),
        "state": Restores(),
    }


@pytest.mark.parametrize("kind", ["function", "eval", "exec", "system", "getattr", "load", "state"])
@pytest.mark.parametrize("where", ["beside", "inside", "key"])
@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle"])
def test_a_file_that_would_run_code_is_refused_and_runs_none(kind, where, form, tmp_path, monkeypatch):
    monkeypatch.delenv("PROBPOSE_MARK", raising=False)
    monkeypatch.chdir(tmp_path)
    payload = evil()[kind]
    tree = {
        "beside": {"net": WEIGHTS, "extra": payload},
        "inside": {"net": {**WEIGHTS, "cond_net.0.bias": payload}},
        "key": {"net": WEIGHTS, "state_dict": [{"a": (payload,)}]},
    }[where]
    path = tmp_path / "evil.pt"
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(tree))
    else:
        torch.save(tree, path, _use_new_zipfile_serialization=form == "zip")
    MARKS.clear()
    with pytest.raises(CheckpointError, match="evil.pt"):
        convert_checkpoint(path)
    assert not MARKS and "PROBPOSE_MARK" not in os.environ and not (tmp_path / "evil.txt").exists()


def test_the_payloads_would_run(tmp_path, monkeypatch):
    "The test above can fail: the same files do run code when they are unpickled without care."
    monkeypatch.setenv("PROBPOSE_MARK", "")
    monkeypatch.delenv("PROBPOSE_MARK")
    monkeypatch.chdir(tmp_path)
    MARKS.clear()
    for kind in ("function", "eval", "system", "state"):
        pickle.loads(pickle.dumps(evil()[kind]))
    assert len(MARKS) == 2 and os.environ["PROBPOSE_MARK"] and (tmp_path / "evil.txt").exists()


def test_the_refusal_names_what_the_file_wanted(saved):
    with pytest.raises(CheckpointError, match="eval"):
        read_official(saved({"net": WEIGHTS, "extra": evil()["eval"]}))


def test_the_stand_in_for_settings_runs_nothing(saved, monkeypatch):
    "Lightning stores yacs nodes beside the weights; they are read as inert dictionaries, whatever class they name."
    module = types.ModuleType("yacs.config")

    class CfgNode(dict):
        def __setstate__(self, state):
            MARKS.append(state)

        def __setitem__(self, key, value):
            MARKS.append(key)
            dict.__setitem__(self, key, value)

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    module.CfgNode = CfgNode
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    node = CfgNode()
    dict.__setitem__(node, "CLAMP", 2.0)
    node.__dict__["__immutable__"] = True
    path = saved({"state_dict": WEIGHTS, "hyper_parameters": {"FREIA_NF": node}, "epoch": 3}, "humr.ckpt")
    MARKS.clear()
    file = read_official(path)
    assert not MARKS and file.entry == "state_dict" and file.beside == ("hyper_parameters", "epoch")
    monkeypatch.delitem(sys.modules, "yacs.config")
    assert set(read_official(path).tensors) == set(WEIGHTS)


@pytest.mark.parametrize("part", [0.0, 0.02, 0.3, 0.7, 0.98])
@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files_are_named(part, zipped, saved):
    path = saved({"net": WEIGHTS | {"big": torch.ones(3000)}}, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(CheckpointError, match="model.pt"):
        read_official(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_files_of_another_kind_are_named(tmp_path, saved):
    np.savez(tmp_path / "poses.npz", a=np.ones(3))
    (tmp_path / "text.pt").write_text("net: 3")
    (tmp_path / "empty.pt").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "zip.pt", "w") as archive:
        archive.writestr("data.pkl", b"\x80\x02}q\x00.")
    script = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), script)
    (tmp_path / "script.pt").write_bytes(script.getvalue())
    for name in ("poses.npz", "text.pt", "empty.pt", "zip.pt", "script.pt", "none.pt"):
        with pytest.raises(CheckpointError, match=name):
            read_official(tmp_path / name)
    for tree, words in (
        ([1, 2], "a list"),
        (torch.ones(3), "a Tensor"),
        ({}, "empty state dict"),
        ({"net": {}}, "empty state dict"),
        ({"net": torch.ones(2)}, "'net', got Tensor"),
        ({"net": {"a.weight": "text"}}, "'a.weight', got str"),
        ({"net": {3: torch.ones(2)}}, "'3'"),
        ({"net": {"a.weight": torch.tensor([1.0, torch.nan])}}, "NaN or infinity in 'a.weight'"),
        ({"net": {"a.weight": torch.eye(2).to_sparse()}}, "a dense tensor under 'a.weight'"),
    ):
        with pytest.raises(CheckpointError) as error:
            read_official(saved(tree))
        assert words in str(error.value) and "model.pt" in str(error.value)


def test_every_wrapper_gives_the_same_tensors(saved):
    halves = {key: value.half() if value.is_floating_point() else value for key, value in WEIGHTS.items()}
    average = {f"{name}.{key}": value for name in ("online_model", "ema_model") for key, value in WEIGHTS.items()}
    trees = {
        "the file itself": dict(WEIGHTS),
        "net": {"net": halves, "opt": {"lr": 0.1}},
        "state_dict": {"state_dict": {f"module.{key}": value for key, value in WEIGHTS.items()}},
        "model": {"step": 3, "model": WEIGHTS, "ema": average, "scaler": {"scale": 2.0}},
    }
    for entry, tree in trees.items():
        file = read_official(saved(tree))
        assert file.entry == entry and guess_model(file) == "poseflow"
        assert {key: (tuple(v.shape), v.dtype) for key, v in file.tensors.items()} == {
            key: (tuple(v.shape), v.dtype) for key, v in WEIGHTS.items()
        }
    assert set(read_official(saved(trees["model"]), average=True).tensors) == set(WEIGHTS)
    with pytest.raises(CheckpointError, match="'ema'"):
        read_official(saved(trees["net"]), average=True)


@pytest.mark.parametrize(
    "keys, model",
    [
        (["cond_net.0.weight", "inn.module_list.0.subnet1.0.weight"], "poseflow"),
        (["module_list.0.global_scale", "module_list.0.w_perm"], "elepose"),
        (["upscale.weight", "res_common.l1.weight"], "elepose"),
        (["inn_2d.module_list.0.global_scale", "depth_estimator.upscale.weight"], "elepose"),
        (["denoise_fn.upscale.weight", "condition_emb.pos_out.weight", "betas"], "diffpose"),
        (["model.flow.module_list.0.subnet1.0.weight", "model.head.fc1.weight"], "humr"),
        (["flow.module_list.0.subnet1.0.weight", "head.fc1.weight"], "humr"),
        (["cond_net.0.weight", "denoise_fn.pose.weight"], None),
        (["encoder.0.weight"], None),
    ],
)
def test_keys_say_whose_network_it_is(keys, model, saved):
    file = read_official(saved({key: torch.ones(2, 2) for key in keys}))
    if model is None:
        with pytest.raises(CheckpointError, match="name the network"):
            guess_model(file)
    else:
        assert guess_model(file) == model
