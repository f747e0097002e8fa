"""Studies remember exactly what they have done, and nothing else."""

import json

import pytest

from probpose.checks import UnknownNameError
from probpose.studies import PLANS, PoseFlowStudy, poseflow_variant, release, study


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return study("poseflow", cache=tmp_path_factory.mktemp("studies"), device="cpu", progress=False).run(["mean_pose", "full", "no_critic"])


def test_unknown_names_are_refused():
    for mistake in (lambda: study("posflow"), lambda: study("poseflow", tier="huge"), lambda: study("poseflow").run(["nothing"]), lambda: poseflow_variant("nothing", "smoke")):
        with pytest.raises(UnknownNameError):
            mistake()


def test_a_finished_variant_is_loaded_not_made(lab, monkeypatch):
    again = study("poseflow", cache=lab.cache, device="cpu")
    monkeypatch.setattr(again, "_make", lambda variant: pytest.fail("trained again"))
    assert again.run(["full"]).done["full"] == lab.done["full"]


def test_seed_variant_and_settings_are_kept_apart(lab, monkeypatch):
    folders = {lab.folder(variant) for variant in lab.variants}
    assert len(folders) == len(lab.variants)
    assert study("poseflow", cache=lab.cache, seed=1).folder("full") not in folders
    monkeypatch.setitem(PLANS, "smoke", PLANS["smoke"].__class__(**{**vars(PLANS["smoke"]), "iterations": 13}))
    assert study("poseflow", cache=lab.cache).folder("full") not in folders


def test_the_result_has_every_number_that_tables_and_claims_need(lab):
    entries = {(e["variant"], e["subset"], e["metric"], e["statistic"]) for e in lab.result().records}
    for subset in ("all", "hard"):
        for metric in ("mpjpe", "pa_mpjpe", "pck", "cps"):
            assert {("full", subset, metric, s) for s in ("best", "mode", "worst")} <= entries
            assert ("no_critic", subset, metric, "best") in entries
    assert {("full", "all", "mpjpe", "kmeans5"), ("full", "transfer", "pck", "best"), ("noise_baseline", "hard", "mpjpe", "best"), ("full", "all", "ece", "")} <= entries


def test_the_result_file_names_its_origin_and_nobodys_machine(lab, tmp_path):
    content = json.loads(lab.save(tmp_path).read_text())
    assert content["tier"] == "smoke" and content["provenance"]["commit"] and content["provenance"]["data"] and content["provenance"]["parameters"]["settings"]["full"]["hidden"] == 32
    assert str(tmp_path) not in json.dumps(content)


def test_table_4_settings():
    changed = {name: poseflow_variant(name, "full").config for name in PoseFlowStudy.variants[2:]}
    assert not changed["no_condition"].use_condition and changed["no_condition"].weight_hm == 0
    assert [changed[f"best_of_m_k{k}"].best for k in (1, 10, 50)] == [1, 10, 50] and changed["full"].best == 5
    assert changed["as_released"].hidden == 1028 and not changed["as_released"].mmd_unbiased
    assert changed["no_critic"].weight_gen == changed["no_heatmap_loss"].weight_hm == changed["no_best_of_m"].weight_mb == 0


def test_released_weights_carry_a_card_with_measured_numbers(lab, tmp_path):
    card = (release(lab, tmp_path / "weights") / "README.md").read_text()
    mode = next(e["value"] for e in lab.result().records if (e["variant"], e["subset"], e["metric"], e["statistic"], e["group"]) == ("full", "all", "mpjpe", "mode", "all"))
    assert f"{mode:.1f}" in card and "NSF EIA-0196217" in card and "{" not in card
