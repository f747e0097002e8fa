"Every table and figure of the papers."

import re

import pytest
import yaml

from probpose.core.errors import ConfigError
from probpose.ledger.places import book_folder
from probpose.ledger.registry import artifact_problems, load_registry

BOOK = book_folder()


SHARED = BOOK.parent.parent / "shared"


EXPECTED = {
    "poseflow": "F1 F2 F3 F4 F5 F6 F7 F8 F9 T1 T2 T3 T4 T5 sec4.5 secD",
    "elepose": "F1 F2 F3 F4 F5 T1 T2 T3 T4 T5",
    "diffpose": "F1 F2 F3 F4 F5 T1 T2 T3 T4",
    "humr": "F1 F2 F3 F4 F5 F6 T1 T2 T3 S1 S2 S1-fig S2-fig S3 S4 S5 S6",
}


def test_the_registry_lists_every_table_and_figure():
    entries = load_registry()
    assert {paper: sorted(part["id"]) for paper, part in entries.groupby("paper")} == {
        paper: sorted(ids.split()) for paper, ids in EXPECTED.items()
    }


def test_the_expected_list_is_that_of_the_project():
    source = SHARED / "ARTIFACTS.md"
    if not source.is_file():
        pytest.skip("the project's list is not at hand (../shared/ARTIFACTS.md beside the checkout)")
    papers = re.split(r"^## ", source.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = {text.split()[0].lower(): sorted(_ids(text)) for text in papers}
    assert found == {paper: sorted(ids.split()) for paper, ids in EXPECTED.items()}


def _ids(text):
    for row in re.findall(r"^\| (?!id |---)([^|]+) \|", text, flags=re.MULTILINE):
        for name in row.strip().split(", "):
            first, _, last = name.partition("–")
            numbers = range(int(first[1:]), int(last[1:]) + 1) if last else []
            yield from [f"{first[0]}{number}" for number in numbers] or [name.replace("§", "sec").replace(" ", "-")]


def test_registry_and_chapters_agree():
    assert artifact_problems() == []


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"label": "artifact:poseflow-T2"}, "expected the label"),
        ({"state": "finished"}, "state"),
        ({"state": "partial"}, "note"),
        ({"colour": "red"}, "expected the keys"),
        ({"paper": "nerf"}, "paper"),
    ],
)
def test_incomplete_entries_are_refused(tmp_path, changes, match):
    entry = {
        "id": "T1",
        "paper": "poseflow",
        "title": "t",
        "chapter": "poseflow",
        "label": "artifact:poseflow-T1",
        "dataset": "cmu",
        "stand_in": "s",
        "state": "done",
        "note": "",
    }
    (tmp_path / "artifacts.yml").write_text(yaml.safe_dump([{**entry, **changes}]))
    with pytest.raises(ValueError, match=match):
        load_registry(tmp_path)
    (tmp_path / "artifacts.yml").write_text(yaml.safe_dump([entry, entry]))
    with pytest.raises(ConfigError, match="each label once"):
        load_registry(tmp_path)
