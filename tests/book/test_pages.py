"Pages and the table of contents of the library."

import json

import nbformat
import pytest

from probpose.book.pages import list_rooms, module_page, page_source, split_directives, toc_pages, write_toc
from probpose.core.errors import ConfigError


@pytest.fixture
def rooms(tmp_path):
    "A repository with one room in another."
    (tmp_path / "nbs/models/poseflow").mkdir(parents=True)
    for name in (
        "index.md",
        "02_pretrained.ipynb",
        "01_posterior.ipynb",
        "poseflow/index.md",
        "poseflow/01_config.ipynb",
    ):
        (tmp_path / "nbs/models" / name).touch()
    (tmp_path / "nbs/01_three_lines.ipynb").touch()
    (tmp_path / "nbs/layers.yml").write_text("models: [models]\n")
    return tmp_path


def test_a_room_opens_and_holds_its_pages_then_its_rooms(rooms):
    [room, top] = list_rooms(rooms)
    assert room["file"] == "nbs/models/index" and top == {"file": "nbs/01_three_lines"}
    assert [entry["file"] for entry in room["sections"]] == [
        "nbs/models/01_posterior",
        "nbs/models/02_pretrained",
        "nbs/models/poseflow/index",
    ]
    assert room["sections"][-1]["sections"] == [{"file": "nbs/models/poseflow/01_config"}]


def test_only_the_library_part_is_renewed(rooms):
    before = (
        "# a comment\nroot: book/index\nparts:\n- caption: One\n  chapters:\n  - file: book/a\n- caption: The library\n"
    )
    (rooms / "_toc.yml").write_text(before + "  chapters: []\n")
    written = write_toc(rooms).read_text()
    assert written.startswith(before) and toc_pages(rooms / "_toc.yml")[:2] == ["book/index", "book/a"]
    assert write_toc(rooms).read_text() == written


def test_a_chapter_with_a_study_joins_the_first_part_once(rooms):
    (rooms / "book").mkdir()
    for name in ("poseflow.md", "speed.md", "decisions.md"):
        (rooms / "book" / name).touch()
    parts = (
        "- caption: One\n  chapters:\n  - file: book/speed\n- caption: Two\n  chapters: []\n- caption: The library\n"
    )
    (rooms / "_toc.yml").write_text("root: book/index\nparts:\n" + parts)
    for _ in range(2):
        pages = toc_pages(write_toc(rooms))
        assert pages[:3] == ["book/index", "book/speed", "book/poseflow"] and pages[3].startswith("nbs/")


@pytest.mark.parametrize("layers", ["models: [models, forgotten]", "models: []"])
def test_rooms_and_layers_must_agree(rooms, layers):
    (rooms / "nbs/layers.yml").write_text(layers)
    with pytest.raises(ConfigError, match="forgotten|models"):
        list_rooms(rooms)


def test_missing_and_double_pages_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="table of contents"):
        toc_pages(tmp_path / "_toc.yml")
    with pytest.raises(ConfigError, match="does not exist"):
        page_source("a", tmp_path)
    for name in ("a.md", "a.ipynb"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match="twice"):
        page_source("a", tmp_path)


@pytest.mark.parametrize("line", ["#|export", "#| export", "# | export"])
def test_directives_are_found_however_they_are_written(line):
    assert split_directives(f"{line}\nx = 1") == (["export"], "x = 1")


def test_a_page_leaves_the_notebook_as_it_is():
    cells = [
        nbformat.v4.new_code_cell(text) for text in ("#| default_exp a", "#| hide\nx = 1", "#| eval: false\nslow()")
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    before = json.dumps(notebook)
    kinds = [cell["cell_type"] for cell in module_page(notebook)["cells"]]
    assert kinds == ["code", "markdown"] and json.dumps(notebook) == before
