"The folder from which the site is built, and the links between its pages."

import posixpath
import re
from pathlib import Path

import nbformat
import pytest

from probpose.book.pages import is_executed
from probpose.book.site import execution_note, fold_tag, main, relink

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "folder, link, expected",
    [
        ("book", "a.md", "a.ipynb"),
        ("book", "a.md#part", "a.ipynb#part"),
        ("book", "index.md", "index.md"),
        ("nbs/core", "../../book/a.md", "../../book/a.ipynb"),
        ("nbs/models/poseflow", "../../../book/a.md#part", "../../../book/a.ipynb#part"),
        ("nbs/models/poseflow", "../index.md", "../index.md"),
        ("nbs/models/poseflow", "01_config.ipynb", "01_config.ipynb"),
        ("nbs/models", "../book/a.md", "../book/a.md"),  # nbs/book/a, another page
    ],
)
def test_links_to_executed_chapters_become_links_to_notebooks(folder, link, expected):
    assert relink(f"see [it]({link}).", folder, {"book/a"}) == f"see [it]({expected})."


def test_links_between_pages_lead_to_pages():
    "From every page of the book, in however deep a folder."
    sources = [*(ROOT / "book").glob("*.md"), *(ROOT / "nbs").rglob("*.ipynb"), *(ROOT / "nbs").rglob("index.md")]
    pages = {source.relative_to(ROOT).with_suffix("").as_posix(): source for source in sources}
    broken = []
    for page, source in pages.items():
        cells = nbformat.read(source, 4).cells if source.suffix == ".ipynb" else []
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown") or source.read_text("utf-8")
        for target in re.findall(r"\]\(([\w./-]+?)\.(?:md|ipynb)(?:#[\w-]+)?\)", text):
            if posixpath.normpath(posixpath.join(posixpath.dirname(page), target)) not in pages:
                broken.append(f"{page}: {target}")
    assert not broken


def test_every_room_has_an_index_in_words():
    for index in (ROOT / "nbs").rglob("index.md"):
        text = index.read_text(encoding="utf-8")
        assert text.startswith("# ") and len(text.split()) > 5 and not is_executed(index), index


def test_a_page_says_what_it_shows():
    assert "committed with the book" in execution_note({"tier": "smoke"})
    note = execution_note({"tier": "full", "dataset": "cmu", "seed": 1})
    assert "committed with" not in note and "tier **full** on the data set **cmu**, seed **1**." in note


@pytest.mark.parametrize(
    "source, tag",
    [
        ("from a import b\nb()", "hide-input"),
        ("glue('a', 1)", "remove-input"),
        ("for x in y:\n    glue(x, 1)\n    show(x)", ""),
        ("glue", ""),
        ("!ls", ""),
        ("", ""),
    ],
)
def test_cells_that_only_prepare_are_folded(source, tag):
    assert fold_tag(source) == tag


def test_the_command_line_needs_a_command(capsys):
    with pytest.raises(SystemExit):
        main([])
    assert "page" in capsys.readouterr().err
