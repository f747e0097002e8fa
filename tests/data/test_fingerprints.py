"Contents never change: results in book/results were measured on them. And a cache never answers for other code."

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from probpose.data import load
from probpose.data.dataset import WORKING_MODULES as DATASET_MODULES
from probpose.data.rendered import WORKING_MODULES as RENDERED_MODULES

SYNTHETIC = {
    "test": "8d24cfd21389be7559ac69acfb17d89e440743414c8c56522449fa628e3d8f88",
    "train": "8f53b7f25e354bf558d475da07462bac6629c9e9361564e0af657c126cf0c410",
}
CMU_TEST = "7286f477b037259161e3f90219904f5c4775f10fc45816bee3867126312ab158"
HELPERS = {
    "core.checks",
    "core.errors",
    "core.optional",
    "core.storage",
    "core.unpickling",
}  # refuse and read


@pytest.mark.parametrize("split", SYNTHETIC)
def test_synthetic_people_are_those_of_the_results(split):
    assert load("synthetic", split=split, size=64, cache=False).fingerprint == SYNTHETIC[split]


def test_captured_people_are_those_of_the_results(cmu_path):
    assert load("cmu", split="test", size=64, path=cmu_path, cache=False).fingerprint == CMU_TEST


def imported_modules(module):
    "Modules of this package that a module imports, by their names below it."
    spec = find_spec(f"probpose.{module}")
    found = set()
    for node in ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            parts = spec.name.split(".")[: -node.level] if node.level else []
            name = ".".join([*parts, *([node.module] if node.module else [])])
            if name.startswith("probpose."):
                found.add(name.removeprefix("probpose."))
    return found


@pytest.mark.parametrize(
    ("module", "listed", "aside"),
    [
        ("data.dataset", DATASET_MODULES, HELPERS),
        ("data.rendered", RENDERED_MODULES, HELPERS | {"data.dataset"}),  # it names the folder of the cache
    ],
)
def test_every_module_that_matters_is_part_of_the_key(module, listed, aside):
    needed, left = set(), {module}
    while left:
        name = left.pop()
        needed.add(name)
        left |= imported_modules(name) - aside - needed
    assert needed <= set(listed), f"add to WORKING_MODULES: {', '.join(sorted(needed - set(listed)))}"
    assert all(find_spec(f"probpose.{name}") for name in listed)
