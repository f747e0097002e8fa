"`probpose lift`: what it reads, what it writes, and what it says."

import csv
import json

import numpy as np
import pytest

from probpose.metrics.reprojection import ALARM
from probpose.models.posterior import PosePosterior

STANDING = np.array(  # COCO's 17 joints in pixels
    [
        *([402, 118], [409, 111], [396, 111], [419, 117], [387, 118], [445, 182], [360, 184], [470, 255], [338, 257]),
        *([480, 325], [330, 322], [425, 330], [378, 331], [432, 432], [372, 434], [436, 528], [368, 531]),
    ],
    float,
)
WRIST = 10  # the right one


def flat(points=STANDING, score=0.9):
    "x, y, score, …, as COCO writes them; a joint of NaN is (0, 0, 0)."
    rows = np.concatenate([points, np.full((len(points), 1), score)], 1)
    return np.where(np.isnan(rows).any(1, keepdims=True), 0.0, rows).ravel().tolist()


def without(joint, points=STANDING):
    changed = points.copy()
    changed[joint] = np.nan
    return changed


def coco(points):
    return [{"image_id": 1, "category_id": 1, "keypoints": flat(points), "score": 1.0}]


def body_25(points=STANDING):
    "The joints that COCO has, in OpenPose's order; neck and middle hip between, feet not found."
    rows = np.zeros((25, 3))
    for row, joint in enumerate((0, None, 6, 8, 10, 5, 7, 9, None, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)):
        if joint is not None:
            rows[row] = [*points[joint], 0.8]
    rows[1], rows[8] = (rows[2] + rows[5]) / 2, (rows[9] + rows[12]) / 2
    return {"pose_keypoints_2d": rows.ravel().tolist()}


def save(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def clip(tmp_path):
    "Five frames of one person: a joint is missing in the second, nobody is in the third."
    frames = [STANDING + 2 * k for k in range(5)]
    frames[1] = without(WRIST, frames[1])
    rows = [None if k == 2 else frame.tolist() for k, frame in enumerate(frames)]
    text = json.dumps({"keypoints": [[] if row is None else row for row in rows]})
    return save(tmp_path / "clip.json", text)


def test_lift_writes_everything_into_arrays(run, keypoints, weights, tmp_path):
    words = ("lift", keypoints, "--model", weights, "--skeleton", "coco_17", "--n", 4)
    done = run(*words, "--out", tmp_path / "deep" / "poses.npz")
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "deep" / "poses.npz") as file:
        shapes = {name: file[name].shape for name in file.files}
        assert shapes["poses"] == (4, 2, 17, 3) and shapes["mode"] == (2, 17, 3) and shapes["radii"] == (2, 17, 2)
        assert file["poses"].dtype == file["mode"].dtype == np.float32
        assert (file["radii"][..., 0] <= file["radii"][..., 1]).all()
        for name in ("frame", "person", "image", "missing", "reprojection_percent", "flagged"):
            assert shapes[name] == (2,), name
        assert len(file["joints"]) == 17 and file["units"] == "metres" and "y down" in str(file["axes"])
        assert (file["flagged"] == (file["reprojection_percent"] > ALARM)).all() and "log_prob" not in shapes
    assert run(*words, "--density", "--out", tmp_path / "dense.npz").exit_code == 0
    assert np.load(tmp_path / "dense.npz")["log_prob"].shape == (4, 2)


def test_lift_is_deterministic_given_the_seed(run, keypoints, weights, tmp_path):
    files = [tmp_path / f"{i}.npz" for i in range(3)]
    for file, seed in zip(files, (1, 1, 2)):
        run("lift", keypoints, "--model", weights, "--skeleton", "coco_17", "--n", 2, "--seed", seed, "--out", file)
    first, second, third = (np.load(file)["poses"] for file in files)
    assert (first == second).all() and not (first == third).all()


