"Tables of the book."

import re

import numpy as np
import pandas as pd
import pytest

from probpose.core.errors import ConfigError
from probpose.ledger.claim_lists import list_claims
from probpose.ledger.results import load_results, record, save_result
from probpose.ledger.tables import SMOKE, comparison_table, registry_table


def test_comparison_table_has_the_mean_and_deviation_of_the_seeds(results):
    cmu = results[results["dataset"] == "cmu"]
    shown = comparison_table(cmu, "poseflow_table1", metrics=["mpjpe"])
    assert (
        shown.frame.loc[("PoseFlow", "200"), ("MPJPE / mm ↓", "cmu (laptop)")]
        == f"{np.mean([45, 45.5, 46]):.1f} ± {np.std([45, 45.5, 46], ddof=1):.1f}"
    )
    assert shown.frame.loc[("PoseFlow (z0)", "1"), ("MPJPE / mm ↓", "paper")] == "61.8"
    assert shown.frame.loc[("Li et al. [28]", "5"), ("MPJPE / mm ↓", "cmu (laptop)")] == "–"
    for part in (
        "laptop tier",
        "seeds 0, 1, 2",
        "commit abc",
        "some processor, 2 threads",
        "90 s in all",
        "data f00d",
        "PoseFlow, Table 1, page 7, on Human3.6M",
    ):
        assert part in shown.caption


def test_smoke_is_called_meaningless(results):
    shown = comparison_table(results[results["tier"] == "smoke"], "poseflow_table1")
    assert SMOKE in shown._repr_html_() and SMOKE in repr(shown)
    assert SMOKE not in comparison_table(results[results["dataset"] == "cmu"], "poseflow_table1")._repr_html_()


def test_tables_take_their_colours_from_the_page(results):
    for table in (
        comparison_table(results, "poseflow_table1"),
        registry_table("poseflow"),
        list_claims(results, "poseflow"),
    ):
        page = table._repr_html_()
        assert not re.search(r"color|background|#[0-9a-f]{3,6}\b", page) and 'class="dataframe' in page


def test_fewer_hypotheses_than_printed_are_named(make_result, tmp_path):
    save_result(make_result(records=[record("full", "mpjpe", 50.0, "best", 20)]), tmp_path)
    shown = comparison_table(load_results(tmp_path), "poseflow_table1", metrics=["mpjpe"])
    assert shown.frame.loc[("PoseFlow", "200"), ("MPJPE / mm ↓", "cmu (laptop)")] == "50.0 (M = 20)"


def test_groups_stand_side_by_side(results):
    shown = comparison_table(results, "poseflow_table1", metrics=["mpjpe"], groups="each")
    assert (
        shown.frame.loc[("PoseFlow", "200"), ("walk", "cmu (laptop)")].startswith("41.5 ±")
        and shown.frame.loc[("PoseFlow", "200"), ("SitD", "paper")] == "56.8"
    )
    with pytest.raises(ConfigError, match="one metric"):
        comparison_table(results, "poseflow_table1", groups="each")


def test_tables_without_anything():
    empty = load_results("no/such/folder")
    shown = comparison_table(empty, "poseflow_table4", subset="hard")
    assert "Nothing recorded yet." in shown.caption and len(shown.frame) == 8
    comparison_table(empty)._repr_html_()


def test_tables_refuse_to_mix_chapters(results):
    with pytest.raises(ConfigError, match="chapter"):
        comparison_table(pd.concat([results, results.assign(chapter="speed")]))
