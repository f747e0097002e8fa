"A run remembers exactly what it has done, and nothing else."

import dataclasses
import json

import pytest

from probpose.core.errors import ConfigError, UnknownNameError
from probpose.models.poseflow.model import PoseFlow
from probpose.studies import open_study
from probpose.studies.page import Page
from probpose.studies.plans import PLANS


def test_unknown_names_are_refused():
    for mistake in (
        lambda: open_study("posflow"),
        lambda: open_study("poseflow", tier="huge"),
        lambda: open_study("poseflow").run(["nothing"]),
    ):
        with pytest.raises(UnknownNameError):
            mistake()


def test_a_finished_variant_is_loaded_not_made(poseflow_run, monkeypatch):
    again = open_study("poseflow", cache=poseflow_run.cache, device="cpu").runner
    monkeypatch.setattr(again, "make", lambda variant: pytest.fail("trained again"))
    assert again.run(["full"]).done["full"] == poseflow_run.done["full"]


def test_seed_variant_and_settings_are_kept_apart(poseflow_run, monkeypatch):
    folders = {poseflow_run.folder(variant) for variant in poseflow_run.recipe.variants}
    assert len(folders) == len(poseflow_run.recipe.variants)
    assert open_study("poseflow", cache=poseflow_run.cache, seed=1).runner.folder("full") not in folders
    monkeypatch.setitem(PLANS, "smoke", dataclasses.replace(PLANS["smoke"], iterations=13))
    assert open_study("poseflow", cache=poseflow_run.cache).runner.folder("full") not in folders


def test_the_result_file_names_its_origin_and_nobodys_machine(poseflow_run, tmp_path):
    content = json.loads(poseflow_run.save(tmp_path).read_text())
    assert (
        content["tier"] == "smoke"
        and content["provenance"]["commit"]
        and content["provenance"]["data"]
        and content["provenance"]["parameters"]["settings"]["full"]["hidden"] == 32
    )
    assert str(tmp_path) not in json.dumps(content)


def test_reading_results_writes_no_file(poseflow_run):
    assert len(Page(poseflow_run).results) and not (poseflow_run.cache / "results").exists()


def test_saving_goes_where_the_environment_says(poseflow_run, tmp_path, monkeypatch):
    monkeypatch.setenv("PROBPOSE_RESULTS", str(tmp_path / "here"))
    assert poseflow_run.save().parent == tmp_path / "here"


def test_variants_share_the_features_that_they_read(tmp_path, monkeypatch):
    asked, prepare = [], PoseFlow.prepare
    monkeypatch.setattr(PoseFlow, "prepare", lambda self, data: asked.append(data) or prepare(self, data))
    monkeypatch.setitem(PLANS, "smoke", dataclasses.replace(PLANS["smoke"], iterations=2))
    runner = open_study("poseflow", cache=tmp_path, device="cpu", progress=False).runner
    for variant in ("full", "no_critic"):
        runner.trained_model(variant)
    assert len(asked) == 1


@pytest.mark.parametrize("chapter", ["speed", "head_to_head"])
def test_what_is_only_measured_has_nothing_to_train(chapter, tmp_path):
    runner = open_study(chapter, cache=tmp_path, device="cpu").runner
    with pytest.raises(ConfigError, match="trains a model"):
        runner.recipe.untrained(runner, runner.recipe.variants[0])
