"A result as one page: what is in it, what it never asks for, and that a browser draws it."

import base64
import dataclasses
import html.parser
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

from probpose.bodies.tracks import PoseRecords
from probpose.core.errors import ConfigError, DataFileError, DiskError, ShapeError
from probpose.geometry.conversions import convert
from probpose.geometry.skeletons import H36M_17, MPII_16
from probpose.metrics.reprojection import ALARM
from probpose.plots.viewer import view_html, write_viewer

Image = pytest.importorskip("PIL.Image")

EVIL = "</script><img src=x onerror=alert(1)>\"'&{{data}}{{plotly}}\u2028<!--\udc80.png"


class Elements(html.parser.HTMLParser):
    "All elements of a page with their attributes, and the text of scripts."

    def __init__(self, page):
        super().__init__()
        self.found, self.scripts, self.title, self._open = [], [], "", None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open == "script":
            self.scripts[-1] += data
        if self._open == "title":
            self.title += data


def read_data(page):
    return json.loads(Elements(page).scripts[0])


def make_records(frames=3, people=2, n=6, **changes):
    "People who stand in a row of 300 pixels each, and walk to the right."
    g = torch.Generator().manual_seed(0)
    rows = frames * people
    modes = 0.3 * torch.randn(rows, 17, 3, generator=g)
    modes = modes - modes[:, :1]
    frame, person = np.repeat(np.arange(frames), people), np.tile(np.arange(people), frames)
    flat = convert(modes, H36M_17, MPII_16, approximate=True)[..., :2].numpy()
    places = 150 * flat + np.stack([200 + 300 * person + 2 * frame, np.full(rows, 250)], -1)[:, None]
    more = {
        "keypoints": places.astype(np.float32),
        "scores": np.full((rows, 16), 0.9, np.float32),
        "covariance": np.tile(np.diag([9.0, 4.0]), (rows, 16, 1, 1)).astype(np.float32),
        "box": np.concatenate([places.min(1), places.max(1)], 1).astype(np.float32),
    }
    poses = modes + 0.05 * torch.randn(n, rows, 17, 3, generator=g) if n else None
    whole = PoseRecords(modes, poses, frame=frame, person=person, fps=25.0, model="poseflow", more=more)
    return dataclasses.replace(whole, **changes)


def save_picture(path, size=(900, 600), colour="red"):
    Image.new("RGB", size, colour).save(path)
    return path


