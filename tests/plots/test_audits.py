"The page of an audit: what is in it, what it never asks for, and that a browser draws it."

import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

from probpose.core.errors import ConfigError, DiskError
from probpose.data import load
from probpose.evaluation.audit import audit_hypotheses
from probpose.evaluation.hypothesis_files import Predictions, Truth, read_truth, save_truth
from probpose.plots.audits import audit_html, write_audit

EVIL = "</script><img src=x onerror=alert(1)>\"'&{{data}}{{plotly}}\u2028<!--\udc80"


class Elements(html.parser.HTMLParser):
    "All elements of a page with their attributes, and the text of scripts and headings."

    def __init__(self, page):
        super().__init__()
        self.found, self.scripts, self.headings, self.cells, self._open = [], [], [], [], None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append("")
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open == "script":
            self.scripts[-1] += data
        if self._open == "h2":
            self.headings.append(data)
        if self._open == "td":
            self.cells[-1] += data


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    path = tmp_path_factory.mktemp("audits") / "truth.npz"
    truth = read_truth(save_truth(load("synthetic", split="test", size=60), path))
    truth.labels["action"][:30] = EVIL
    return truth


def predict(truth, count=40):
    noise = 0.05 * torch.randn(count, *truth.poses.shape, generator=torch.Generator().manual_seed(0))
    noise[:, :, 0] = 0
    return Predictions(truth.poses + noise, truth.poses + noise[0], EVIL, notes=(EVIL,))


@pytest.fixture(scope="module")
def whole(truth):
    predictions = predict(truth)
    return audit_hypotheses(predictions, truth, 40, device="cpu", progress=False), predictions


@pytest.fixture(scope="module")
def page(whole, truth):
    return audit_html(*whole, truth, title=EVIL)


def test_the_page_loads_nothing(page):
    elements = Elements(page)
    assert len(elements.scripts) == 3
    assert all(set(attrs) <= {"type", "id"} for tag, attrs in elements.found if tag == "script")
    assert not {"link", "iframe", "object", "embed", "img", "form", "base"} & {tag for tag, _ in elements.found}
    assert not [attrs for _, attrs in elements.found if {"src", "href", "action", "style", "onload"} & set(attrs)]
    policy = next(a["content"] for _, a in elements.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';") and "http" not in policy and "connect-src" not in policy
    own = page.replace(elements.scripts[1], "")
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest|WebSocket|import\(", own)
    assert len(page.encode()) < 5.5e6


def test_every_section_is_there_and_says_the_numbers(page, whole):
    elements, audit = Elements(page), whole[0]
    assert elements.headings == [
        *("Verdict", "Objections", "Accuracy", "Proper scores", "Calibration", "Symmetry and plausibility"),
        *("Reprojection", "Frames", "What was done with the files"),
    ]
    rows = audit.accuracy.set_index(["metric", "statistic"]).value
    assert [c.strip() for c in elements.cells[:3]] == [
        f"{rows['mpjpe', statistic]:.1f}" for statistic in ("best", "mean", "mode")
    ]
    row = audit.scores.iloc[0]
    start = elements.cells.index(f"{row.without_spread:.1f}")
    assert elements.cells[start - 1].strip() == f"{row.value:.1f}"
    assert audit.verdict[1] in page


def test_every_figure_has_its_place_and_its_numbers(page, whole, truth):
    figures, elements = json.loads(Elements(page).scripts[0]), Elements(page)
    places = [attrs["id"] for _, attrs in elements.found if attrs.get("class") == "plot"]
    assert sorted(places) == sorted(figures) and len(places) == 8
    coverage = whole[0].coverage
    drawn = next(t for t in figures["coverage"]["data"] if t.get("name") == "90 % region")
    assert np.allclose(drawn["y"], coverage[(coverage.level == 0.9) & (coverage.joint != "all")].observed, atol=1e-4)
    worst = int(whole[0].frames.mpjpe.argmax())
    pose = next(t for t in figures["frame-0"]["data"] if t.get("name") == "ground truth")
    heights = [-float(v) for v in truth.poses[worst, :, 1]]
    assert np.isclose(max(v for v in pose["z"] if v is not None), max(heights), atol=2e-3)


def test_names_are_text(page):
    assert "onerror=alert(1)>" not in page.replace("&gt;", "") or "<img" not in page
    assert page.count("&lt;/script&gt;&lt;img") >= 3 and "{{data}}" in page


def test_one_pose_without_key_points_has_a_page(truth, tmp_path):
    plain, single = Truth(truth.poses), predict(truth, 1)
    found = audit_hypotheses(single, plain, 40, device="cpu", progress=False)
    page = write_audit(tmp_path / "a.html", found, single, plain).read_text(encoding="utf-8")
    headings = Elements(page).headings
    assert "Calibration" not in headings and "Proper scores" not in headings and "Reprojection" in headings
    assert "no key points" in page and "1 hypothesis of 60 frames" in page


def test_places_that_take_no_page(whole, truth, tmp_path):
    for path, error in ((tmp_path / "a.pdf", ConfigError), (tmp_path / "none" / "a.html", DiskError)):
        with pytest.raises(error):
            write_audit(path, *whole, truth)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser at hand")
def test_a_browser_draws_the_page_without_complaint(page, tmp_path):
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    flags = "--headless=new --no-sandbox --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader".split()
    flags += ["--enable-logging=stderr", "--v=0", f"--user-data-dir={tmp_path / 'profile'}"]
    flags += ["--virtual-time-budget=20000", "--dump-dom", f"file://{tmp_path / 'a.html'}"]
    done = subprocess.run(["chromium", *flags], capture_output=True, text=True, timeout=180)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "willReadFrequently" not in line]
    assert said == []
    drawn = Elements(re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)).found
    places = [attrs for _, attrs in drawn if "plot" in attrs.get("class", "").split() and "id" in attrs]
    assert len([attrs for attrs in places if attrs.get("data-drawn") == "yes"]) == 8
