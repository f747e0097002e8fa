"""`probpose mesh`: from a photograph to files with bodies, and from a mistake to one sentence."""

import json
import math

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from probpose.bodies.files import find_body_file
from probpose.cli.app import app
from probpose.core.devices import make_generator
from probpose.geometry.conversions import rest_pose
from probpose.models.humr.config import HuMRConfig
from probpose.models.humr.model import HuMR
from probpose.vision.detections import ImageDetections

Image = pytest.importorskip("PIL.Image")
trimesh = pytest.importorskip("trimesh")

WIDTH, HEIGHT, FEATURES = 640, 480, 12
PERSON = torch.tensor([300.0, 250.0]) + 150 * rest_pose("coco_17")[:, :2]


class Seer(torch.nn.Module):
    "A detector that finds a person standing in the middle of every crop."

    name = "open"

    def __init__(self):
        super().__init__()
        self.seen = []

    def features_of(self, images):
        self.seen.append(images)
        return images.float().mean((1, 2))[:, :1].expand(-1, FEATURES) / 255

    def detect(self, images, box=None, crop=None, skeleton="coco_17"):
        xy = (31.5 + 25 * rest_pose(skeleton)[:, :2]).expand(len(images), 17, 2)
        return ImageDetections(
            xy, torch.full((len(images), 17), 0.9), features=self.features_of(images), box=box, crop=crop
        )


@pytest.fixture(autouse=True)
def seer(monkeypatch):
    made = Seer()
    monkeypatch.setattr("probpose.models.convert.backbone.load_crop_detector", lambda *_, **__: made)
    return made


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return HuMR(HuMRConfig.for_tier("smoke", features=FEATURES)).save_pretrained(tmp_path_factory.mktemp("humr"))


@pytest.fixture
def photograph(tmp_path):
    Image.fromarray(
        torch.randint(0, 255, (HEIGHT, WIDTH, 3), generator=make_generator(0), dtype=torch.uint8).numpy()
    ).save(tmp_path / "street.jpg")
    return tmp_path / "street.jpg"


@pytest.fixture
def keypoints(tmp_path):
    (tmp_path / "person.json").write_text(json.dumps({"keypoints": PERSON.tolist(), "scores": [1.0] * 17}))
    return tmp_path / "person.json"


def run(*files, **options):
    "`probpose mesh` with files and `--options`."
    options |= {} if "--device" in files else {"device": "cpu"}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    return CliRunner().invoke(app, ["mesh", *map(str, [*files, *words])])


def refused(done, *words):
    return done.exit_code == 2 and "Traceback" not in done.output and all(word in done.output for word in words)


def test_keypoints_become_bodies_in_files(photograph, keypoints, weights, tmp_path):
    done = run(photograph, keypoints=keypoints, weights=weights, hypotheses=3, out=tmp_path / "new" / "bodies")
    assert done.exit_code == 0, done.output
    assert (
        sorted(p.name for p in (tmp_path / "new" / "bodies").iterdir()) == ["bodies.glb", "person_00.npz"]
        and "3 hypotheses" in done.output
    )
    with np.load(tmp_path / "new/bodies/person_00.npz") as file:
        assert (
            file["rotations"].shape == (3, 22, 3, 3)
            and file["betas"].shape == (11,)
            and file["log_prob"].shape == (3,)
            and str(file["image"]) == "street.jpg"
        )
        joints, where = file["joints"], file["translation"]
        size, focal = 1.25 * float((PERSON.amax(0) - PERSON.amin(0)).max()), np.hypot(WIDTH, HEIGHT)
        middle = ((PERSON.amax(0) + PERSON.amin(0)) / 2).numpy()
        assert np.allclose(file["box"], [*(middle - [WIDTH / 2, HEIGHT / 2]) / focal, size / focal], atol=1e-5)
        projected = focal * (joints + where)[..., :2] / (joints + where)[..., 2:] + [WIDTH / 2, HEIGHT / 2]
        assert np.allclose(projected, file["keypoints_2d"], atol=0.5), "the camera of the whole image"
    found = trimesh.load_scene(tmp_path / "new/bodies/bodies.glb")
    names = {"person_00/mode", "person_00/hypothesis_01", "person_00/hypothesis_02"}
    assert set(found.graph.nodes_geometry) == set(found.geometry) == names
    looks = {name: found.geometry[name].visual.material for name in names}
    assert {name: look.baseColorFactor[3] == 255 for name, look in looks.items()} == {n: "mode" in n for n in names}
    assert found.bounds[1][2] < 0 and np.allclose(
        found.geometry["person_00/mode"].bounds.mean(0)[2], -where[2], atol=1.5
    ), "ahead of the camera"