def decode(address):
    assert address.startswith("data:image/jpeg;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))


def test_the_page_loads_nothing():
    page, _ = view_html(make_records())
    elements = Elements(page)
    assert len(elements.scripts) == 3 and all(
        set(attrs) <= {"type", "id"} for tag, attrs in elements.found if tag == "script"
    )
    assert not {"link", "iframe", "object", "embed", "img", "form", "base"} & {tag for tag, _ in elements.found}
    assert not [attrs for _, attrs in elements.found if {"src", "href", "action", "style", "onload"} & set(attrs)]
    policy = next(
        attrs["content"] for _, attrs in elements.found if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none';") and "http" not in policy and "connect-src" not in policy
    own = page.replace(elements.scripts[1], "")
    addresses = set(re.findall(r"https?://[^\s\"']*", own))
    assert addresses == {"http://www.w3.org/2000/svg"}, "a name of SVG, not an address"
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|WebSocket|import\(", own)


def test_the_numbers_are_those_of_the_records():
    records = make_records()
    data = read_data(view_html(records)[0])
    assert [frame["rows"] for frame in data["frames"]] == [[0, 1], [2, 3], [4, 5]]
    assert [frame["label"] for frame in data["frames"]] == ["0 (0.00 s)", "1 (0.04 s)", "2 (0.08 s)"]
    for k, row in enumerate(data["rows"]):
        for pose, expected in [(row["mode"], records.mode[k])] + list(zip(row["hypotheses"], records.poses[:, k])):
            right, away, up = np.array(pose).reshape(17, 3).T / 1000
            assert np.allclose(np.stack([right, -up, away], 1), expected, atol=6e-4)
        assert np.allclose(row["places"], records.more["keypoints"][k], atol=0.051)
        assert row["covariance"] == [[9, 0, 4]] * 16 and row["seen"] == [1] * 16 and row["unseen"] == []
        assert row["person"] == str(k % 2) and row["error"] < 0.1 and row["flagged"] is False
        far = (records.poses[:, k] - records.mode[k]).norm(dim=-1)
        assert np.allclose(row["radii"], 1000 * torch.quantile(far, torch.tensor([0.5, 0.9]), dim=0), atol=0.51)
    assert data["people"] == 2 and data["pause"] == 40 and data["alarm"] == ALARM


def test_names_are_text(tmp_path):
    records = make_records(1, image=np.array([EVIL, EVIL]), source=f"a/{EVIL}", model=EVIL)
    records.more["person_name"] = np.array([EVIL, "b"])
    write_viewer(tmp_path / "a.html", records)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    plain = view_html(make_records(1))[0]
    elements = Elements(page)
    assert [tag for tag, _ in elements.found] == [tag for tag, _ in Elements(plain).found]
    data = read_data(page)
    assert elements.scripts[1:] == Elements(plain).scripts[1:] and data["rows"][0]["person"] == EVIL.replace(
        "\udc80", "?"
    )
    assert data["title"] == elements.title == EVIL.split("/")[-1].replace("\udc80", "?")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", elements.scripts[2])


def test_joints_that_were_not_seen_stand_where_the_mode_has_them():
    records = make_records(1, 1)
    true = records.more["keypoints"].copy()
    records.more["keypoints"][0, 2] = np.nan
    records.more["keypoints"][0, 15] = 0
    records.more["keypoints"][0, 9] += 7
    records.more["scores"][0, [9, 15]] = 0
    (row,) = read_data(view_html(records)[0])["rows"]
    assert [k for k in range(16) if not row["seen"][k]] == [2, 9, 15]
    assert np.allclose(np.array(row["places"])[[2, 15]], true[0, [2, 15]], atol=0.2)
    assert np.allclose(row["places"][9], true[0, 9] + 7, atol=0.1), "an expected place that is known is kept"
    assert [H36M_17.landmarks[k] for k in row["unseen"]] == sorted(
        (MPII_16.landmarks[k] for k in (2, 9, 15)), key=H36M_17.landmarks.index
    )
    records.more["scores"][:] = 0
    (row,) = read_data(view_html(records)[0])["rows"]
    assert row["fit"] is None and row["places"][2] is None and row["error"] is None


def test_the_alarm_is_the_one_of_the_file_or_is_measured():
    records = make_records()
    records.more["keypoints"][3, ::2] += 400
    rows = read_data(view_html(records)[0])["rows"]
    assert [row["flagged"] for row in rows] == [False] * 3 + [True] + [False] * 2 and rows[3]["error"] > ALARM
    records.more["reprojection_percent"], records.more["flagged"] = np.arange(6.0), np.arange(6) == 1
    rows = read_data(view_html(records)[0])["rows"]
    assert [row["error"] for row in rows] == [0, 1, 2, 3, 4, 5] and [row["flagged"] for row in rows].index(True) == 1


def test_a_result_without_key_points_or_hypotheses():
    records = PoseRecords(torch.randn(2, 17, 3, generator=torch.Generator().manual_seed(0)))
    page, remarks = view_html(records)
    data = read_data(page)
    assert remarks == [] and data["title"] == "3D poses" and [frame["label"] for frame in data["frames"]] == ["0", "1"]
    assert all(frame["view"] is None for frame in data["frames"])
    assert not {"places", "hypotheses", "radii", "box"} & set(data["rows"][0]) and data["rows"][0]["error"] is None
    with_radii = dataclasses.replace(records, radii=torch.full((2, 17, 2), 0.25))
    assert read_data(view_html(with_radii)[0])["rows"][0]["radii"] == [[250] * 17] * 2


def test_the_likeliest_hypothesis_comes_first():
    records = make_records(1, 1, 5, log_prob=torch.tensor([[0.0], [3.0], [1.0], [float("nan")], [2.0]]))
    data = read_data(view_html(records)[0])
    first = np.array(data["rows"][0]["hypotheses"][0]).reshape(17, 3) / 1000
    assert data["ordered"] and np.allclose(first[:, 0], records.poses[1, 0, :, 0], atol=6e-4)


def test_what_is_left_out_is_said_and_the_size_is_bounded():
    records = make_records(240, 1, 200)
    page, remarks = view_html(records)
    data = read_data(page)
    assert len(data["frames"]) == 100 and data["frames"][-1]["label"].startswith("239 ")
    assert remarks == [
        "100 of 240 frames are on this page, evenly chosen.",
        "50 of 200 hypotheses of each person are drawn, evenly chosen; radii are those of all.",
    ]
    assert data["notes"][:2] == remarks and re.search(r"[\d.]+ kB per frame, [\d.]+ MB in all", data["notes"][-1])
    assert len(page) < 7_500_000
    crowd = read_data(view_html(make_records(40, 50, 60))[0])
    assert len(crowd["rows"]) == 2000 and len(crowd["rows"][0]["hypotheses"]) == 10


# ---- pictures


def test_pictures_of_a_folder_by_name(tmp_path):
    for k, colour in enumerate(("red", "lime", "blue")):
        save_picture(tmp_path / f"{k}.png", colour=colour)
    names = np.repeat(["0.png", "elsewhere/1.png", "none.png"], 2)
    page, remarks = view_html(make_records(image=names, source=str(tmp_path)))
    data = read_data(page)
    assert [frame["picture"] for frame in data["frames"]] == [0, 1, None] and len(data["pictures"]) == 2
    assert remarks == [f"{tmp_path.name}: 1 of 3 frames have no picture there."]
    assert [frame["label"] for frame in data["frames"]] == ["0.png", "1.png", "none.png"]
    for address, channel in zip(data["pictures"], (0, 1)):
        assert decode(address).mean((0, 1)).argmax() == channel and decode(address).shape == (600, 900, 3)
    assert data["frames"][0]["area"] == [0, 0, 900, 600]
    by_order = read_data(view_html(make_records(), tmp_path)[0])
    assert [frame["picture"] for frame in by_order["frames"]] == [0, 1, 2]


def test_a_relative_source_lies_beside_the_result(tmp_path):
    save_picture(tmp_path / "a.png")
    records = make_records(1, source="a.png", image=np.array(["a.png"] * 2))
    assert len(read_data(view_html(records, near=tmp_path)[0])["pictures"]) == 1
    page, remarks = view_html(records)
    assert not read_data(page)["pictures"] and "a.png was not found" in remarks[0]


def test_a_large_photograph_is_cut_around_its_people_and_made_small(tmp_path):
    picture = np.zeros((3000, 4000, 3), np.uint8)
    picture[:1000, :1000] = 200
    Image.fromarray(picture).save(tmp_path / "a.png")
    data = read_data(view_html(make_records(1), tmp_path / "a.png")[0])
    left, top, wide, high = data["frames"][0]["area"]
    places = np.array([place for row in data["rows"] for place in row["places"]])
    assert ((places >= [left, top]) & (places <= [left + wide, top + high])).all() and wide * high < 2_000_000
    shown = decode(data["pictures"][0])
    assert max(shown.shape) <= 1000 and abs(shown.shape[1] / shown.shape[0] - wide / high) < 0.02
    assert shown[5, 5].mean() > 190


def test_a_folder_gives_nothing_that_lies_outside(tmp_path):
    (tmp_path / "inner").mkdir()
    save_picture(tmp_path / "secret.png")
    for name in ("../secret.png", str(tmp_path / "secret.png"), "a\0b", "x" * 5000):
        records = make_records(1, image=np.array([name, name]), source=str(tmp_path / "inner"))
        assert read_data(view_html(records)[0])["pictures"] == []
    (tmp_path / "inner" / "link.png").symlink_to(tmp_path / "secret.png")
    records = make_records(1, image=np.array(["link.png"] * 2), source=str(tmp_path / "inner"))
    assert read_data(view_html(records)[0])["pictures"] == []


def test_pictures_that_cannot_be_opened(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    (tmp_path / "a.mp4").write_bytes(b"no video")
    for name in ("a.jpg", "a.mp4"):
        page, remarks = view_html(make_records(source=str(tmp_path / name)))
        assert "could not be opened" in remarks[0] and str(tmp_path) not in page and not read_data(page)["pictures"]
    with pytest.raises(DataFileError, match="expected a picture"):
        view_html(make_records(), tmp_path / "a.jpg")
    with pytest.raises(DataFileError, match="there is none"):
        view_html(make_records(), tmp_path / "none")
    assert view_html(make_records(source="\0" * 3000))[1]


def test_a_file_of_key_points_is_not_taken_for_a_picture(tmp_path):
    (tmp_path / "people.json").write_text("{}")
    for source in (tmp_path / "people.json", "gone.csv"):
        page, remarks = view_html(make_records(source=str(source)))
        assert remarks == [] and not read_data(page)["pictures"]


@pytest.fixture
def film(tmp_path):
    "Ten frames that grow brighter, 64 × 48 pixels; the upper half is darker."
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "film.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(10):
            picture = np.full((48, 64, 3), 20 + 22 * k, np.uint8)
            picture[:24] //= 2
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    return tmp_path / "film.mp4"


def test_frames_of_a_film(film):
    records = make_records(4, frame=np.repeat([0, 3, 9, 12], 2), source=str(film), image=np.array(["film.mp4"] * 8))
    records.more["box"] = np.tile([0.0, 0, 64, 48], (8, 1))
    page, remarks = view_html(records)
    data = read_data(page)
    assert [frame["picture"] for frame in data["frames"]] == [0, 1, 2, None] and data["title"] == "film.mp4"
    assert remarks == ["film.mp4: 1 of 4 frames have no picture there."]
    shown = [decode(address)[30:].mean() for address in data["pictures"]]
    assert np.allclose(shown, [20, 86, 218], atol=12)
    assert data["frames"][1]["label"] == "3 (0.12 s)"


def test_a_film_is_shown_upright(film):
    plain, turned = (
        (65536 * np.array([*corner, 0, *edge, 0, *shift, 0, 16384])).astype(">i4").tobytes()
        for corner, edge, shift in (((1, 0), (0, 1), (0,)), ((0, 1), (-1, 0), (48,)))
    )
    head, matrix, rest = film.read_bytes().rpartition(plain)  # how the file says that it is to be turned
    assert matrix
    film.write_bytes(head + turned + rest)
    (address,) = read_data(view_html(make_records(1, source=str(film)))[0])["pictures"]
    shown = decode(address)
    assert shown.shape[:2] == (64, 48) and shown[:, :20].mean() > 1.5 * shown[:, 28:].mean(), "what was above is right"


def test_a_film_that_is_cut_short(film):
    film.write_bytes(film.read_bytes()[:300])
    page, remarks = view_html(make_records(source=str(film)))
    assert remarks and "film.mp4" in remarks[0] and not read_data(page)["pictures"]


# ---- refusals


@pytest.mark.parametrize(
    "name, value, error",
    [
        ("keypoints", np.zeros((6, 17, 2)), ShapeError),
        ("scores", np.zeros((6, 17)), ShapeError),
        ("covariance", np.zeros((6, 16, 2)), ShapeError),
        ("box", np.zeros((6, 3)), ShapeError),
        ("flagged", np.zeros((6, 1)), ShapeError),
        ("reprojection_percent", np.array(list("abcdef")), ConfigError),
    ],
)
def test_key_points_that_do_not_belong_to_the_records(name, value, error):
    records = make_records()
    records.more[name] = value
    with pytest.raises(error, match=f"{name}: expected"):
        view_html(records)


def test_places_that_take_no_page(tmp_path):
    with pytest.raises(ConfigError, match=".html"):
        write_viewer(tmp_path / "a.pdf", make_records())
    with pytest.raises(DiskError):
        write_viewer(tmp_path / "none" / "a.html", make_records())
    with pytest.raises(ConfigError, match="most_frames|most"):
        view_html(make_records(), most_frames=0)


# ---- a browser


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser here")
@pytest.mark.parametrize("kind", ["whole", "least"])
def test_a_browser_draws_the_page_without_complaint(tmp_path, kind):
    records = (
        make_records(image=np.repeat([EVIL[:40], "b", "c"], 2))
        if kind == "whole"
        else PoseRecords(0.3 * torch.ones(1, 17, 3))
    )
    records.more.update({"person_name": np.array([EVIL, "b"] * 3)} if kind == "whole" else {})
    write_viewer(tmp_path / "a.html", records)
    flags = "--headless=new --no-sandbox --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader".split()
    flags += [
        "--enable-logging=stderr",
        "--v=0",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=20000",
    ]
    page = f"file://{tmp_path / 'a.html'}#frame=1&hypothesis=2&overlay&theme=dark"
    done = subprocess.run(["chromium", *flags, "--dump-dom", page], capture_output=True, text=True, timeout=180)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "willReadFrequently" not in line]
    assert said == []
    assert 'data-drawn="yes"' in done.stdout and 'data-theme="dark"' in done.stdout
    drawn = Elements(done.stdout.split('<script type="application/json"')[0])
    assert sum(tag == "tr" for tag, _ in drawn.found) == (17 if kind == "whole" else 1)
    assert sum(tag == "circle" for tag, _ in drawn.found) == (32 if kind == "whole" else 0)
    assert not [attrs for tag, attrs in drawn.found if tag == "img" and "src" in attrs]
