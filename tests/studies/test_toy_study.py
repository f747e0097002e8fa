"A new study touches three places: its module, its chapter, and one line of the plans."

import json

import jupytext
import pytest

from probpose.studies.plans import STUDIES, StudyEntry

MODULE = """
from probpose.models import build
from probpose.studies.measures import list_columns, record_posterior
from probpose.studies.recipe import Recipe


class ToyRecipe(Recipe):
    chapter, variants = "toy", ("cvae",)

    def untrained(self, run, variant):
        return build("cvae", run.tier, seed=run.seed)

    def measure(self, run, variant, model):
        records, curve = record_posterior(model, run.test_data, variant, run)
        return records, {"calibration": list_columns(curve, "level", "observed")}
"""

CHAPTER = """---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {name: python3, display_name: Python 3}
---

# A toy

```{code-cell}
:tags: [parameters]
tier, dataset, seed, device = "smoke", "synthetic", 0, "cpu"
```

```{code-cell}
from probpose.ledger.tables import TableRow, comparison_table
from probpose.studies import open_study

study = open_study("toy", tier=tier, dataset=dataset, seed=seed, device=device).run()
file = study.save()
page = study.page
rows = [TableRow("toy", "cvae", "best", page.most_hypotheses)]
table = comparison_table(page.results, metrics=["mpjpe", "cps"], rows=rows)
error, curve, model = page.value("cvae", "mpjpe", "best"), page.curve("calibration"), study.exhibits.model("cvae")
```
"""


@pytest.fixture
def tree(tmp_path, monkeypatch):
    "A module, a chapter, and one line of the plans."
    (tmp_path / "toy_study.py").write_text(MODULE)
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "toy.md").write_text(CHAPTER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(
        STUDIES, "toy", StudyEntry("toy_study:ToyRecipe", changes={"smoke": {"regressor_iterations": 3}})
    )
    monkeypatch.setenv("PROBPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PROBPOSE_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("PROBPOSE_PROGRESS", "0")
    return tmp_path


def execute(chapter):
    names = {}
    for cell in jupytext.read(chapter).cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    return names


def test_a_toy_study_runs_saves_shows_and_is_not_made_twice(tree):
    shown = execute(tree / "book" / "toy.md")
    assert shown["file"] == tree / "results" / "toy-synthetic-smoke-0.json" and shown["error"] > 0
    assert len(shown["curve"]) and "toy" in str(shown["table"].frame) and shown["model"].config is not None
    first = json.loads(shown["file"].read_text())
    assert first["provenance"]["parameters"]["settings"]["cvae"]["iterations"] == 3
    records = next((tree / "cache" / "studies").glob("toy-cvae-*/records.json"))
    made = records.stat().st_mtime_ns
    assert json.loads(execute(tree / "book" / "toy.md")["file"].read_text())["records"] == first["records"]
    assert records.stat().st_mtime_ns == made