def test_batches_do_not_change_modes(run, keypoints, weights, tmp_path, monkeypatch):
    words = ("lift", keypoints, "--model", weights, "--skeleton", "coco_17", "--n", 3, "--out")
    run(*words, tmp_path / "a.npz")
    monkeypatch.setattr("probpose.cli.lift._AT_ONCE", 3)  # one person at a time
    done = run(*words, tmp_path / "b.npz")
    whole, parts = np.load(tmp_path / "a.npz"), np.load(tmp_path / "b.npz")
    assert done.exit_code == 0 and np.allclose(whole["mode"], parts["mode"], atol=1e-5)
    assert parts["poses"].shape == (3, 2, 17, 3)


def test_an_order_that_is_not_certain_is_asked_for(run, keypoints, weights, tmp_path):
    done = run("lift", keypoints, "--model", weights, "--out", tmp_path / "x.npz")
    assert done.exit_code == 2 and "coco_17" in done.output and "h36m_17" in done.output
    assert "with --skeleton" in done.output
    done = run("lift", keypoints, "--model", weights, "--skeleton", "mpii_16", "--out", tmp_path / "x.npz")
    assert done.exit_code == 2 and "16" in done.output and not (tmp_path / "x.npz").exists()
    np.savez(tmp_path / "mpii.npz", keypoints=np.random.default_rng(0).uniform(100, 300, (1, 16, 2)))
    assert run("lift", tmp_path / "mpii.npz", "--model", weights, "--n", 2, "--out", tmp_path / "x.npz").exit_code == 0


def test_visibility_flags_are_no_scores(run, weights, tmp_path):
    points = np.random.default_rng(0).uniform(100, 300, (1, 16, 2))
    np.savez(tmp_path / "flags.npz", keypoints=points, scores=np.full((1, 16), 2.0))
    done = run("lift", tmp_path / "flags.npz", "--model", weights, "--out", tmp_path / "x.npz")
    assert done.exit_code == 2 and "visibility flags" in done.output and not (tmp_path / "x.npz").exists()


def test_a_missing_wrist_leaves_the_other_joints_where_they_are(run, tmp_path):
    modes = []
    for name, points in (("whole", STANDING), ("part", without(WRIST))):
        file = save(tmp_path / f"{name}.json", coco(points))
        done = run("lift", file, "--n", 50, "--out", tmp_path / f"{name}.npz")
        assert done.exit_code == 0 and "warning" not in done.output, done.output
        modes.append(np.load(tmp_path / f"{name}.npz"))
    whole, part = modes
    assert part["missing"].tolist() == ["right_wrist"] and whole["missing"].tolist() == [""]
    moved = 1000 * np.linalg.norm(whole["mode"] - part["mode"], axis=-1)[0]
    assert np.delete(moved, 16).mean() < 60, moved  # millimetres; taken at its word, (0, 0) moves them by hundreds
    assert part["radii"][0, 16, 1] > 1.2 * whole["radii"][0, 16, 1], "nobody knows where the wrist is"


def test_a_clip_with_a_missing_joint_and_an_empty_frame(run, clip, weights, tmp_path):
    done = run("lift", clip, "--skeleton", "coco_17", "--model", weights, "--n", 2, "--out", tmp_path / "x.npz")
    assert done.exit_code == 0 and "1 of 5 frames have nobody" in done.output and "4 of 5" in done.output, done.output
    with np.load(tmp_path / "x.npz") as file:
        assert file["frame"].tolist() == [0, 1, 3, 4] and len(set(file["person"])) == 1
        assert file["missing"].tolist() == ["", "right_wrist", "", ""]


def test_who_lacks_joints_has_no_density_and_this_is_said(run, clip, weights, tmp_path):
    wanted = ("--skeleton", "coco_17", "--model", weights, "--n", 2, "--density")
    done = run("lift", clip, *wanted, "--out", tmp_path / "x.npz")
    assert done.exit_code == 0 and "1 of 4 poses lack joints and have no density" in done.output, done.output
    with np.load(tmp_path / "x.npz") as file:
        assert np.isnan(file["log_prob"]).all(0).tolist() == [False, True, False, False]


