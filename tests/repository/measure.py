"""What the shape of the library is, in numbers: `python tests/repository/measure.py` prints them as a table.

Lengths of modules and of export cells, private classes with exactly one child, underscore names imported across
modules, names bound to lambdas, lines over 120 characters, imports against the layers, public names that nobody uses.
"""

import ast
import collections
import json
import re
import statistics
from functools import lru_cache
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 120


@lru_cache
def modules() -> dict[str, ast.Module]:
    "Every module of the package by its dotted name, parsed."
    found = {}
    for path in sorted((ROOT / "probpose").rglob("*.py")):
        if path.name != "_modidx.py":
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
            found[name].path = path
    return found


def room_order() -> list[str]:
    "The rooms in the order of their layers."
    layers = yaml.safe_load((ROOT / "nbs/layers.yml").read_text(encoding="utf-8"))
    return [room for rooms in layers.values() for room in rooms]


def imports() -> list[tuple[str, str, str]]:
    "All imports inside the package: importing module, imported module, imported name."
    found = []
    for name, tree in modules().items():
        package = name.split(".") if tree.path.name == "__init__.py" else name.split(".")[:-1]
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                source = ".".join([*base, *(node.module or "").split(".")]).strip(".")
                found += [(name, source, alias.name) for alias in node.names if source.split(".")[0] == "probpose"]
            elif isinstance(node, ast.Import):
                found += [(name, alias.name, "") for alias in node.names if alias.name.split(".")[0] == "probpose"]
    return found


def imports_between_rooms() -> list[tuple[str, str, str]]:
    "Importing room, imported room, importing module."
    pairs = []
    for module, source, name in imports():
        here, there = module.split("."), [*source.split("."), name]
        if len(here) > 1 and len(there) > 1 and there[1] in room_order() and here[1] != there[1]:
            pairs.append((here[1], there[1], module))
    return pairs


def upward_imports(pairs: list[tuple[str, str, str]]) -> list[str]:
    "Imports of a room that comes later."
    place = {room: number for number, room in enumerate(room_order())}
    return sorted({f"{module} imports {there}" for here, there, module in pairs if place[there] > place[here]})


def one_child_classes() -> list[str]:
    "Private classes with exactly one subclass: storeys of a tower."
    children = collections.defaultdict(set)
    private = {}
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                if node.name.startswith("_"):
                    private[node.name] = name
                for base in node.bases:
                    children[ast.unparse(base).split(".")[-1]].add(f"{name}.{node.name}")
    return sorted(f"{private[name]}.{name}" for name in private if len(children[name]) == 1)


def underscore_imports() -> list[str]:
    "Private names that another module imports."
    return sorted(f"{module} imports {source}.{name}" for module, source, name in imports() if re.match(r"_[^_]", name))


def bound_lambdas() -> list[str]:
    "Names bound to lambdas, in the package and in the tests."
    trees = {name: tree for name, tree in modules().items()}
    trees |= {
        str(p.relative_to(ROOT)): ast.parse(p.read_text(encoding="utf-8")) for p in (ROOT / "tests").rglob("*.py")
    }
    kinds = (ast.Assign, ast.AnnAssign)
    return sorted(
        f"{name}:{node.lineno}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, kinds) and isinstance(node.value, ast.Lambda) and _binds_a_name(node)
    )


def _binds_a_name(node: ast.Assign | ast.AnnAssign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(target, ast.Name) for target in targets)


def call_tuples() -> list[str]:
    "Statements that are a tuple of calls."
    return sorted(
        f"{name}:{node.lineno}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Tuple)
    )


