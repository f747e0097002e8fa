"Contents never change: results in book/results were measured on them. And a cache never answers for other code."

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from probpose.data import load
from probpose.data.dataset import WORKING_MODULES as DATASET_MODULES
from probpose.data.rendered import WORKING_MODULES as RENDERED_MODULES

SYNTHETIC = {  # mean, standard deviation and two numbers of each tensor; their last digits differ by processor
    "test": {
        "poses": [-0.04182, 0.30591, 0.42707, -0.37644],
        "root": [1.75103, 2.54097, -0.3134, 0.01728],
        "keypoints_true": [29.70625, 12.42547, 31.61742, 15.32079],
        "keypoints": [29.69434, 12.39976, 32.0, 15.0],
        "scores": [0.90894, 0.14561, 0.95221, 0.97038],
    },
    "train": {
        "poses": [-0.04381, 0.30207, 0.40814, -0.59916],
        "root": [1.75103, 2.54097, -0.3134, 0.01728],
        "keypoints_true": [30.08555, 12.32428, 30.61772, 16.65918],
        "keypoints": [30.11328, 12.32383, 31.0, 17.0],
        "scores": [0.90666, 0.14725, 0.93947, 0.96337],
    },
}
CMU_TEST = {
    "poses": [-0.04043, 0.28563, 0.35894, -0.21528],
    "root": [1.75103, 2.54097, -0.3134, 0.01728],
    "keypoints_true": [30.0305, 12.06744, 31.66837, 15.25149],
    "keypoints": [30.07275, 11.9873, 32.0, 15.0],
    "scores": [0.90569, 0.14899, 0.95289, 0.95295],
}
HELPERS = {
    "core.checks",
    "core.errors",
    "core.optional",
    "core.storage",
    "core.unpickling",
}  # refuse and read


def check_numbers(data, numbers):
    for name, kept in numbers.items():
        values = getattr(data if name in ("poses", "root", "keypoints_true") else data.detections, name)
        some = [values.mean(), values.std(), values.flatten()[7], values.flatten()[-5]]
        assert [float(value) for value in some] == pytest.approx(kept, rel=1e-4, abs=2e-4), name


@pytest.mark.parametrize("split", SYNTHETIC)
def test_synthetic_people_are_those_of_the_results(split):
    check_numbers(load("synthetic", split=split, size=64, cache=False), SYNTHETIC[split])


def test_captured_people_are_those_of_the_results(cmu_path):
    check_numbers(load("cmu", split="test", size=64, path=cmu_path, cache=False), CMU_TEST)


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
