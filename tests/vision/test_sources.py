"What a path is, and boxes from tables."

import json

import numpy as np
import pytest
import torch

from probpose.core.errors import ConfigError, DataFileError
from probpose.vision.sources import Frame, find_source, read_boxes


def test_paths_that_are_no_pictures(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "notes.md").write_text("# notes")
    for name in ("a.json", "notes.md", "none.jpg"):
        assert find_source(tmp_path / name) is None


def test_folders(tmp_path):
    with pytest.raises(DataFileError, match="no files"):
        find_source(tmp_path)
    for name in ("b.JPG", "a1.png", "a10.png", "a9.png", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "inner.png").mkdir()
    source = find_source(tmp_path)
    assert [(frame.number, frame.name) for frame in source] == list(enumerate(["a1.png", "a9.png", "a10.png", "b.JPG"]))
    assert source.length == 4 and not source.notes and not source.moving
    for k in range(3):
        (tmp_path / f"{k}.txt").touch()
    assert "0.txt, 1.txt, 2.txt" in find_source(tmp_path).notes[0]


def test_boxes_of_our_own_results(tmp_path):
    boxes = np.arange(8.0).reshape(2, 4)
    boxes[:, 2:] += 10
    np.savez(tmp_path / "poses.npz", box=boxes, image=np.array(["", ""]), frame=np.array([3, 5]), poses=np.zeros(2))
    found = read_boxes(tmp_path / "poses.npz")
    assert found.image is None and found.of(Frame(5, "", torch.zeros(0))).tolist() == boxes[1:].tolist()
    assert found.of(Frame(4, "", torch.zeros(0))).shape == (0, 4)


def test_rows_and_pictures(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    source = find_source(tmp_path)
    row = {"x0": 1, "y0": 2, "x1": 3, "y1": 4}
    table = tmp_path / "boxes.json"

    def read(*images):
        table.write_text(json.dumps([row | {"image": image} for image in images]))
        boxes = read_boxes(table)
        boxes.check(source)
        return boxes.in_order(source)

    assert read("a.png", "a.png", "folder/b.png") and not read("b.png", "a.png")
    with pytest.raises(ConfigError, match="c.png"):
        read("a.png", "c.png")
    table.write_text(json.dumps([row]))
    with pytest.raises(ConfigError, match="image or frame"):
        read_boxes(table).check(source)


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '[{"x0": 1}]', '{"a": 1}'])
def test_tables_that_are_none(content, tmp_path):
    (tmp_path / "boxes.json").write_text(content)
    with pytest.raises(DataFileError, match="boxes.json"):
        read_boxes(tmp_path / "boxes.json")
    for name in ("none.csv", "boxes.txt"):
        with pytest.raises(DataFileError, match="table"):
            read_boxes(tmp_path / name)
