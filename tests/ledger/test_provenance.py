"Where a number comes from, without names."

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from probpose.ledger.places import book_folder
from probpose.ledger.provenance import ABSOLUTE_PATH, anonymise, code_version, provenance
from probpose.ledger.results import load_result, save_result

BOOK = book_folder()


@pytest.mark.parametrize(
    "text, cleaned",
    [
        ("/home/anna/x.npz", "<path>"),
        ("~/cmu", "<path>"),
        (r"C:\Users\anna", "<path>"),
        ("data from '/srv/a b'", "data from '<path> b'"),
        ("mm/px", "mm/px"),
        ("book/results", "book/results"),
        ("a / b", "a / b"),
        ("path=/x/y,z", "path=<path>,z"),
        ("anna on crunch7", "<user> on <host>"),
        ("annals", "annals"),
    ],
)
def test_nobody_is_named(monkeypatch, text, cleaned):
    monkeypatch.setattr("socket.gethostname", lambda: "crunch7.example.org")
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    assert anonymise(text) == cleaned
    assert anonymise({"k": [Path(text)]})["k"] == [cleaned] or text.startswith("~") or "\\" in text


def test_save_result_cleans_the_provenance(make_result, tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "crunch7")
    text = save_result(
        make_result(provenance={"parameters": {"path": "/home/anna/cmu"}, "note": "on crunch7"}), tmp_path
    ).read_text()
    assert "crunch7" not in text and "anna" not in text


def test_provenance_is_complete():
    about = provenance({"blocks": 8}, data="f00d", wall_time=1.0)
    assert set(about) == {"commit", "dirty", "parameters", "data", "hardware", "versions", "wall_time"} and {
        "python",
        "torch",
    } <= set(about["versions"])
    json.dumps(about, allow_nan=False)


def test_committed_results_name_nobody_and_are_complete():
    for path in (BOOK / "results").glob("*.json"):
        result = load_result(path)
        assert path.name == result.filename
        assert {"commit", "parameters", "data", "hardware", "versions", "wall_time"} <= set(result.provenance), (
            path.name
        )
        assert not ABSOLUTE_PATH.search(json.dumps(result.provenance)), path.name


def _git(folder, *words):
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", *words],
        check=True,
        capture_output=True,
    )


def test_the_commit_and_whether_the_code_differs_from_it(tmp_path):
    (tmp_path / "probpose").mkdir()
    (tmp_path / "book" / "results").mkdir(parents=True)
    for name in ("probpose/a.py", "book/results/r.json"):
        (tmp_path / name).write_text("1")
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "first")
    commit, dirty = code_version(tmp_path / "probpose")
    assert re.fullmatch(r"[0-9a-f]{10}", commit) and not dirty
    (tmp_path / "book" / "results" / "r.json").write_text("2")
    assert not code_version(tmp_path / "probpose")[1], "a result being written is no change of the code"
    (tmp_path / "probpose" / "a.py").write_text("2")
    assert code_version(tmp_path / "probpose")[1]
    (tmp_path / "elsewhere").mkdir()
    assert code_version(tmp_path / "elsewhere") == ("unknown", False)
