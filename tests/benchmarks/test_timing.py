"The clock."

import math

import numpy as np
import pandas as pd
import pytest

from probpose.benchmarks.timing import check_agreement, median_and_error, time_in_turns
from probpose.core.errors import ConfigError, DisagreementError


def test_candidates_take_turns_and_short_calls_are_repeated():
    ticks = []
    runs = time_in_turns({"a": lambda: ticks.append("a"), "b": lambda: ticks.append("b")}, repeats=3, warmup=2)
    assert "".join(ticks) == "aabb" + "ab" * 3
    assert list(runs.columns) == ["a", "b"] and runs.index.name == "round" and (runs > 0).all(axis=None)
    ticks.clear()
    time_in_turns({"a": lambda: ticks.append("a")}, repeats=1, warmup=0, least=1e-3)
    assert len(ticks) > 10


def test_a_failing_candidate_leaves_the_garbage_collector_on():
    import gc

    calls = []

    def fails_later():
        calls.append(1)
        if len(calls) > 1:
            raise KeyError("later")

    with pytest.raises(KeyError):
        time_in_turns({"a": fails_later}, repeats=2)
    assert gc.isenabled()


@pytest.mark.parametrize("wrong", [dict(repeats=0), dict(repeats=2.5), dict(warmup=-1)])
def test_impossible_counts_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        time_in_turns({"a": lambda: None}, **wrong)


def test_median_and_error_ignore_one_outlier():
    values = pd.Series(np.linspace(1.0, 2.0, 101))
    middle, error = median_and_error(values)
    outlier = median_and_error(pd.concat([values, pd.Series([1e6])]))
    assert (
        middle == pytest.approx(1.5)
        and outlier[0] == pytest.approx(1.5, abs=0.01)
        and outlier[1] == pytest.approx(error, rel=0.05)
    )
    assert math.isnan(median_and_error(pd.Series([1.0, 2.0]))[1])


@pytest.mark.parametrize("gap", [0.2, math.nan, math.inf])
def test_what_disagrees_is_not_timed(gap):
    assert check_agreement(0.1, 0.1, "things") == 0.1
    with pytest.raises(DisagreementError, match="things"):
        check_agreement(gap, 0.1, "things")
