"`probpose audit`: from two files to a page, numbers for programs, and refusals in one line."

import json

import numpy as np
import pytest
import torch

from probpose.data import load
from probpose.evaluation.audit import audit_hypotheses
from probpose.evaluation.hypothesis_files import match_rows, read_predictions, read_truth, save_truth

FAST = ("--bootstrap", 30, "--device", "cpu")


@pytest.fixture(scope="module")
def frames():
    return load("synthetic", split="test", size=60)


@pytest.fixture(scope="module")
def files(frames, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    noise = 0.03 * torch.randn(30, *frames.poses.shape, generator=torch.Generator().manual_seed(0))
    np.savez(folder / "p.npz", poses=(1000 * (frames.poses + noise)).numpy())
    return folder / "p.npz", save_truth(frames, folder / "t.npz")


def test_page_numbers_and_table_are_those_of_the_audit(run, files, tmp_path):
    page, numbers = tmp_path / "page.html", tmp_path / "n.json"
    done = run("audit", *files, "--out", page, "--json", numbers, "--seed", 3, *FAST)
    assert done.exit_code == 0, done.output
    first, second, notes = match_rows(read_predictions(files[0]), read_truth(files[1]))
    wanted = audit_hypotheses(first, second, 30, 3, notes, device="cpu").to_dict()
    assert json.loads(numbers.read_text()) == json.loads(json.dumps(wanted))
    text = page.read_text(encoding="utf-8")
    assert "p.npz against t.npz" in text and wanted["verdict"][1] in text and wanted["verdict"][1] in done.output
    best = next(r for r in wanted["accuracy"] if (r["metric"], r["statistic"]) == ("mpjpe", "best"))
    line = next(line for line in done.output.splitlines() if line.startswith("MPJPE, best of 30"))
    assert f"{best['value']:.1f}  [{best['low']:.1f}, {best['high']:.1f}] mm" in line
    assert "read as millimetres" in done.output


def test_what_lift_writes_is_audited_as_it_is(run, tmp_path, frames):
    points = frames.crop.from_map(frames.detections.keypoints)
    np.savez(tmp_path / "k.npz", keypoints=points.numpy(), scores=np.ones((60, 16)), frame=np.arange(60))
    lifted = ("lift", tmp_path / "k.npz", "--model", "poseflow", "--skeleton", "mpii_16", "--n", 6)
    truth = save_truth(frames, tmp_path / "t.npz")
    for name in ("p.npz", "p.json"):
        done = run(*lifted, "--out", tmp_path / name)
        assert done.exit_code == 0, done.output
        done = run("audit", tmp_path / name, truth, "--out", tmp_path / "page.html", *FAST)
        assert done.exit_code == 0 and "MPJPE, the file's mode" in done.output, done.output


def test_options_for_files_that_say_nothing(run, files, frames, tmp_path):
    turned = frames.poses[None].repeat(4, 1, 1, 1)[..., [0, 2, 1]] * torch.tensor([1.0, 1.0, -1.0])
    turned = turned + 0.02 * torch.randn(turned.shape, generator=torch.Generator().manual_seed(1))
    np.savez(tmp_path / "p.npz", poses=turned.swapaxes(0, 1).numpy())
    np.savez(tmp_path / "t.npz", poses=(frames.poses[..., [0, 2, 1]] * torch.tensor([1.0, 1.0, -1.0])).numpy())
    names = (tmp_path / "p.npz", tmp_path / "t.npz", "--out", tmp_path / "page.html", *FAST)
    done = run("audit", *names)
    assert done.exit_code == 2 and "--order frames-first" in done.output
    done = run("audit", *names, "--order", "frames-first", "--axes", "x,-z,y", "--skeleton", "h36m_17", "--unit", "m")
    assert done.exit_code == 0 and "conventions" not in done.output and "points up" not in done.output, done.output
    done = run("audit", tmp_path / "p.npz", files[1], *names[2:], "--order", "frames-first")
    assert done.exit_code == 0 and "warning: Predictions fit the truth much better in the axes x,-z,y" in done.output


@pytest.mark.parametrize(
    "words, said",
    [
        (("--unit", "metres"), "they look like millimetres"),
        (("--unit", "inches"), "unit 'inches'"),
        (("--skeleton", "smpl_24"), "24 joints of smpl_24, got 17"),
        (("--skeleton", "nobody"), "unknown skeleton"),
        (("--axes", "up"), "x,-z,y"),
        (("--order", "mine"), "frames-first"),
        (("--bootstrap", "3"), "at least 20"),
        (("--out", "page.pdf"), ".html"),
        (("--out", "none/page.html"), "folder none"),
        (("--json", "numbers.csv"), ".json"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(run, files, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    done = run("audit", *files, *words)
    assert done.exit_code == 2 and said in done.output and len(done.output.splitlines()) == 1, done.output
    assert not list(tmp_path.iterdir())


def test_files_that_are_none(run, files, tmp_path):
    np.savez(tmp_path / "pickled.npz", poses=np.array([{}], dtype=object))
    (tmp_path / "cut.npz").write_bytes(files[0].read_bytes()[:-1000])
    np.savez(tmp_path / "few.npz", poses=np.load(files[0])["poses"][:, :50])
    for bad in ("pickled.npz", "cut.npz", "few.npz", "none.npz"):
        done = run("audit", tmp_path / bad, files[1], "--out", tmp_path / "page.html")
        assert done.exit_code == 2 and done.output.startswith("DataFileError"), done.output
        assert "50 frames" in done.output if bad == "few.npz" else bad in done.output
    done = run("audit", files[0], tmp_path / "pickled.npz", "--out", tmp_path / "page.html")
    assert done.exit_code == 2 and "pickled" in done.output and not (tmp_path / "page.html").exists()
