"""What users, chapters and the command line rely on: names, arguments, settings and defaults, verbs, tags, claims.

The snapshot was made before the library was refiled into rooms. A change here is a change that users must be told of.
"""

import dataclasses
import inspect
import json
import re
from pathlib import Path
from pkgutil import resolve_name

import pytest
import typer
import yaml

import probpose
from probpose.cli.app import app
from probpose.models import scoring
from probpose.models.pretrained import MODELS

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = json.loads((Path(__file__).parent / "snapshots/public_api.json").read_text())


def arguments(function) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_the_three_lines():
    assert arguments(probpose.load) == SNAPSHOT["load"]
    assert arguments(probpose.aggregate) == SNAPSHOT["aggregate"]
    assert [field.name for field in dataclasses.fields(probpose.Detections)] == SNAPSHOT["Detections fields"]


@pytest.mark.parametrize("kind", ["Detections", "PosePosterior"])
def test_methods_and_their_arguments(kind):
    for name, expected in SNAPSHOT[kind].items():
        assert arguments(getattr(getattr(probpose, kind), name)) == expected, name


@pytest.mark.parametrize("name", sorted(SNAPSHOT["models"]))
def test_settings_and_their_defaults(name):
    config = resolve_name(f"probpose.models.{MODELS[name][1]}")
    expected = SNAPSHOT["models"][name]
    assert config.__name__ == expected["config"]
    assert {field.name: repr(field.default) for field in dataclasses.fields(config)} == expected["fields"]


def test_the_scorer():
    expected = SNAPSHOT["Scorer"]
    assert {f.name: repr(f.default) for f in dataclasses.fields(scoring.ScorerConfig)} == expected["fields"]
    for name in ("fit_scorer", "load_scorer"):
        assert arguments(getattr(scoring, name)) == expected[name]
    assert arguments(scoring.Scorer.score) == expected["score"]


def verbs(commands: dict, before: str = "") -> dict[str, list[str]]:
    "All commands with their options, those of a group with its name before theirs."
    found = {}
    for name, command in commands.items():
        inner = getattr(command, "commands", None)
        options = sorted(option.name for option in command.params)
        found |= verbs(inner, f"{before}{name} ") if inner else {f"{before}{name}": options}
    return found


def test_verbs_and_options_of_the_command_line():
    assert verbs(typer.main.get_command(app).commands) == SNAPSHOT["commands"]


def test_tags_claims_and_variables():
    chapters = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "book").glob("*.md")))
    assert sorted(set(re.findall(r"artifact:[\w.-]+", chapters))) == SNAPSHOT["artifact tags"]
    claims = yaml.safe_load((ROOT / "book/claims.yml").read_text(encoding="utf-8"))
    assert sorted(c["id"] for c in (claims if isinstance(claims, list) else claims["claims"])) == SNAPSHOT["claims"]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "probpose").rglob("*.py"))
    assert set(SNAPSHOT["environment"]) <= set(re.findall(r"PROBPOSE_[A-Z]+", sources))


def test_the_schema_of_results():
    for path in sorted((ROOT / "book/results").glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        assert sorted(result) == SNAPSHOT["result keys"], path.name
        assert sorted(result["records"]["columns"]) == SNAPSHOT["record keys"], path.name
        assert {len(row) for row in result["records"]["rows"]} == {len(SNAPSHOT["record keys"])}, path.name
