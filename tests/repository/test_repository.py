"The repository itself: layout, notebooks and package in sync, the lock, the table of contents, the engine, the wheel."

import configparser
import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from probpose.book.pages import is_executed, page_source, toc_pages

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
LIMIT = 8 * 2**20  # bytes of one file
TREE_LIMIT = 40 * 2**20  # bytes of all files
NOTEBOOKS = sorted((ROOT / "nbs").rglob("*.ipynb"))
CHAPTERS = [p for p in sorted((ROOT / "book").glob("*.md")) if is_executed(p)]
BUILT = {
    ".git",
    ".venv",
    "_build",
    "_proc",
    "build",
    "dist",
    "runs",
    ".snakemake",
    ".nbtext",
    ".cmu",
    ".whl",
    "__pycache__",
    ".ipynb_checkpoints",
    ".hypothesis",
}


def run(*command, cwd=ROOT, **environment) -> subprocess.CompletedProcess:
    "Run a program of this environment; its output is in the error message when it fails."
    variables = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"} | environment
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=300)


def succeed(*command, **options) -> str:
    done = run(*command, **options)
    output = done.stdout + done.stderr
    assert done.returncode == 0, f"{' '.join(map(str, command))} failed:\n{output[-3000:]}"
    return output


def files():
    "Every file that belongs to the repository, as far as a walk can tell."
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if f not in BUILT and not f.endswith(".egg-info")]
        yield from (Path(folder) / name for name in names)


def settings() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(delimiters=["="])
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return parser["DEFAULT"]


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


# ---- layout


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "LICENSE",
        "CITATION.cff",
        "Makefile",
        "Snakefile",
        "_toc.yml",
        "_config.yml",
        "settings.ini",
        "setup.py",
        "pyproject.toml",
        "requirements.lock",
        ".ci/run",
        "book/artifacts.yml",
        "book/claims.yml",
        "book/published",
        "book/results",
    ],
)
def test_layout(name):
    path = ROOT / name
    assert path.exists() and (path.is_dir() or path.stat().st_size > 0)


def test_ci_is_executable():
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_no_large_files():
    sizes = {path.relative_to(ROOT): path.stat().st_size for path in files()}
    assert not {path: size for path, size in sizes.items() if size > LIMIT}
    assert sum(sizes.values()) < TREE_LIMIT


def test_nothing_needs_a_folder_beside_the_repository():
    "Only tests may look beside the checkout, and they skip when there is nothing."
    neighbour = re.compile(r"\.\./shared|\"shared\"")
    texts = [
        p
        for p in files()
        if p.suffix in {".py", ".ipynb", ".md", ".yml", ".yaml", ".ini", ".toml"}
        or p.name in {"Makefile", "Snakefile", "run"}
    ]
    found = {str(p.relative_to(ROOT)) for p in texts if neighbour.search(p.read_text(encoding="utf-8"))}
    assert all(name.startswith("tests/") for name in found), (
        "tests skip without it; everything else does not know of it"
    )


def test_licence_and_citation():
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == settings()["version"]
    assert [r["year"] for r in citation["references"]] == [2021, 2022, 2023, 2025]
    assert all(len(r["authors"]) >= 2 for r in citation["references"])


def test_version_is_the_same_everywhere():
    import probpose

    assert probpose.__version__ == settings()["version"]


