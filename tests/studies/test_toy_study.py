"""A new study touches three places: its module, its chapter, and one line of the plans.

Exactly that is done in a copy of the tree; then the table of contents is renewed and the chapter is run by Snakemake.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from probpose.book.pages import toc_pages
from probpose.ledger.results import load_result

ROOT = Path(__file__).resolve().parents[2]

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
kernelspec: {display_name: Python 3, language: python, name: python3}
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
page, file = study.page, study.save()
rows = [TableRow("toy method", "cvae", "best", page.most_hypotheses)]
print(f"{page.value('cvae', 'mpjpe', 'best'):.1f} mm, {len(page.curve('calibration'))} levels")
comparison_table(page.results, metrics=["mpjpe", "cps"], rows=rows)
```
"""

LINE = (
    '    "toy": StudyEntry("probpose.studies.toy:ToyRecipe", regressors=("cvae",), '
    'changes={"smoke": {"regressor_iterations": 3}}),\n'
)


def link_all(source: Path, target: Path, *but: str) -> Path:
    "A folder of links to everything in another one but some names."
    target.mkdir()
    for path in source.iterdir():
        if path.name not in but:
            (target / path.name).symlink_to(path)
    return target


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    "A copy of the repository, as far as a chapter needs it, with the three changes."
    pytest.importorskip("snakemake")
    root = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "probpose", root / "probpose", ignore=shutil.ignore_patterns("weights", "__pycache__"))
    (root / "probpose" / "weights").symlink_to(ROOT / "probpose" / "weights")
    for name in ("nbs", "_static", "_config.yml"):
        (root / name).symlink_to(ROOT / name)
    for name in ("Snakefile", "_toc.yml"):
        shutil.copyfile(ROOT / name, root / name)
    link_all(ROOT / "book", root / "book", "toy.md")

    (root / "probpose" / "studies" / "toy.py").write_text(MODULE)
    (root / "book" / "toy.md").write_text(CHAPTER)
    plans = root / "probpose" / "studies" / "plans.py"
    text, start = plans.read_text(encoding="utf-8"), "STUDIES = {\n"
    assert text.count(start) == 1
    plans.write_text(text.replace(start, start + LINE), encoding="utf-8")
    return root


def execute(tree, *words):
    "Run a Python module inside of the copy."
    changes = {"PYTHONPATH": str(tree), "PROBPOSE_CACHE": str(tree / "cache"), "OMP_NUM_THREADS": "1"}
    environment = {key: value for key, value in os.environ.items() if key != "PROBPOSE_RESULTS"} | changes
    done = subprocess.run([sys.executable, "-m", *words], cwd=tree, env=environment, capture_output=True, text=True)
    logs = "".join(path.read_text() for path in tree.glob("_build/logs/book/*.log"))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"


def test_the_contents_are_renewed_and_the_chapter_runs(tree):
    before = toc_pages(tree / "_toc.yml")
    execute(tree, "probpose.book.site", "toc")
    after = toc_pages(tree / "_toc.yml")
    assert [page for page in after if page != "book/toy"] == before
    assert after[after.index("book/toy") + 1] == "book/claims", "the last chapter of the part"

    execute(tree, "snakemake", "-c1", "_build/executed/book/toy.ipynb")
    notebook = nbformat.read(tree / "_build/executed/book/toy.ipynb", 4)
    said, table = notebook.cells[-1].outputs
    assert " mm, " in said.text and " levels" in said.text
    assert "toy method" in table["data"]["text/html"] and "smoke" in table["data"]["text/html"]

    stored = load_result(tree / "_build/results/toy-synthetic-smoke-0.json")
    assert stored.provenance["parameters"]["settings"]["cvae"]["iterations"] == 3
    assert {"mpjpe", "cps", "ece"} <= {entry["metric"] for entry in stored.records} and stored.curves
    assert list((tree / "cache" / "studies").glob("toy-cvae-*/weights/model.safetensors"))
