"Files as people have them, through the command line: exit codes, who is where, and what is said."

import csv
import io
import json
import zipfile

import numpy as np
import pytest

from probpose.geometry.conversions import rest_pose
from probpose.geometry.skeletons import find_skeleton
from probpose.metrics.reprojection import ALARM

SIZE = np.array([1280, 720])


def points_of(name):
    "Joints of somebody who stands upright, in pixels, y down."
    return (np.array([640, 380]) + 300 * rest_pose(name)[:, :2].double().numpy()).round(1)


def scored(name, score=0.9):
    return np.concatenate([points_of(name), np.full((find_skeleton(name).num_joints, 1), score)], 1)


def write_halpe(path):
    person = {
        "image_id": "0.jpg",
        "category_id": 1,
        "keypoints": scored("halpe_26", 1.3).ravel().tolist(),
        "score": 3.1,
    }
    path.write_text(json.dumps([person]))


def write_ultralytics(path):
    x, y = points_of("coco_17").T.tolist()
    box = {"x1": 500, "y1": 100, "x2": 800, "y2": 700}
    joints = {"x": x, "y": y, "visible": [0.9] * 17}
    path.write_text(json.dumps([{"name": "person", "class": 0, "confidence": 0.9, "box": box, "keypoints": joints}]))


def write_labels(path):
    shares = np.concatenate([points_of("coco_17") / SIZE, np.full((17, 1), 0.9)], 1)
    path.write_text("0 0.5 0.5 0.3 0.8 " + " ".join(f"{x:.6f}" for x in shares.ravel()) + "\n")


def write_videopose(path):
    clip = np.stack([points_of("coco_17") + [3 * k, 0] for k in range(3)])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {"positions_2d": {"S1": {"Walking": [clip]}}, "metadata": {"layout_name": "coco"}}.items():
            data = io.BytesIO()
            np.save(data, np.array(content, dtype=object), allow_pickle=True)
            archive.writestr(f"{name}.npy", data.getvalue())


def write_deeplabcut(path):
    joints = find_skeleton("coco_17").joints
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["scorer"] + ["me"] * 51)
        table.writerow(["bodyparts"] + [joint for joint in joints for _ in range(3)])
        table.writerow(["coords"] + ["x", "y", "likelihood"] * 17)
        table.writerows([[k, *scored("coco_17").ravel()] for k in range(2)])


def write_clip_without_frames(path):
    rows = [(points_of("coco_17") + [3 * k, 0]).tolist() for k in range(4)]
    rows[2][9] = [None, None]
    path.write_text(json.dumps({"keypoints": rows}))


CASES = {  # file, what writes it, options, rows of the answer as (frame, person), what is said
    "halpe": ("a.json", write_halpe, (), [(0, 0)], "outside 0 … 1 were clamped"),
    "ultralytics": ("a.json", write_ultralytics, (), [(0, 0)], "read as Ultralytics"),
    "labels": ("a.txt", write_labels, ("--image-size", "1280x720"), [(0, 0)], "multiplied by 1280 × 720"),
    "videopose": ("a.npz", write_videopose, (), [(0, 0), (1, 0), (2, 0)], "S1/Walking/0"),
    "deeplabcut": ("a.csv", write_deeplabcut, (), [(0, 0), (1, 0)], "read as DeepLabCut"),
    "clip": (
        "a.json",
        write_clip_without_frames,
        ("--skeleton", "coco_17"),
        [(0, 0), (1, 0), (2, 0), (3, 0)],
        "frames of one person",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_file_of_another_tool_gives_people_that_stand_where_they_stood(case, run, tmp_path):
    name, write, options, rows, said = CASES[case]
    write(tmp_path / name)
    answer = run("lift", tmp_path / name, "--n", 4, "--out", tmp_path / "out.npz", *options)
    assert answer.exit_code == 0 and said in answer.output, answer.output
    with np.load(tmp_path / "out.npz") as found:
        person = found["person"] if found["person"].dtype.kind == "i" else np.zeros(len(found["frame"]))
        assert [*zip(found["frame"].tolist(), person.tolist())] == rows
        assert found["reprojection_percent"].max() < ALARM and not found["flagged"].any()


def test_what_is_to_be_named_is_asked_for_with_its_option(run, tmp_path):
    write_labels(tmp_path / "a.txt")
    answer = run("lift", tmp_path / "a.txt", "--out", tmp_path / "out.npz")
    assert answer.exit_code == 2 and "--image-size" in answer.output
    (tmp_path / "b.json").write_text(json.dumps({"keypoints": points_of("coco_17").tolist()}))
    answer = run("lift", tmp_path / "b.json", "--out", tmp_path / "out.npz")
    assert answer.exit_code == 2 and "--skeleton" in answer.output and not (tmp_path / "out.npz").exists()