# ---- notebooks and package


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    "A copy in which nbdev has exported and cleaned every notebook."
    copy = tmp_path_factory.mktemp("export")
    shutil.copytree(ROOT / "nbs", copy / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    for name in ("settings.ini", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    (copy / "probpose").mkdir()
    succeed("nbdev_export", cwd=copy)
    succeed("nbdev_clean", cwd=copy)
    return copy


def test_package_is_what_the_notebooks_export(exported):
    def modules(root):
        return {str(p.relative_to(root)) for p in (root / "probpose").rglob("*.py")}

    assert modules(ROOT) == modules(exported), "run nbdev_export; a module without a notebook must go"
    different = [name for name in modules(ROOT) if not filecmp.cmp(ROOT / name, exported / name, shallow=False)]
    assert not different, f"run nbdev_export; it changes {different}"


def test_notebooks_are_clean(exported):
    different = [
        str(p.relative_to(ROOT)) for p in NOTEBOOKS if not filecmp.cmp(p, exported / p.relative_to(ROOT), shallow=False)
    ]
    assert not different, f"run nbdev_clean; it changes {different}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_has_no_outputs_and_no_stray_metadata(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert set(notebook["metadata"]) <= {"kernelspec"}
    for cell in notebook["cells"]:
        assert set(cell["metadata"]) <= {"tags"}
        assert not cell.get("outputs") and cell.get("execution_count") is None
    identifiers = [cell["id"] for cell in notebook["cells"]]
    assert len(set(identifiers)) == len(identifiers)


# ---- the lock


def test_every_package_is_pinned_and_torch_is_first():
    lines = [
        line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert lines[0] == "torch==2.13.0"
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    assert len(locked()) == len(lines)


@pytest.mark.parametrize(
    "key", ["requirements", *(f"{name}_requirements" for name in ("mesh", "photo", "smplx", "book", "dev"))]
)
def test_lock_satisfies_the_settings(key):
    for text in settings()[key].split():
        requirement = Requirement(text)
        version = locked().get(canonicalize_name(requirement.name))
        assert version and requirement.specifier.contains(version), f"{text} is not met by the lock ({version})"


# ---- the book


def test_toc_names_every_page_and_only_pages():
    pages = toc_pages(ROOT / "_toc.yml")
    assert len(set(pages)) == len(pages)
    for page in pages:
        page_source(page, ROOT)
    written = {str(p.relative_to(ROOT).with_suffix("")) for p in NOTEBOOKS}
    written |= {str(p.relative_to(ROOT).with_suffix("")) for p in (ROOT / "nbs").rglob("index.md")}
    written |= {f"book/{p.stem}" for p in (ROOT / "book").glob("*.md")}
    assert written == set(pages)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_chapter_starts_with_its_parameters(path):
    import jupytext

    cells = [c for c in jupytext.read(path).cells if c.cell_type == "code"]
    tagged = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    assert tagged == cells[:1], "the first code cell, and only it, is tagged `parameters`"
    values = {}
    exec(tagged[0].source, values)
    assert (values["tier"], values["dataset"], values["seed"]) == ("smoke", "synthetic", 0)


def test_plotly_renderer_is_registered():
    from myst_nb.core.render import load_mime_renders

    assert "PlotlyRenderer" in [renderer.__name__ for renderer in load_mime_renders()]


# ---- the engine


def test_dry_run_of_the_book():
    output = succeed("snakemake", "--dry-run", "--forceall")
    assert all(
        f"executed/{page}.ipynb" in output
        for page in toc_pages(ROOT / "_toc.yml")
        if is_executed(page_source(page, ROOT))
    )


def test_dry_run_on_a_cluster():
    output = succeed("snakemake", "full", "--executor", "slurm", "--dry-run", "--forceall")
    for seed in range(3):
        assert f"poseflow-cmu-full-{seed}.json" in output
    assert "gpu=1" in output and "runtime=" in output


HEADER = """---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3, language: python, name: python3}
---

# A chapter

```{code-cell}
:tags: [parameters]
tier = ""
dataset = ""
seed = 7
```

"""
GOOD = """```{code-cell}
import plotly.graph_objects as go
from probpose.book.figures import glue

glue("half", seed + 0.5)
go.Figure(go.Scatter3d(x=[0, 1], y=[0, 1], z=[0, 1], name="</script>"))
```

An equation, $x^2$, and a number, {glue:text}`chapter.ipynb::half:.2f`.
"""
BAD = """```{code-cell}
raise OSError(f"tier {tier} broke")
```
"""


@pytest.fixture
def small_book(tmp_path) -> Path:
    "A repository with one page of words; its chapter is up to the test."
    for name in ("Snakefile", "_config.yml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("profiles", "_static"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "book").mkdir()
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters:\n- file: book/chapter\n")
    (tmp_path / "book/index.md").write_text("# Words\n\n[onwards](chapter.md)\n")
    return tmp_path


def test_a_failing_chapter_fails_the_build_and_shows_its_error(small_book):
    (small_book / "book/chapter.md").write_text(HEADER + BAD)
    done = run("snakemake", "--cores", "1", cwd=small_book)
    assert done.returncode != 0
    assert "tier smoke broke" in done.stdout + done.stderr
    assert not (small_book / "_build/html/index.html").exists()


def test_a_small_book_is_built_and_needs_no_network(small_book):
    (small_book / "book/chapter.md").write_text(HEADER + GOOD)
    succeed("snakemake", "--cores", "1", cwd=small_book)
    html = small_book / "_build/html"
    words, chapter = ((html / f"book/{name}.html").read_text() for name in ("index", "chapter"))
    assert "0.50" in chapter and "tier <strong>smoke</strong>" in chapter
    assert 'class="probpose-figure"' in chapter and "<\\/script>" in chapter
    assert "mathjax.js" in chapter
    assert {"plotly.min.js", "mathjax.js", "probpose.js", "probpose.css"} <= {
        p.name for p in (html / "_static").iterdir()
    }
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=\"(https?:)?//", words + chapter)


def test_a_warning_fails_the_build(small_book):
    (small_book / "book/chapter.md").write_text(
        HEADER + "A number that nobody has: {glue:text}`chapter.ipynb::missing:.1f`.\n"
    )
    done = run("snakemake", "--cores", "1", cwd=small_book)
    assert done.returncode != 0 and "missing" in done.stdout + done.stderr


# ---- the package by itself


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    copy = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "probpose", copy / "probpose", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("settings.ini", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    succeed(sys.executable, "-m", "build", "--wheel", "--no-isolation", ".", cwd=copy)
    return zipfile.ZipFile(next((copy / "dist").glob("probpose-*.whl")))


def test_wheel_holds_modules_and_weights(wheel):
    names = set(wheel.namelist())
    files = [p for p in (ROOT / "probpose").rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert {p.suffix for p in files} >= {".py", ".safetensors", ".md", ".npz"}
    assert {str(p.relative_to(ROOT)) for p in files} <= names
    assert not any(name.startswith(("tests/", "nbs/", "book/")) for name in names)


def test_wheel_metadata(wheel):
    metadata = wheel.read(next(n for n in wheel.namelist() if n.endswith("METADATA"))).decode()
    assert re.search(r"^License(-Expression)?: Apache-2.0$", metadata, re.MULTILINE)
    assert "Provides-Extra: book" in metadata and "Provides-Extra: dev" in metadata
    assert (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[0] in metadata


def test_readme_example_runs(tmp_path):
    output = succeed(sys.executable, "-I", ROOT / ".ci/readme_example.py", ROOT / "README.md", cwd=tmp_path)
    assert "probpose.load(" in output and "poses (200" in output
