"""The numbers of the chapters' tables stay what they are: every variant of four studies at the smoke tier, recomputed.

`snapshots/tables.json` holds what the book said for `seed` 0 at commit 3bf4a10, before the library was put into rooms.
Who changes a number on purpose writes it anew with `python tests/repository/test_tables.py _build/results` after
`make book`, and says in the commit why.
"""

import json
import math
import sys
from pathlib import Path

import pytest

from probpose.ledger.results import load_result

SNAPSHOT = Path(__file__).parent / "snapshots" / "tables.json"
CHAPTERS = ("poseflow", "diffpose", "elepose", "humr")
CLOSE = 2e-3  # relative; another processor rounds otherwise
APART = 0.02  # so much of the values may be further off: a rank or a count that tipped over
APART_IN = {"humr": 0.05}  # counts of hypotheses on masks: 3.6 % tip over between Intel's processors and AMD's
FAR = 0.05  # relative; no value may be further off than this
UNSTABLE = ("time", "faces_right", "facing_agreement")  # of shares of so few people one alone is more than that


def table_of(records: list[dict]) -> dict[str, dict[str, float]]:
    "What records say of all frames: variant → metric, statistic, number of hypotheses and subset → value."
    table = {}
    for entry in records:
        value = entry["value"]
        if entry["group"] == "all" and entry["metric"] not in UNSTABLE and value is not None and not math.isnan(value):
            name = " ".join(str(entry[key] or "-") for key in ("metric", "statistic", "hypotheses", "subset"))
            table.setdefault(entry["variant"], {})[name] = float(f"{value:.6g}")
    return table


def differences(kept: dict, found: dict, close: float = CLOSE) -> list[str]:
    "The values of two tables that are further apart than rounding."
    lines = []
    for variant, values in kept.items():
        for name, value in values.items():
            other = found[variant][name]
            if abs(value - other) > close * (abs(value) + 0.5):
                lines.append(f"{variant} {name}: {value} before, {other} now")
    return lines


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_numbers_of_a_chapter_have_not_moved(chapter, tmp_path):
    from probpose.studies import open_study

    kept = json.loads(SNAPSHOT.read_text(encoding="utf-8"))[chapter]
    study = open_study(chapter, cache=tmp_path, device="cpu", progress=False).run()
    found = table_of(study.runner.result().records)
    assert {variant: set(values) for variant, values in kept.items()} == {v: set(t) for v, t in found.items()}
    moved = differences(kept, found)
    share = APART_IN.get(chapter, APART)
    assert len(moved) <= share * sum(map(len, kept.values())), "\n".join(moved[:20])
    assert differences(kept, found, FAR) == []


def test_a_moved_number_is_found():
    kept = {"full": {"mpjpe best 20 all": 50.0, "cps best 20 all": 100.0}}
    assert not differences(kept, {"full": {"mpjpe best 20 all": 50.05, "cps best 20 all": 100.1}})
    assert len(differences(kept, {"full": {"mpjpe best 20 all": 50.3, "cps best 20 all": 100.1}})) == 1


if __name__ == "__main__":
    tables = {}
    for chapter in CHAPTERS:
        file = Path(sys.argv[1]) / f"{chapter}-synthetic-smoke-0.json"
        tables[chapter] = table_of(load_result(file).records)
    rows = [
        f'"{chapter}": {{\n' + ",\n".join(f'"{variant}": {json.dumps(v)}' for variant, v in table.items()) + "\n}"
        for chapter, table in tables.items()
    ]
    SNAPSHOT.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