def test_people_keep_frame_name_image_and_box(run, weights, tmp_path):
    def seen(image, idx, shift):
        return {
            "image_id": f"{image}.jpg",
            "category_id": 1,
            "keypoints": flat(STANDING + shift),
            "score": 2.9,
            "box": [300 + shift, 90 + shift, 220, 470],
            "idx": idx,
        }

    file = save(tmp_path / "alphapose-results.json", [seen(0, 1, 0), seen(0, 2, 300), seen(1, 1, 2), seen(3, 1, 4)])
    done = run("lift", file, "--model", weights, "--n", 2, "--out", tmp_path / "x.json")
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "x.json").read_text())
    rows = content["rows"]
    assert [(row["frame"], row["person"], row["image"]) for row in rows] == [
        (0, 1, "0.jpg"),
        (0, 2, "0.jpg"),
        (1, 1, "1.jpg"),
        (3, 1, "3.jpg"),
    ]
    assert rows[1]["box"] == [600, 390, 820, 860] and len(rows[0]["poses"]) == 2 and content["units"] == "metres"


def test_frames_of_a_folder(run, weights, tmp_path):
    (tmp_path / "frames").mkdir()
    for frame, people in enumerate(([body_25()], [], [body_25(STANDING + 3)])):
        save(tmp_path / "frames" / f"own_{frame:012d}_keypoints.json", {"version": 1.3, "people": people})
    done = run("lift", tmp_path / "frames", "--model", weights, "--n", 2, "--out", tmp_path / "x.npz")
    assert done.exit_code == 0 and "have nobody: 1" in done.output, done.output
    assert np.load(tmp_path / "x.npz")["frame"].tolist() == [0, 2]


