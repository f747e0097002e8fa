"Names and paths that prose mentions exist: in the README, the chapters, model cards, notebooks and docstrings."

import ast
import importlib
import json
import re

import pytest
from measure import ROOT, modules, room_order

import probpose


def markdown_files():
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "book").glob("*.md")]
    return sorted([*files, *(ROOT / "nbs").rglob("index.md"), *(ROOT / "probpose").rglob("*.md")])


def prose() -> dict[str, str]:
    "Everything that is written for readers, by the file it stands in."
    found = {}
    for path in markdown_files():
        text = path.read_text(encoding="utf-8")
        found[str(path.relative_to(ROOT))] = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for path in sorted((ROOT / "nbs").rglob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        found[str(path.relative_to(ROOT))] = text
    for name, tree in modules().items():
        kinds = (ast.Module, ast.FunctionDef, ast.ClassDef)
        texts = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]
        found[name] = "\n".join(texts)
    return found


def resolves(name: str) -> bool:
    "Whether room.module, or room.module.name, exists in the package."
    parts = name.removeprefix("probpose.").split(".")
    for length in range(len(parts), -1, -1):
        try:
            value = importlib.import_module(".".join(["probpose", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False


def mentioned_names(text: str) -> list[str]:
    "Dotted names of the package in code marks; what follows a bracket is left out."
    rooms = "|".join([*room_order(), "probpose"])
    return re.findall(rf"`((?:{rooms})(?:\.[A-Za-z_]\w*)+)(?:\([^`]*\))?`", text)


def mentioned_paths(text: str) -> list[str]:
    "Paths of the repository; those with a placeholder such as <name> are left out."
    paths = re.findall(r"\b(?:nbs|tests|probpose|book)/[\w./-]*\w(?!\w*<)", text)
    return [path for path in paths if "_build/" not in path and not path.endswith(("_", "weights"))]


def test_dotted_names_resolve():
    wrong = [(where, name) for where, text in prose().items() for name in mentioned_names(text) if not resolves(name)]
    assert wrong == []


def test_paths_exist():
    wrong = [
        (where, path)
        for where, text in prose().items()
        for path in mentioned_paths(text)
        if not list(ROOT.glob(path)) and not list(ROOT.glob(path + ".*"))
    ]
    assert wrong == []


def lost_anchors(text: str, labels: set[str]) -> list[str]:
    "Links into a page whose place bears no label; headings by themselves are no places that a link reaches."
    return [
        place for place in re.findall(r"\]\([^)\s]*#([^)\s]+)\)", text) if "//" not in place and place not in labels
    ]


def test_links_into_pages_lead_to_labels():
    pages = {where: text for where, text in prose().items() if where.startswith(("book/", "nbs/"))}
    given = [label for text in pages.values() for label in re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE)]
    labels = set(given)
    assert len(given) == len(labels), f"given twice: {sorted(label for label in labels if given.count(label) > 1)}"
    assert [(where, lost) for where, text in pages.items() if (lost := lost_anchors(text, labels))] == []
    assert lost_anchors("[a](#here), [b](page.md#there), [c](other.md)", {"here"}) == ["there"]


@pytest.mark.parametrize("text", ["see `models.HuMR`", "`probpose.detectors.load`", "`studies.page.nothing(x)`"])
def test_a_name_that_is_gone_would_be_found(text):
    assert not all(resolves(name) for name in mentioned_names(text)) and mentioned_names(text)


def test_rooms_are_importable_by_name():
    for room in room_order():
        assert getattr(probpose, room).__name__ == f"probpose.{room}"
