"What a page shows."

from types import SimpleNamespace

import pytest

from probpose.core.errors import ConfigError, UnknownNameError
from probpose.ledger.results import Result, record, save_result
from probpose.studies.page import Page


def test_a_page_that_borrows_everything_says_what_it_waits_for(tmp_path, monkeypatch):
    alone = Result("head_to_head", "mine", "full", 0, [record("mdn_", "time", 3.0)])
    monkeypatch.setattr("probpose.studies.page.results_folders", lambda: [tmp_path])
    page = Page(SimpleNamespace(chapter="head_to_head", dataset="mine", done={}, result=lambda: alone))
    with pytest.raises(ConfigError, match="run those chapters first"):
        _ = page.results


def test_a_borrowed_curve_is_the_lenders_at_the_shown_tier(tmp_path, monkeypatch):
    for chapter, tier, level in (("poseflow", "smoke", 0.1), ("poseflow", "full", 0.2), ("baselines", "full", 0.3)):
        curves = {"calibration": {"level": [level]}}
        save_result(Result(chapter, "mine", tier, 0, [record("full", "mpjpe", 3.0)], curves=curves), tmp_path)
    own = Result(
        "diffpose", "mine", "full", 0, [record("full", "mpjpe", 3.0)], curves={"calibration": {"level": [0.4]}}
    )
    monkeypatch.setattr("probpose.studies.page.results_folders", lambda: [tmp_path])
    page = Page(SimpleNamespace(chapter="diffpose", dataset="mine", done={}, result=lambda: own))
    assert page.curve("calibration")["level"].tolist() == [0.4]
    assert page.curve("calibration", borrowed="poseflow")["level"].tolist() == [0.2]
    with pytest.raises(UnknownNameError):
        page.curve("calibration", borrowed="full_heatmap")