def test_scores_visibility_and_frames_of_other_tools(run, weights, tmp_path):
    flags = flat(STANDING, 2)
    flags[3 * WRIST : 3 * WRIST + 3] = [0, 0, 0]
    one = {"keypoints": STANDING.tolist(), "keypoint_scores": [0.4] * 17, "bbox": [[300, 90, 520, 560]]}
    joints = [{"x": x, "y": y, "visible": 0.7} for x, y in STANDING]
    yolo = {key: [point[key] for point in joints] for key in ("x", "y", "visible")}
    table = "frame,person,joint,x,y,score\n" + "".join(
        f"{frame},0,{j},{x},{y},0.9\n" for frame in range(3) for j, (x, y) in enumerate(STANDING)
    )
    files = {
        "coco.json": {"images": [], "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "keypoints": flags}]},
        "mmpose.json": [one],
        "yolo.json": [{"name": "person", "class": 0, "confidence": 0.9, "keypoints": yolo}],
        "table.csv": table,
    }
    for name, content in files.items():
        words = ("--skeleton", "coco_17", "--model", weights, "--n", 2, "--out", tmp_path / "x.npz")
        done = run("lift", save(tmp_path / name, content), *words)
        assert done.exit_code == 0, (name, done.output)
        found = np.load(tmp_path / "x.npz")
        assert len(found["frame"]) == (3 if name == "table.csv" else 1), name
        assert (found["missing"] == ("right_wrist" if name == "coco.json" else "")).all(), name


def test_shares_of_the_image_need_its_size(run, weights, tmp_path):
    shares = save(tmp_path / "x.json", {"keypoints": (STANDING / [640, 600]).tolist()})
    words = ("lift", shares, "--skeleton", "coco_17", "--model", weights, "--n", 2, "--out")
    done = run(*words, tmp_path / "x.npz")
    assert done.exit_code == 2 and "give --image-size, such as 1280x720" in done.output
    assert run(*words, tmp_path / "x.npz", "--image-size", "640x600").exit_code == 0
    run("lift", save(tmp_path / "y.json", {"keypoints": STANDING.tolist()}), *words[2:], tmp_path / "y.npz")
    assert np.allclose(np.load(tmp_path / "x.npz")["mode"], np.load(tmp_path / "y.npz")["mode"], atol=1e-3)
    done = run(*words, tmp_path / "z.npz", "--image-size", "640")
    assert done.exit_code == 2 and "1280x720" in done.output


def test_people_of_too_few_joints_are_left_out_by_name(run, weights, tmp_path):
    few = np.full_like(STANDING, np.nan)
    few[:5] = STANDING[:5]  # a face alone
    point = np.full_like(STANDING, 50.0)
    people = [{"image_id": 0, "category_id": 1, "keypoints": flat(p), "score": 1.0} for p in (STANDING, few, point)]
    done = run("lift", save(tmp_path / "a.json", people), "--model", weights, "--n", 2, "--out", tmp_path / "x.npz")
    assert done.exit_code == 0 and len(np.load(tmp_path / "x.npz")["mode"]) == 1, done.output
    assert "1 of 3 people were left out, fewer than 4 joints" in done.output and "1 of frame 0" in done.output
    assert "all joints in one place: 2 of frame 0" in done.output


def test_nobody_is_a_line_and_no_file(run, weights, tmp_path):
    nobody = save(tmp_path / "own_000000000001_keypoints.json", {"version": 1.3, "people": []})
    done = run("lift", nobody, "--model", weights, "--out", tmp_path / "x.npz")
    assert done.exit_code == 0 and "nobody" in done.output and not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize("form", ["npz", "json", "csv", "bvh", "trc", "glb", "gltf"])
def test_the_file_is_the_one_that_was_asked_for(form, run, clip, weights, tmp_path):
    folder = tmp_path / "out"
    done = run("lift", clip, "--skeleton", "coco_17", "--model", weights, "--n", 2, "--out", folder / f"x.{form}")
    assert done.exit_code == 0 and [p.name for p in folder.iterdir()] == [f"x.{form}"], done.output
    content = (folder / f"x.{form}").read_bytes()
    starts = {"npz": b"PK", "json": b"{", "csv": b"frame,", "bvh": b"HIERARCHY", "trc": b"PathFileType", "glb": b"glTF"}
    assert content.startswith(starts.get(form, b"{"))
    if form == "csv":
        rows = list(csv.DictReader(content.decode().splitlines()))
        modes = [row for row in rows if row["hypothesis"] == "mode"]
        assert (
            len(rows) == 4 * 3 * 17
            and len(modes) == 4 * 17
            and {row["missing"] for row in modes} == {"", "right_wrist"}
        )
        assert float(modes[0]["reprojection_percent"]) > 0 and modes[0]["flagged"] in ("True", "False")


@pytest.mark.parametrize("name", ["x.txt", "x", "taken.json", "file/x.npz"])
def test_what_cannot_be_written_is_found_before_the_work(name, run, keypoints, tmp_path, monkeypatch):
    monkeypatch.setattr("probpose.models.pretrained.load_pretrained", lambda *_: pytest.fail("the work was begun"))
    (tmp_path / "taken.json").mkdir()
    (tmp_path / "file").touch()
    done = run("lift", keypoints, "--skeleton", "coco_17", "--out", tmp_path / name)
    assert done.exit_code == 2 and "Error" in done.output and "expected" in done.output, done.output


def test_motions_draw_nothing(run, clip, weights, tmp_path, monkeypatch):
    monkeypatch.setattr("probpose.models.posterior.PosePosterior.sample", lambda *_: pytest.fail("drawn"))
    done = run("lift", clip, "--skeleton", "coco_17", "--model", weights, "--out", tmp_path / "x.bvh")
    assert done.exit_code == 0 and "as a motion" in done.output and "interpolated" in done.output, done.output


def test_the_evidence_is_written_in_pixels(run, tmp_path):
    file = save(tmp_path / "a.json", coco(without(WRIST)))
    assert run("lift", file, "--n", 2, "--out", tmp_path / "x.npz").exit_code == 0
    found = np.load(tmp_path / "x.npz")
    assert found["keypoints"].shape == (1, 16, 2) and found["keypoints"].dtype == np.float32
    right_wrist, left_wrist = 10, 15
    assert np.isnan(found["keypoints"][0, right_wrist]).all() and found["scores"][0, right_wrist] == 0
    assert np.abs(found["keypoints"][0, left_wrist] - STANDING[9]).max() < 0.01
    covariance = np.delete(found["covariance"][0], right_wrist, 0)
    widths = np.sqrt(np.linalg.eigvalsh(covariance))
    assert (widths > 1).all() and (widths < 60).all() and np.isnan(found["covariance"][0, right_wrist]).all()
    assert str(found["source"]) == str(file)


def test_an_interruption_keeps_what_was_done(run, clip, weights, tmp_path, monkeypatch):
    calls = []

    def interrupt(*arguments, sample=PosePosterior.sample):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return sample(*arguments)

    monkeypatch.setattr("probpose.models.posterior.PosePosterior.sample", interrupt)
    monkeypatch.setattr("probpose.cli.lift._AT_ONCE", 2)  # one person at a time
    words = ("--skeleton", "coco_17", "--model", weights, "--n", 2, "--out", tmp_path / "x.npz")
    done = run("lift", clip, *words)
    assert done.exit_code == 130 and "interrupted" in done.output and "2 of 4 people alone" in done.output, done.output
    assert np.load(tmp_path / "x.npz")["frame"].tolist() == [0, 1]


def test_more_than_can_be_kept_is_refused(run, clip, weights, tmp_path, monkeypatch):
    monkeypatch.setattr("probpose.models.pretrained.load_pretrained", lambda *_: pytest.fail("the work was begun"))
    monkeypatch.setattr("probpose.cli.lift._LARGEST", 100_000)
    words = ("--skeleton", "coco_17", "--model", weights, "--out", tmp_path / "x.npz")
    done = run("lift", clip, *words)
    assert done.exit_code == 2 and "--n 122" in done.output and "poses.bvh" in done.output, done.output


def test_an_interruption_leaves_the_old_file(run, keypoints, weights, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.npz").write_text("old")
    monkeypatch.setattr("probpose.models.posterior.PosePosterior.sample", interrupt)
    words = ("--skeleton", "coco_17", "--model", weights, "--out", tmp_path / "out" / "x.npz")
    assert run("lift", keypoints, *words).exit_code == 130
    assert [p.read_text() for p in (tmp_path / "out").iterdir()] == ["old"]


def test_upside_down_people_sound_the_alarm(run, tmp_path):
    down = save(tmp_path / "down.json", coco([600, 600] - STANDING * [-1, 1] - [600, 0]))
    done = run("lift", down, "--n", 5, "--out", tmp_path / "x.npz")
    assert done.exit_code == 0 and "1 of 1 people have their heads below" in done.output, done.output
    assert np.load(tmp_path / "x.npz")["flagged"].tolist() == [True]


@pytest.mark.parametrize("option", ["--boxes", "--detector"])
def test_options_of_pictures_are_refused_beside_keypoints(option, run, keypoints, tmp_path):
    done = run("lift", keypoints, "--skeleton", "coco_17", option, "blazepose", "--out", tmp_path / "x.npz")
    assert done.exit_code == 2 and option in done.output and "leave it out" in done.output


def test_nothing_at_the_path_and_an_empty_folder(run, tmp_path):
    (tmp_path / "empty").mkdir()
    for name, words in (("none.jpg", "check the path"), ("empty", "no files")):
        done = run("lift", tmp_path / name, "--out", tmp_path / "x.npz")
        assert done.exit_code == 2 and "DataFileError" in done.output and words in done.output, done.output


def test_people_with_names_are_numbered(run, weights, tmp_path):
    rows = "".join(
        f"0,{who},{j},{x},{y},1\n" for who in ("ann", "bob") for j, (x, y) in enumerate(STANDING + 5 * len(who))
    )
    file = save(tmp_path / "a.csv", "frame,person,joint,x,y,score\n" + rows)
    words = ("--skeleton", "coco_17", "--model", weights, "--n", 2, "--out", tmp_path / "x.npz")
    assert run("lift", file, *words).exit_code == 0
    found = np.load(tmp_path / "x.npz")
    assert found["person"].tolist() == [0, 1] and found["person_name"].tolist() == ["ann", "bob"]


def test_scores_of_another_shape_are_refused(run, weights, tmp_path):
    people = {"keypoints": [STANDING.tolist()] * 2, "scores": np.ones((17, 2)).tolist()}
    done = run("lift", save(tmp_path / "a.json", people), "--skeleton", "coco_17", "--out", tmp_path / "x.npz")
    assert done.exit_code == 2 and "scores" in done.output
