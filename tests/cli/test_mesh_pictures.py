"""`probpose mesh` on pictures and videos that the project renders itself, with nothing else given."""

import json
import math
import struct

import numpy as np
import pytest
import torch

from probpose.bodies.body import load_body
from probpose.metrics.reprojection import ALARM
from probpose.models.humr.config import HuMRConfig
from probpose.models.humr.model import HuMR
from probpose.vision.by_name import load_crop_detector

Image = pytest.importorskip("PIL.Image")
trimesh = pytest.importorskip("trimesh")
for module in ("ai_edge_litert", "av", "warp"):
    pytest.importorskip(module)


@pytest.fixture(scope="module")
def two(rendered):
    "Two people beside each other (512, 624, 3), and where COCO's joints are (2, 17, 2)."
    images, joints = rendered
    picture = torch.cat([images[0][:, 100:-100], images[1][:, 100:-100]], 1).numpy()
    return picture, (joints + torch.tensor([[[-100.0, 0.0]], [[212.0, 0.0]]])).numpy()


@pytest.fixture(scope="module", params=["open", "blazepose"])
def weights(request, tmp_path_factory):
    config = HuMRConfig.for_tier("smoke", detector=request.param)
    return HuMR(config).save_pretrained(tmp_path_factory.mktemp(request.param) / "humr")


@pytest.fixture(scope="module")
def plain_weights(tmp_path_factory):
    return HuMR(HuMRConfig.for_tier("smoke")).save_pretrained(tmp_path_factory.mktemp("plain") / "humr")


@pytest.fixture(autouse=True)
def one_detector(monkeypatch, cache={}):  # noqa: B006 - one of each for all tests
    monkeypatch.setattr(
        "probpose.models.convert.backbone.load_crop_detector",
        lambda name: cache.setdefault(name, None) or cache.update({name: load_crop_detector(name)}) or cache[name],
    )


def read_json(path):
    content = path.read_bytes()
    return json.loads(content[20 : 20 + struct.unpack("<I", content[12:16])[0]])


def test_a_picture_alone(run, two, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(two[0]).save("street.png")
    done = run("mesh", "street.png", "--weights", weights, "--hypotheses", 3, "--device", "cpu", "--view", "page.html")
    assert done.exit_code == 0 and "person_01: 3 hypotheses" in done.output, done.output
    folder = tmp_path / "street_bodies"
    assert {path.name for path in folder.iterdir()} == {"person_00.npz", "person_01.npz", "bodies.glb"}
    people = [dict(np.load(folder / f"person_0{k}.npz")) for k in (0, 1)]
    order = np.argsort([np.nanmean(person["keypoints"][:, 0]) for person in people])
    body, scene = load_body(), trimesh.load_scene(folder / "bodies.glb")
    for k, true in zip(order, two[1]):
        own = people[k]
        assert np.nanmedian(np.linalg.norm(own["keypoints"] - true, axis=1)) < 20 and own["seen"].sum() > 12
        assert own["global_orient"].shape == (3, 3) and own["body_pose"].shape == (3, 63)
        placed = own["joints"] + own["transl"]
        flat = float(own["focal"]) * placed[..., :2] / placed[..., 2:] + own["image_size"] / 2
        assert np.allclose(flat, own["keypoints_2d"], atol=0.5) and np.isclose(own["focal"], math.hypot(624, 512))
        for row, name in enumerate(("mode", "hypothesis_01", "hypothesis_02")):
            surface = body.vertices(torch.from_numpy(own["rotations"][row]), torch.from_numpy(own["betas"])).numpy()
            drawn = scene.geometry[f"person_{k:02d}/{name}"].vertices
            assert np.allclose((surface + own["transl"]) * [1, -1, -1], drawn, atol=1e-4), "one camera for all"
        far = np.linalg.norm(own["keypoints_2d"][0] - own["keypoints"], axis=1)[own["seen"]].mean()
        assert (own["reprojection_percent"] > ALARM) == bool(own["flagged"]) == (far > 0.045 * 300), "about"
    assert ("do not fit the joints" in done.output) == any(bool(own["flagged"]) for own in people)
    page = (tmp_path / "page.html").read_text()
    drawn = page[page.index("<body>") :]
    assert drawn.count('"type":"mesh3d"') == 6 and drawn.count("jpeg;base64,") == 1 and "seen joints" in drawn
    assert "<script src=" not in page and "person_01: 3 hypotheses" in page


def test_a_folder_is_photographs(run, two, plain_weights, tmp_path):
    (tmp_path / "holiday").mkdir()
    for name, picture in (("a.png", two[0]), ("b.png", two[0] * 0 + 128), ("c.png", two[0][:, :312])):
        Image.fromarray(picture).save(tmp_path / "holiday" / name)
    (tmp_path / "holiday" / "d.jpg").write_text("no picture")
    words = ("mesh", tmp_path / "holiday", "--weights", plain_weights, "--hypotheses", 1, "--out", tmp_path / "out")
    done = run(*words)
    assert done.exit_code == 0 and "d.jpg: expected a picture" in done.output, done.output
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.npz")}
    assert found == {"a/person_00.npz", "a/person_01.npz", "c/person_00.npz"}


def test_a_video_moves(run, two, plain_weights, tmp_path, write_video):
    frames = [np.roll(two[0], 3 * k, 1) for k in range(6)]
    video = write_video(tmp_path / "walk.mp4", frames)
    words = ("mesh", video, "--weights", plain_weights, "--hypotheses", 2, "--out", tmp_path / "out")
    done = run(*words, "--view", tmp_path / "page.html")
    assert done.exit_code == 0 and "each frame was read by itself" in done.output, done.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"person_00.npz", "person_01.npz", "bodies.glb"}
    made = read_json(tmp_path / "out" / "bodies.glb")
    assert [skin["name"] for skin in made["skins"]] == ["person_00", "person_01"] and len(made["animations"]) == 1
    moves = [channel["target"]["path"] for channel in made["animations"][0]["channels"]]
    assert moves.count("rotation") == 44 and moves.count("translation") == 2
    with np.load(tmp_path / "out" / "person_00.npz") as own:
        assert own["frame"].tolist() == list(range(6)) and own["fps"] == 25
        assert own["body_pose"].shape == (6, 63) and own["hypotheses_body_pose"].shape == (6, 2, 63)
        assert own["transl"].shape == (6, 3) and own["reprojection_percent"].shape == (6,)
        middles = np.nanmean(own["keypoints"][..., 0], 1)
        assert 1.5 < np.diff(middles).mean() < 4.5, "followed"
    assert "6 of 6" not in done.output and (tmp_path / "page.html").read_text().count("<section>") == 6
    still = run(*words[:-1], tmp_path / "none", "--format", "obj")
    assert still.exit_code == 2 and "cannot move" in still.output and not (tmp_path / "none").exists()


