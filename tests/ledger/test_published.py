"The papers' numbers."

import re

import pandas as pd
import pytest

from probpose.core.errors import ConfigError, DataFileError, UnknownNameError
from probpose.ledger.places import book_folder
from probpose.ledger.published import load_published, published_problems, published_value

BOOK = book_folder()


SHARED = BOOK.parent.parent / "shared"


TABLES = sorted(path.stem for path in (BOOK / "published").glob("*.csv"))


@pytest.mark.parametrize("name", TABLES)
def test_published_tables_are_consistent(name):
    assert published_problems(name) == []


def test_every_table_of_poseflow_is_transcribed():
    assert {
        f"poseflow_{part}" for part in ("table1", "table2", "table3", "table4", "table5", "spread", "time", "worst")
    } <= set(TABLES)
    assert len(load_published("poseflow_table1")) == 7 * 16 * 2


@pytest.mark.parametrize("name", TABLES)
def test_published_numbers_stand_in_the_paper(name):
    number = {"poseflow": "000", "elepose": "001", "humr": "002", "diffpose": "003"}[name.split("_")[0]]
    found = list((SHARED / "papers").glob(f"{number}_*.txt"))
    if not found:
        pytest.skip("the papers' text is not at hand (../shared/papers beside the checkout)")
    text = found[0].read_text(encoding="utf-8")
    rows = pd.read_csv(BOOK / "published" / f"{name}.csv", dtype=str, keep_default_na=False)
    missing = [
        value
        for value in {*rows["value"], *rows["spread"]} - {""}
        if not re.search(rf"(?<![\d.]){re.escape(value)}(?![\d]|\.\d)", text)
    ]
    assert missing == []


def test_wrong_transcriptions_are_noticed(tmp_path):
    (tmp_path / "published").mkdir()
    (tmp_path / "artifacts.yml").write_text("[]")
    text = (BOOK / "published" / "poseflow_table2.csv").read_text()
    row = next(line for line in text.splitlines() if ",pck," in line)
    (tmp_path / "published" / "t.csv").write_text(
        text.replace("85.7", "857") + row + "\n" + row.replace(",7,", ",,").replace("Li", "Lo") + "\n"
    )
    problems = "\n".join(published_problems("t", tmp_path))
    assert "857.0 % is outside" in problems and "repeats" in problems and "no page" in problems
    (tmp_path / "published" / "t.csv").write_text(text.replace("85.7", "8S.7"))
    with pytest.raises(DataFileError, match="t.csv"):
        load_published("t", tmp_path)


def test_unknown_published_table_and_ambiguous_value():
    with pytest.raises(UnknownNameError, match="poseflow_table4"):
        load_published("poseflow_table9")
    with pytest.raises(ConfigError, match="expected one number"):
        published_value("poseflow_table4", metric="cps")
    assert published_value("poseflow_table5", variant="full", metric="mpjpe", statistic="kmeans5") == 53.2
