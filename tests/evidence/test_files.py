"""Files of key points: every layout that is read, every defect that is refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from probpose.core.errors import ConfigError, DataFileError, DegeneratePoseError, NotFiniteError
from probpose.evidence.files import keypoints_on_crop, named_array, read_file_arrays
from probpose.evidence.formats import read_people

ROWS = np.concatenate([100 + np.arange(34.0).reshape(17, 2), np.full((17, 1), 0.5)], 1)


@pytest.mark.parametrize(
    "name", ["a.npy", "a.npz", "a.safetensors", "a.json", "flat.json", "record.json", "coco.json", "a.csv"]
)
def test_layouts(name, tmp_path):
    file = tmp_path / name
    contents = {"a.json": ROWS, "flat.json": ROWS.ravel()}
    if name == "record.json":
        file.write_text(json.dumps({"keypoints": ROWS.ravel().tolist(), "image_id": 3}))
    elif name == "coco.json":
        file.write_text(json.dumps([{"keypoints": ROWS.ravel().tolist(), "score": 0.9}]))
    elif name.endswith(".json"):
        file.write_text(json.dumps(contents[name].tolist()))
    elif name == "a.csv":
        file.write_text(
            "person,joint,x,y,score\n" + "".join(f"7,{j},{x},{y},{s}\n" for j, (x, y, s) in enumerate(ROWS))
        )
    elif name == "a.npy":
        np.save(file, ROWS)
    elif name == "a.npz":
        np.savez(file, keypoints=ROWS[None, :, :2], scores=ROWS[None, :, 2], other=np.zeros(3))
    else:
        save_file({"keypoints": torch.from_numpy(ROWS)}, file)
    people = read_people(file, "coco_17")
    assert np.array_equal(people.keypoints, ROWS[None, :, :2].astype(np.float32))
    assert np.array_equal(people.scores, np.full((1, 17), 0.5, np.float32))


def test_points_without_scores_and_alone_in_their_file(tmp_path):
    np.savez(tmp_path / "a.npz", people=ROWS[:, :2])
    people = read_people(tmp_path / "a.npz", "coco_17")
    assert people.keypoints.shape == (1, 17, 2) and people.keypoints.dtype == np.float32 and (people.scores == 1).all()
    assert named_array(read_file_arrays(tmp_path / "a.npz"), "keypoints", tmp_path).shape == (17, 2)


def test_people_of_a_table_keep_their_order(tmp_path):
    lines = [f"{p},{j},{p},{j},1\n" for p in (2, 10, 9) for j in range(16)]
    (tmp_path / "a.csv").write_text("person,joint,x,y,score\n" + "".join(lines))
    assert read_people(tmp_path / "a.csv", "mpii_16").keypoints[:, 0, 0].tolist() == [2, 10, 9]


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.json", "[1, 2"),
        ("a.json", '{"points": []}'),
        ("a.json", '{"keypoints": [1, 2]}'),
        ("a.json", '{"keypoints": null}'),
        ("a.json", '[[["a", "b"]]]'),
        ("a.json", "[[1, 2], [3]]"),
        ("a.csv", "person,joint\n0,0\n"),
        ("a.csv", ""),
        ("a.npz", ""),
        ("a.npy", "this is text"),
        ("a.safetensors", "this is text"),
        ("a.txt", "0 0"),
    ],
)
def test_what_holds_no_keypoints_is_refused(name, content, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataFileError, match="keypoints"):
        read_people(tmp_path / name, "coco_17")


def test_missing_pickled_cut_and_nameless_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "whole.npz", keypoints=np.zeros((2, 16, 2)), scores=np.ones(5))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:100])
    np.savez(tmp_path / "evil.npz", keypoints=np.array([{"a": 1}], dtype=object))
    np.savez(tmp_path / "names.npz", a=np.zeros(3), b=np.zeros(3))
    for name in ("whole.npz", "cut.npz", "evil.npz", "names.npz", "missing.npz", "missing.json", "missing.csv"):
        with pytest.raises(DataFileError, match="keypoints"):
            read_people(tmp_path / name, "coco_17")
    with pytest.raises(DataFileError):
        read_file_arrays(tmp_path / "evil.npz")


@pytest.mark.parametrize(
    "place, number, error, words",
    [
        ((0, 0), np.inf, NotFiniteError, "keypoints"),
        ((3, 2), np.inf, NotFiniteError, "scores"),
        ((16, 2), 2.0, ConfigError, "visibility"),
        ((5, 2), -1.0, ConfigError, "scores"),
    ],
)
def test_places_and_scores_that_are_none_are_refused(place, number, error, words, tmp_path):
    rows = ROWS.copy()
    rows[place] = number
    np.save(tmp_path / "a.npy", rows)
    with pytest.raises(error, match=f"a.npy: .*{words}"):
        read_people(tmp_path / "a.npy", "coco_17")


def test_missing_joints_are_nan_and_have_no_score(tmp_path):
    lines = [f"0,{j},{5 + j},9,1\n" for j in range(16) if j != 1]
    (tmp_path / "a.csv").write_text("person,joint,x,y,score\n" + "".join(lines))
    rows = ROWS.copy()
    rows[3], rows[5, 0] = 0, np.nan
    np.save(tmp_path / "a.npy", rows)
    for name, missing in (("a.csv", [1]), ("a.npy", [3, 5])):
        people = read_people(tmp_path / name, "mpii_16" if name == "a.csv" else "coco_17")
        assert np.isnan(people.keypoints[0]).any(-1).nonzero()[0].tolist() == missing
        assert (people.scores[0] == 0).nonzero()[0].tolist() == missing
    np.save(tmp_path / "a.npy", 0 * rows)
    assert not len(read_people(tmp_path / "a.npy", "coco_17"))


def test_joints_that_were_not_found_do_not_pull_the_crop():
    xy = torch.tensor([[[10.0, 10.0], [30.0, 50.0], [0.0, 0.0]]])
    cells, crop = keypoints_on_crop(xy, torch.tensor([[1.0, 0.5, 0.0]]))
    assert crop.centre.tolist() == [[20, 30]] and cells[0, 2].tolist() == [0, 0]
    with pytest.raises(DegeneratePoseError, match="two joints"):
        keypoints_on_crop(xy, torch.tensor([[1.0, 0.0, 0.0]]))
    with pytest.raises(ConfigError, match="width and height"):
        keypoints_on_crop(xy / 100, torch.ones(1, 3))