def code_cells() -> list[tuple[str, str]]:
    "Path and source of every code cell of the library's notebooks."
    cells = []
    for path in sorted((ROOT / "nbs").rglob("*.ipynb")):
        if ".ipynb_checkpoints" not in path.parts:
            notebook = json.loads(path.read_text(encoding="utf-8"))
            name = str(path.relative_to(ROOT))
            cells += [(name, "".join(cell["source"])) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return cells


def long_lines() -> list[str]:
    "Lines of code over 120 characters, in notebooks, tests and scripts."
    files = [*(ROOT / "tests").rglob("*.py"), *(ROOT / ".ci").glob("*"), ROOT / "setup.py", ROOT / "Snakefile"]
    texts = code_cells() + [(str(p.relative_to(ROOT)), p.read_text(encoding="utf-8")) for p in files]
    return [f"{name}: {line[:60]}…" for name, text in texts for line in text.splitlines() if len(line) > WIDTH]


def export_cell_lengths() -> list[int]:
    "Lines of every export cell."
    return [
        len(source.splitlines()) - 1 for _, source in code_cells() if re.search(r"^#\|\s*export", source, re.MULTILINE)
    ]


def public_definitions() -> dict[str, ast.AST]:
    "Public functions and classes of the package, by dotted name."
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {
        f"{name}.{node.name}": node
        for name, tree in modules().items()
        for node in tree.body
        if isinstance(node, kinds) and not node.name.startswith("_")
    }


def _inherited(node: ast.ClassDef, method: str, classes: dict[str, ast.ClassDef]) -> bool:
    "Whether a base class says what a method does; of torch's modules the usual methods count."
    bases = [ast.unparse(base).split(".")[-1] for base in node.bases]
    if "Module" in bases and method in ("forward", "to", "train"):
        return True
    known = [classes[base] for base in bases if base in classes]
    return any(method in _methods(base, True) or _inherited(base, method, classes) for base in known)


def _methods(node: ast.ClassDef, documented: bool) -> list[str]:
    "Public methods and properties of a class with, or without, a docstring."
    found = [child for child in node.body if isinstance(child, ast.FunctionDef) and not child.name.startswith("_")]
    return [child.name for child in found if bool(ast.get_docstring(child)) == documented]


def undocumented() -> list[str]:
    "Public functions, classes and methods without a docstring of their own or of a base class."
    public = public_definitions()
    classes = {node.name: node for tree in modules().values() for node in tree.body if isinstance(node, ast.ClassDef)}
    found = [name for name, node in public.items() if not ast.get_docstring(node)]
    for name, node in public.items():
        if isinstance(node, ast.ClassDef):
            missing = [method for method in _methods(node, False) if not _inherited(node, method, classes)]
            found += [f"{name}.{method}" for method in missing]
    return sorted(found)


def exported_names() -> dict[str, list[str]]:
    "The public names of every module, as its `__all__` lists them."
    found = {}
    for module, tree in modules().items():
        lists = [
            node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        ]
        found[module] = ast.literal_eval(lists[0]) if lists else []
    return found


def words_of(*patterns: str) -> set[str]:
    "All words in the files of the repository that match."
    paths = [path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()]
    return {word for path in paths for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))}


def unused_names(with_tests: bool = True) -> list[str]:
    "Public names that no other module, chapter, script or (`with_tests`) test mentions."
    words = {
        module: set(re.findall(r"\w+", tree.path.read_text(encoding="utf-8"))) for module, tree in modules().items()
    }
    count = collections.Counter(word for found in words.values() for word in found)
    outside = words_of("book/*.md", "README.md", "Snakefile", ".ci/*", "settings.ini")
    outside |= words_of("tests/**/*.py") if with_tests else set()
    return sorted(
        f"{module}.{name}"
        for module, names in exported_names().items()
        for name in names
        if count[name] <= 1 and name not in outside
    )


def report() -> dict[str, object]:
    "All measures by name."
    lengths = {name: len(tree.path.read_text(encoding="utf-8").splitlines()) for name, tree in modules().items()}
    cells = export_cell_lengths()
    return {
        "modules": len(lengths),
        "lines of the package": sum(lengths.values()),
        "longest module": max(lengths, key=lengths.get) + f" ({max(lengths.values())})",
        "modules over 450 lines": sum(length > 450 for length in lengths.values()),
        "export cells": f"{len(cells)}, median {statistics.median(cells):g} lines, longest {max(cells)}",
        "private one-child classes": len(one_child_classes()),
        "underscore imports across modules": len(underscore_imports()),
        "bound lambdas": len(bound_lambdas()),
        "statements that are a tuple of calls": len(call_tuples()),
        f"lines over {WIDTH}": len(long_lines()),
        "upward arrows": len(upward_imports(imports_between_rooms())),
        "public definitions": len(public_definitions()),
        "public definitions without docstring": len(undocumented()),
        "public names": sum(map(len, exported_names().values())),
        "public names used by nobody": len(unused_names()),
        "public names used by tests alone": len(unused_names(with_tests=False)) - len(unused_names()),
    }


if __name__ == "__main__":
    for measure, value in report().items():
        print(f"{measure:40} {value}")
