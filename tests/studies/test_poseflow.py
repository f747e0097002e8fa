"The study of PoseFlow has every number that tables and claims need."

import pytest

from probpose.core.errors import UnknownNameError
from probpose.studies.poseflow import PoseFlowRecipe, poseflow_variant


def test_the_result_has_every_number_that_tables_and_claims_need(poseflow_run):
    entries = {(e["variant"], e["subset"], e["metric"], e["statistic"]) for e in poseflow_run.result().records}
    for subset in ("all", "hard"):
        for metric in ("mpjpe", "pa_mpjpe", "pck", "cps"):
            assert {("full", subset, metric, s) for s in ("best", "mode", "worst")} <= entries
            assert ("no_critic", subset, metric, "best") in entries
    assert {
        ("full", "all", "mpjpe", "kmeans5"),
        ("full", "transfer", "pck", "best"),
        ("noise_baseline", "hard", "mpjpe", "best"),
        ("full", "all", "ece", ""),
    } <= entries


def test_table_4_settings():
    changed = {name: poseflow_variant(name, "full").config for name in PoseFlowRecipe.variants[2:]}
    assert not changed["no_condition"].use_condition and changed["no_condition"].weight_hm == 0
    assert [changed[f"best_of_m_k{k}"].best for k in (1, 10, 50)] == [1, 10, 50] and changed["full"].best == 5
    assert changed["as_released"].hidden == 1028 and not changed["as_released"].mmd_unbiased
    assert (
        changed["no_critic"].weight_gen
        == changed["no_heatmap_loss"].weight_hm
        == changed["no_best_of_m"].weight_mb
        == 0
    )


def test_an_unknown_variant_is_refused():
    with pytest.raises(UnknownNameError):
        poseflow_variant("nothing", "smoke")
