"`probpose data NAME` describes, `probpose data check NAME PATH` looks without loading."

import numpy as np
import pytest


def test_a_data_set_is_described(run):
    for words in (("data", "synthetic", "--size", 24), ("data", "describe", "synthetic", "--size", 24)):
        done = run(*words)
        assert done.exit_code == 0 and done.output.count("fingerprint") == 2, done.output


def test_options_may_come_first(run):
    assert run("data", "--size", 24, "synthetic").output.count("fingerprint") == 2


def test_what_is_missing_gives_status_1(run, tmp_path, monkeypatch):
    np.savez(tmp_path / "data_3d_h36m.npz", positions_3d={"S1": {"Walking": np.zeros((64, 32, 3), np.float32)}})
    done = run("data", "check", "h36m", tmp_path)
    assert done.exit_code == 1 and "missing" in done.output and "vision.imar.ro" in done.output, done.output
    (tmp_path / "cameras.json").write_text("{}")
    monkeypatch.setenv("PROBPOSE_H36M", str(tmp_path))
    done = run("data", "check", "h36m")
    assert done.exit_code == 0 and "of memory to load" in done.output and "\nmissing" not in done.output, done.output


@pytest.mark.parametrize("words", [("check", "h36m", "/no/such/folder"), ("check", "coco", "."), ("check", "pw3d")])
def test_a_mistake_is_one_sentence_and_status_2(run, words, monkeypatch):
    monkeypatch.delenv("PROBPOSE_PW3D", raising=False)
    done = run("data", *words)
    assert done.exit_code == 2 and "Traceback" not in done.output and "Error" in done.output