def test_ctrl_c_keeps_what_was_done(run, two, plain_weights, tmp_path, write_video, monkeypatch):
    import probpose.models.bodies as bodies

    seen, predict = [], bodies.predict_bodies

    def interrupt(*words):
        seen.append(1)
        if len(seen) > 3:
            raise KeyboardInterrupt
        return predict(*words)

    monkeypatch.setattr(bodies, "predict_bodies", interrupt)
    video = write_video(tmp_path / "walk.mp4", [two[0]] * 6)
    done = run("mesh", video, "--weights", plain_weights, "--hypotheses", 1, "--out", tmp_path / "out")
    assert done.exit_code == 130 and "interrupted" in done.output, done.output
    assert np.load(tmp_path / "out" / "person_00.npz")["frame"].tolist() == [0, 1, 2]


def test_legs_that_are_out_of_the_picture(run, rendered, tmp_path):
    image, joints = rendered[0][0].numpy(), rendered[1][0].numpy()
    waist = int(joints[11:13, 1].mean()) - 5
    spreads = {}
    for name, picture in (("whole", image), ("cut", image[:waist])):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
        words = ("mesh", tmp_path / f"{name}.png", "--hypotheses", 30, "--out", tmp_path / name, "--format", "obj")
        done = run(*words)
        assert done.exit_code == 0, done.output
        with np.load(tmp_path / name / "person_00.npz") as file:
            own = dict(file)
        spreads[name] = own["spread_mm"][13:].mean()
        assert ("left leg" in own["unseen"] and "right leg" in own["unseen"]) == (name == "cut")
    assert not own["seen"][13:].any() and np.isnan(own["keypoints"][13:]).all() and own["seen"][:7].sum() >= 5
    assert spreads["cut"] > 1.3 * spreads["whole"] > 0, "wide, since nothing says where the legs are"
    wide, narrow = own["spread_mm"][~own["seen"]].mean(), own["spread_mm"][own["seen"]].mean()
    line = next(line for line in done.output.splitlines() if "not seen" in line)
    assert "left leg, right leg" in line and f"spread by {wide:.0f} mm" in line and f"by {narrow:.0f} mm" in line


def test_two_people_in_one_box(run, two, plain_weights, tmp_path):
    Image.fromarray(two[0]).save(tmp_path / "two.png")
    words = ("mesh", tmp_path / "two.png", "--weights", plain_weights, "--hypotheses", 1, "--out", tmp_path / "out")
    both = run(*words, "--box", "312,256,640")
    assert both.exit_code == 0 and "warning: 2 people are in the box" in both.output, both.output
    one = run(*words, "--box", "156,256,300")
    assert one.exit_code == 0 and "people are in the box" not in one.output, one.output