@pytest.mark.parametrize("form", ["obj", "gltf"])
def test_other_formats(form, photograph, keypoints, weights, tmp_path):
    done = run(photograph, keypoints=keypoints, weights=weights, hypotheses=1, format=form, out=tmp_path / "out")
    assert done.exit_code == 0 and (tmp_path / f"out/bodies.{form}").stat().st_size > 1e5, done.output


def test_the_seed_decides(photograph, keypoints, weights, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert (
            run(
                photograph, keypoints=keypoints, weights=weights, hypotheses=2, seed=seed, out=tmp_path / name
            ).exit_code
            == 0
        )
    first, second, third = (np.load(tmp_path / name / "person_00.npz")["rotations"] for name in "abc")
    assert (first == second).all() and (first[0] == third[0]).all() and not (first[1] == third[1]).all(), (
        "the mode is the mode"
    )


def test_several_people_have_files_of_their_own(photograph, weights, tmp_path):
    two = torch.stack([PERSON, PERSON * 0.6 + 20])
    np.savez(tmp_path / "people.npz", keypoints=two.numpy())
    done = run(photograph, keypoints=tmp_path / "people.npz", weights=weights, hypotheses=2, out=tmp_path / "out")
    assert done.exit_code == 0 and {p.name for p in (tmp_path / "out").iterdir()} == {
        *("person_00.npz", "person_01.npz", "bodies.glb")
    }, done.output
    nodes = set(trimesh.load_scene(tmp_path / "out/bodies.glb").graph.nodes_geometry)
    assert nodes == {f"person_{i:02d}/{row}" for i in (0, 1) for row in ("mode", "hypothesis_01")}
    boxes = [np.load(tmp_path / f"out/person_{i:02d}.npz")["box"] for i in (0, 1)]
    assert boxes[1][2] == pytest.approx(0.6 * boxes[0][2])
    assert refused(
        run(photograph, keypoints=tmp_path / "people.npz", box="300,200,300", weights=weights, out=tmp_path / "out"),
        "one person",
    )


def test_other_joint_orders(photograph, weights, tmp_path):
    (tmp_path / "h36m.json").write_text(
        json.dumps({"keypoints": (torch.tensor([300.0, 250.0]) + 150 * rest_pose("h36m_17")[:, :2]).tolist()})
    )
    done = run(
        photograph,
        keypoints=tmp_path / "h36m.json",
        skeleton="h36m_17",
        weights=weights,
        hypotheses=1,
        out=tmp_path / "out",
    )
    assert done.exit_code == 0, done.output
    np.savez(tmp_path / "odd.npz", keypoints=np.random.default_rng(0).uniform(100, 300, (1, 40, 2)))
    assert refused(
        run(photograph, keypoints=tmp_path / "odd.npz", weights=weights, out=tmp_path / "none"), "40 joints", "skeleton"
    )


def test_without_a_file_the_packaged_detector_looks_at_the_box(photograph, weights, seer, tmp_path):
    done = run(photograph, box="200,240,180", weights=weights, hypotheses=2, focal=900, out=tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert np.allclose(
        np.load(tmp_path / "out/person_00.npz")["box"], [-120 / 900, 0, 180 / 900], atol=1e-6
    ) and seer.seen[0].shape == (1, 256, 256, 3)


def test_nobody_in_a_picture_is_a_line_and_no_file(photograph, weights, seer, tmp_path):
    pytest.importorskip("ai_edge_litert")
    done = run(photograph, weights=weights, hypotheses=1, out=tmp_path / "whole", view=tmp_path / "page.html")
    assert done.exit_code == 0 and "nobody was found in 1 picture" in done.output, done.output
    assert not (tmp_path / "whole").exists() and not (tmp_path / "page.html").exists() and not seer.seen


def test_heatmaps_over_the_box(photograph, weights, tmp_path):
    cells = torch.arange(64.0)
    spots = 31.5 + 20 * rest_pose("coco_17")[:, :2]
    maps = torch.exp(-((cells - spots[:, 1:, None]).square().mT + (cells - spots[:, :1, None]).square()) / 8)
    np.savez(tmp_path / "maps.npz", heatmaps=maps[None].numpy())
    done = run(
        photograph,
        heatmaps=tmp_path / "maps.npz",
        box="320,240,400",
        weights=weights,
        hypotheses=2,
        out=tmp_path / "out",
    )
    assert done.exit_code == 0, done.output
    np.savez(tmp_path / "zeros.npz", heatmaps=np.zeros((1, 17, 64, 64), np.float32))
    assert refused(
        run(photograph, heatmaps=tmp_path / "zeros.npz", box="320,240,400", weights=weights, out=tmp_path / "none"),
        "expected",
    )
    (tmp_path / "bad.npz").write_bytes(b"PK")
    assert refused(
        run(photograph, heatmaps=tmp_path / "bad.npz", weights=weights, out=tmp_path / "none"), "bad.npz", "expected"
    )
    assert not (tmp_path / "none").exists()


def test_another_body_is_used_and_said(photograph, keypoints, weights, tmp_path):
    done = run(photograph, keypoints=keypoints, weights=weights, body="open", hypotheses=1, out=tmp_path / "out")
    assert done.exit_code == 0 and "trained with the body" not in done.output, done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("missing.jpg",), "no such file"),
        (("person.json",), "picture"),
        (("street.jpg", "--focal", 0), "focal"),
        (("street.jpg", "--focal", -5), "focal"),
        (("street.jpg", "--focal", "nan"), "focal"),
        (("street.jpg", "--focal", "inf"), "focal"),
        (("street.jpg", "--box", "nan,200,100"), "box"),
        (("street.jpg", "--body", "smplx"), "--body open needs no licence"),
        (("street.jpg", "--body", "smplx"), "SMPLX_NEUTRAL.npz"),
        (("street.jpg", "--body", "other.npz"), "one topology"),
        (("street.jpg", "--body", "flat.npz"), "shape components"),
        (("folder", "--box", "200,200,100"), "one photograph"),
        (("folder", "--keypoints", "person.json"), "one photograph"),
        (("street.jpg", "--heatmaps", "empty.npz"), "without mass"),
        (("street.jpg", "--box", "5000,200,100"), "outside the image"),
        (("street.jpg", "--box", "200,200,0"), "8 pixels"),
        (("street.jpg", "--box", "200,200"), "x,y,size"),
        (("street.jpg", "--box", "a,b,c"), "x,y,size"),
        (("street.jpg", "--body", "nowhere/SMPLX_NEUTRAL.npz"), "register"),
        (("street.jpg", "--body", "smplx"), "register"),
        (("street.jpg", "--hypotheses", 0), "hypotheses"),
        (("street.jpg", "--format", "stl"), "glb"),
        (("street.jpg", "--keypoints", "missing.json"), "keypoints"),
        (("street.jpg", "--keypoints", "flags.json"), "visibility flags"),
        (("street.jpg", "--keypoints", "person.json", "--heatmaps", "maps.npz"), "both"),
        (("street.jpg", "--heatmaps", "missing.npz"), "missing.npz"),
        (("street.jpg", "--keypoints", "person.json", "--skeleton", "coco"), "unknown"),
        (("street.jpg", "--weights", "no-such-weights"), "packaged"),
        (("street.jpg", "--weights", "poseflow"), "whole bodies"),
        (("street.jpg", "--device", "tpu"), "device"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_no_file(
    words, said, photograph, keypoints, weights, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROBPOSE_BODIES", raising=False)
    (tmp_path / "flags.json").write_text(json.dumps({"keypoints": PERSON.tolist(), "scores": [2.0] * 17}))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "street.jpg").write_bytes(photograph.read_bytes())
    np.savez(tmp_path / "empty.npz", heatmaps=np.zeros((1, 17, 64, 64), np.float32))
    if ".npz" in str(words[-1]) and "--body" in words:
        with np.load(find_body_file("open")) as file:
            arrays = {name: file[name] for name in file.files}
        np.savez(tmp_path / "other.npz", **arrays | {"v_template": arrays["v_template"][:-7]})
        np.savez(tmp_path / "flat.npz", **arrays | {"shapedirs": arrays["shapedirs"][:, :, :5]})
    given = () if "--weights" in words else ("--weights", weights)
    done = run(*words, *given, out=tmp_path / "out")
    assert refused(done, said, "Error"), done.output
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file(photograph, keypoints, weights, tmp_path):
    (tmp_path / "taken").touch()
    assert refused(
        run(photograph, keypoints=keypoints, weights=weights, hypotheses=1, out=tmp_path / "taken"), "could not write"
    )


def test_the_help_says_what_happens_without_a_file():
    text = " ".join(CliRunner().invoke(app, ["mesh", "--help"], env={"COLUMNS": "200"}).output.split())
    assert "packaged detector" in text


def test_a_joint_that_was_not_found_is_nowhere(photograph, weights, tmp_path):
    scores, answers = [1.0] * 17, []
    scores[9] = 0.0
    for where in ([0.0, 0.0], [600.0, 470.0]):
        points = PERSON.clone()
        points[9] = torch.tensor(where)
        (tmp_path / "p.json").write_text(json.dumps({"keypoints": points.tolist(), "scores": scores}))
        done = run(photograph, keypoints=tmp_path / "p.json", weights=weights, hypotheses=2, out=tmp_path / "out")
        assert done.exit_code == 0, done.output
        answers.append(np.load(tmp_path / "out/person_00.npz"))
    assert np.array_equal(answers[0]["box"], answers[1]["box"]) and np.array_equal(
        answers[0]["rotations"], answers[1]["rotations"]
    )


def test_shares_of_the_image_become_its_pixels(photograph, keypoints, weights, tmp_path):
    shares, answers = PERSON / torch.tensor([WIDTH, HEIGHT]), []
    (tmp_path / "p.json").write_text(json.dumps({"keypoints": shares.tolist(), "scores": [1.0] * 17}))
    for file in (keypoints, tmp_path / "p.json"):
        done = run(photograph, keypoints=file, weights=weights, hypotheses=1, out=tmp_path / file.stem, device="cpu")
        assert done.exit_code == 0 and ("640 × 480" in done.output) == (file.stem == "p"), done.output
        answers.append(np.load(tmp_path / file.stem / "person_00.npz")["box"])
    assert np.allclose(*answers, atol=1e-5)
    assert refused(run(photograph, box="0.5,0.5,0.8", weights=weights, out=tmp_path / "out"), "8 pixels")


def test_nobody_is_a_line_and_no_file(photograph, weights, tmp_path):
    (tmp_path / "lost.json").write_text(json.dumps({"keypoints": PERSON.tolist(), "scores": [0.0] * 17}))
    done = run(photograph, keypoints=tmp_path / "lost.json", weights=weights, out=tmp_path / "out")
    assert done.exit_code == 0 and "nobody" in done.output and not (tmp_path / "out").exists(), done.output


def test_other_formats_of_keypoints_and_other_images(photograph, weights, tmp_path):
    def seen(image, points):
        rows = torch.cat([points, torch.full((17, 1), 0.8)], 1)
        return {"image_id": image, "category_id": 1, "keypoints": rows.flatten().tolist(), "score": 2.0, "idx": 0}

    people = [seen("other.jpg", PERSON + 20), seen("street.jpg", PERSON)]
    (tmp_path / "alphapose-results.json").write_text(json.dumps(people))
    done = run(
        photograph,
        keypoints=tmp_path / "alphapose-results.json",
        weights=weights,
        hypotheses=1,
        out=tmp_path / "out",
        device="cpu",
    )
    assert done.exit_code == 0 and "1 of 2 people belong to other images" in done.output, done.output
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"person_00.npz", "bodies.glb"}


def test_weights_decide_who_looks(photograph, keypoints, weights, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "probpose.models.convert.backbone.load_crop_detector", lambda name: asked.append(name) or Seer()
    )
    other = HuMR(HuMRConfig.for_tier("smoke", detector="blazepose", features=FEATURES)).save_pretrained(tmp_path / "w")
    for folder in (weights, other):
        done = run(photograph, keypoints=keypoints, weights=folder, hypotheses=1, out=tmp_path / "out")
        assert (done.exit_code == 0) == (folder == weights), done.output
    assert asked == ["open", "blazepose"] and "expected those of the detector 'blazepose'" in done.output


def test_blazepose_finds_people(rendered, tmp_path):
    pytest.importorskip("ai_edge_litert")
    from probpose.vision.crops import BlazePoseCrops

    detector = BlazePoseCrops()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("probpose.models.convert.backbone.load_crop_detector", lambda name: detector)
        folder = HuMR(HuMRConfig.for_tier("smoke", detector="blazepose")).save_pretrained(tmp_path / "weights")
        two = torch.cat([rendered[0][0][:, 100:-100], rendered[0][1][:, 100:-100]], 1)
        Image.fromarray(two.numpy()).save(tmp_path / "two.png")
        options = dict(weights=folder, hypotheses=2, format="obj")
        done = run(tmp_path / "two.png", out=tmp_path / "out", **options)
        assert done.exit_code == 0 and len(list((tmp_path / "out").glob("*.npz"))) == 2, done.output
        boxed = run(tmp_path / "two.png", box="156,256,460", out=tmp_path / "boxed", **options)
        assert boxed.exit_code == 0, boxed.output
        assert np.load(tmp_path / "boxed/person_00.npz")["box"][2] == pytest.approx(460 / math.hypot(624, 512))
        Image.new("RGB", (300, 200), "grey").save(tmp_path / "grey.png")
        nobody = run(tmp_path / "grey.png", out=tmp_path / "none", **options)
        assert nobody.exit_code == 0 and "nobody was found" in nobody.output
        boxed = run(tmp_path / "grey.png", box="150,100,100", out=tmp_path / "none", **options)
        assert refused(boxed, "nobody", "NoPersonError")
    assert not (tmp_path / "none").exists()
