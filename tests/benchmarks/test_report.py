"Tables and figures of measured speeds."

import math

import pandas as pd
import pytest

from probpose.benchmarks.plans import RATES, TARGETS, TASKS
from probpose.benchmarks.report import limits_table, ratio_figure, reaches_target, speedup_table, speedups


@pytest.fixture
def runs():
    "Three rounds of every task, as the benchmarks give them."
    rounds = [
        {"task": task, "round": i, "plain": 2.0 + 0.1 * i, "fast": 1.0, "limit": math.nan, "plain_gflop": 9.0}
        for task in TASKS
        for i in range(3)
    ]
    return pd.DataFrame(rounds).assign(fast_gflop=5.0, gigabytes=0.1, agreement="same")


def test_tables_and_figure(runs):
    summary = speedups(runs)
    table = speedup_table(summary, "where").frame
    assert (
        len(table) == len(TASKS)
        and set(table["reached"]) <= {"yes", "no", "–"}
        and (table["reached"] == "–").sum() == len(TASKS) - len(TARGETS) - len(RATES)
    )
    assert "matrix products" in limits_table(summary, 100.0, 10.0).frame["what the limit is"].iloc[0]
    figure = ratio_figure(summary)
    assert len(set(figure.data[0].y)) == len(TASKS) and sorted(figure.data[1].x) == sorted(TARGETS.values())


def test_a_rate_has_a_target_of_its_own(runs):
    for seconds, reached in ((1 / 61, "yes"), (1 / 59, "no")):
        summary = speedups(runs[runs["task"] == "rendering"].assign(fast=seconds))
        table = speedup_table(summary).frame
        assert (
            table["reached"].tolist() == [reached]
            and table["target"].tolist() == ["60 a second"]
            and reaches_target(summary.iloc[0]) == (reached == "yes")
        )
    assert reaches_target(speedups(runs[runs["task"] == "components"]).iloc[0]) is None


def test_what_did_not_pay_is_shown_as_it_is(runs):
    part = runs[runs["task"] == "seeds_together"].assign(plain=1.0, fast=2.0)
    summary = speedups(pd.concat([runs[runs["task"] == "cps"], part]))
    table, figure = speedup_table(summary).frame, ratio_figure(summary)
    assert (
        table["speed-up"].iloc[1] == "0.50 ×"
        and table["reached"].iloc[1] == "–"
        and summary["rounds"].tolist() == [3, 3]
    )
    assert figure.data[0].x[0] == -0.5 and figure.data[0].base == 1 and figure.layout.xaxis.range[0] < math.log10(0.5)
