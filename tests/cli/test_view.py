"`probpose view`: a page beside a result, refusals, and the option of `lift`."

import json
import re

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from probpose.bodies.pose_files import read_poses
from probpose.cli.view import View, write_view


def read_data(path):
    page = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])


@pytest.fixture(params=[".npz", ".json"])
def result(run, keypoints, weights, tmp_path, request):
    path = tmp_path / f"poses{request.param}"
    done = run("lift", keypoints, "--model", weights, "--skeleton", "coco_17", "--n", 4, "--out", path)
    assert done.exit_code == 0, done.output
    return path


def test_view_shows_what_lift_wrote(run, result):
    done = run("view", result)
    assert done.exit_code == 0 and f"{result.with_suffix('.html')}: a page" in done.output, done.output
    data, records = read_data(result.with_suffix(".html")), read_poses(result)
    assert [row["person"] for row in data["rows"]] == records.person.astype(str).tolist()
    assert len(data["rows"][0]["hypotheses"]) == 4
    assert np.allclose(np.array(data["rows"][1]["mode"])[::3] / 1000, records.mode[1, :, 0], atol=6e-4)
    assert np.allclose(data["rows"][0]["radii"], 1000 * records.radii[0].T, atol=0.51)


def test_pictures_and_the_name_of_the_page(run, result, tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (400, 400)).save(tmp_path / "a.png")
    done = run("view", result, "--out", tmp_path / "page.html", "--pictures", tmp_path / "a.png")
    assert done.exit_code == 0 and len(read_data(tmp_path / "page.html")["pictures"]) == 1, done.output
    assert not (tmp_path / "poses.html").exists()
    done = run("view", result, "--pictures", tmp_path / "none")
    assert done.exit_code == 2 and done.output.startswith("DataFileError")


def test_files_that_are_no_result(run, keypoints, tmp_path):
    (tmp_path / "half.npz").write_bytes(b"PK\x03\x04half")
    np.savez(tmp_path / "pickled.npz", mode=np.array([{}], dtype=object))
    for path in (keypoints, tmp_path / "half.npz", tmp_path / "pickled.npz", tmp_path / "none.npz", tmp_path):
        done = run("view", path, "--out", tmp_path / "page.html")
        assert done.exit_code == 2 and done.output.startswith("DataFileError") and "Traceback" not in done.output
    assert not (tmp_path / "page.html").exists()


def test_a_page_that_cannot_be_written_is_found_first(run, result, tmp_path):
    for path in (tmp_path / "page.pdf", tmp_path / "none" / "page.html"):
        done = run("view", result, "--out", path)
        assert done.exit_code == 2 and "expected" in done.output


def test_the_option_of_another_command(result, tmp_path):
    app = typer.Typer()

    @app.command()
    def show(view: View = None):
        typer.echo("at work")
        write_view(view, read_poses(result))

    done = CliRunner().invoke(app, ["--view", str(tmp_path / "page.html")])
    assert done.exit_code == 0 and read_data(tmp_path / "page.html")["rows"], done.output
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 0 and done.output == "at work\n"
    done = CliRunner().invoke(app, ["--view", str(tmp_path / "none" / "page.html")])
    assert done.exit_code == 2 and "at work" not in done.output
