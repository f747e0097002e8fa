"Result files, long tables of them, and choosing records."

import json
import math
import os

import numpy as np
import pandas as pd
import pytest

from probpose.core.errors import ConfigError, DataFileError, UnknownNameError
from probpose.ledger.results import (
    RECORD_KEY,
    RESULT_COLUMNS,
    best_tier,
    lend_records,
    load_curves,
    load_result,
    load_results,
    mean_value,
    record,
    save_result,
)


def test_result_survives_the_round_trip(make_result, tmp_path):
    result = make_result()
    path = save_result(result, tmp_path)
    again = load_result(path)
    assert path.name == "poseflow-cmu-laptop-0.json"
    assert (
        sorted(again.records, key=str) == sorted(result.records, key=str)
        and again.curves == result.curves
        and again.provenance == result.provenance
    )


def test_the_file_does_not_depend_on_the_order_of_records(make_result, tmp_path):
    first = save_result(make_result(), tmp_path / "a").read_bytes()
    second = save_result(make_result(records=make_result().records[::-1]), tmp_path / "b").read_bytes()
    assert first == second


def test_files_of_the_first_schema_are_read(make_result, tmp_path):
    path = save_result(make_result(), tmp_path)
    content, again = json.loads(path.read_text()), load_result(path)
    path.write_text(json.dumps(content | {"schema": 1, "records": again.records}))
    assert load_result(path) == again and len(again.records) == len(content["records"]["rows"])


def test_a_full_disk_leaves_the_old_result(make_result, tmp_path, monkeypatch):
    path = save_result(make_result(), tmp_path)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_result(make_result(shift=9.0), tmp_path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"schema": 2', '"schema": 7'),
        lambda text: text.replace('"seed": 0,', ""),
        lambda text: "[]",
        lambda text: text.replace('"tier": "laptop"', '"tier": "best"'),
        lambda text: text.replace('["full", ', "["),
        lambda text: text.replace('["variant", ', '["model", '),
    ],
)
def test_a_damaged_file_is_refused_by_name(make_result, tmp_path, damage):
    path = save_result(make_result(), tmp_path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataFileError, match="poseflow-cmu-laptop-0.json"):
        load_result(path)


def test_missing_result_file():
    with pytest.raises(DataFileError, match="run the chapter again"):
        load_result("nowhere.json")


def test_bad_results_are_not_written(make_result, tmp_path):
    with pytest.raises(ConfigError, match="repeated"):
        save_result(make_result(records=make_result().records * 2), tmp_path)
    with pytest.raises(ConfigError, match="colour"):
        save_result(make_result(records=[record("full", "mpjpe", 1.0) | {"colour": "blue"}]), tmp_path)
    with pytest.raises(UnknownNameError, match="smoke"):
        save_result(make_result(tier="huge"), tmp_path)
    with pytest.raises(ConfigError, match="lower-case"):
        save_result(make_result(dataset="../cmu"), tmp_path)
    with pytest.raises(ConfigError, match="equal length"):
        save_result(make_result(curves={"c": {"x": [1], "y": [1, 2]}}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_values_that_are_no_numbers_are_kept_as_missing(make_result, tmp_path):
    result = make_result(
        records=[record("full", "mpjpe", math.inf), record("full", "pck", math.nan, stderr=math.nan)],
        curves={"c": {"x": [np.float32(1.5), math.nan]}},
    )
    path = save_result(result, tmp_path)
    assert "NaN" not in path.read_text() and "Infinity" not in path.read_text()
    assert load_results(tmp_path)["value"].isna().all() and load_result(path).curves == {"c": {"x": [1.5, None]}}


def test_later_folders_win(make_result, tmp_path):
    save_result(make_result(shift=0.0), tmp_path / "old")
    save_result(make_result(shift=7.0), tmp_path / "new")
    both = load_results(tmp_path / "old", tmp_path / "new")
    assert len(both) == 5 and mean_value(both, variant="full", metric="mpjpe", statistic="mode") == 67.0


def test_results_of_this_run_are_found_through_the_environment(make_result, tmp_path, monkeypatch):
    save_result(make_result(dataset="only_here"), tmp_path)
    monkeypatch.setenv("PROBPOSE_RESULTS", str(tmp_path))
    assert "only_here" in set(load_results()["dataset"])


def test_best_tier_is_chosen_for_each_data_set(results):
    best = best_tier(results)
    assert {(d, t) for d, t in zip(best["dataset"], best["tier"])} == {
        ("cmu", "laptop"),
        ("synthetic", "smoke"),
    } and len(best) == 3 * 5 + 5


def test_curves_are_long_tables(make_result, tmp_path):
    save_result(make_result(0), tmp_path)
    save_result(make_result(1), tmp_path)
    curve = load_curves("hypotheses", tmp_path)
    assert len(curve) == 4 and set(curve["seed"]) == {0, 1} and len(load_curves("no such", tmp_path)) == 0


def test_numbers_for_prose_refuse_to_average_unlike_things(results):
    cmu = results[results["dataset"] == "cmu"]
    assert mean_value(cmu, variant="full", metric="mpjpe", statistic="best") == 45.5
    with pytest.raises(ConfigError, match="statistic"):
        mean_value(cmu, variant="full", metric="mpjpe")
    with pytest.raises(ConfigError, match="dataset"):
        mean_value(pd.concat([cmu, cmu.assign(dataset="other")]), variant="full", metric="mpjpe", statistic="best")
    assert math.isnan(mean_value(cmu, variant="full", metric="auc"))


def test_borrowed_records_keep_tier_data_set_and_origin():
    rows = [
        {
            "chapter": chapter,
            "dataset": dataset,
            "tier": tier,
            "seed": seed,
            "commit": chapter,
            **record(variant, "mpjpe", value, "best", 200),
        }
        for chapter, dataset, tier, seed, variant, value in (
            ("poseflow", "cmu", "laptop", 0, "full", 1.0),
            ("poseflow", "cmu", "laptop", 1, "full", 2.0),
            ("poseflow", "cmu", "full", 0, "full", 3.0),
            ("poseflow", "mine", "laptop", 0, "full", 4.0),
            ("diffpose", "cmu", "laptop", 0, "full", 5.0),
            ("baselines", "cmu", "laptop", 0, "mdn", 6.0),
        )
    ]
    loans = {"poseflow": {("baselines", "mdn"): "mdn"}, "diffpose": {("poseflow", "full"): "poseflow"}}
    table = lend_records(pd.DataFrame(rows).reindex(columns=RESULT_COLUMNS), loans)
    lent = table[(table["chapter"] == "diffpose") & (table["variant"] == "poseflow")]
    assert lent["value"].tolist() == [1.0, 2.0] and set(lent["commit"]) == {"poseflow"}
    assert table[(table["chapter"] == "poseflow") & (table["variant"] == "mdn")]["value"].tolist() == [6.0]
    assert (
        len(table[table["chapter"] == "poseflow"]) == 5
        and not table.duplicated([*RECORD_KEY, "chapter", "dataset", "tier", "seed"]).any()
    )


def test_a_chapters_own_record_is_never_replaced_by_a_borrowed_one():
    rows = [
        {"chapter": chapter, "dataset": "cmu", "tier": "laptop", "seed": 0, **record(variant, "mpjpe", value)}
        for chapter, variant, value in (("baselines", "mdn", 1.0), ("poseflow", "mdn", 2.0))
    ]
    loans = {"poseflow": {("baselines", "mdn"): "mdn"}}
    table = lend_records(pd.DataFrame(rows).reindex(columns=RESULT_COLUMNS), loans)
    assert table[(table["chapter"] == "poseflow") & (table["variant"] == "mdn")]["value"].tolist() == [2.0]
