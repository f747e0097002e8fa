"Rankings, the chooser, and ways to make one pose of many, among methods with known numbers."

import pandas as pd

from probpose.ledger.results import RESULT_COLUMNS, record
from probpose.models.aggregation import AGGREGATES
from probpose.studies.head_to_head import WAYS, compare_ways, rank_methods, recommend_methods, tabulate_ways


def test_the_chooser_does_not_separate_what_the_seeds_do_not():
    values = {"poseflow": (10.0, 12.0, 11.0), "diffpose": (10.5, 11.0, 11.6), "mdn": (20.0, 21.0, 20.5)}
    rows = [
        {
            "chapter": "head_to_head",
            "dataset": "toy",
            "tier": "laptop",
            "seed": seed,
            **record(name, "energy_score", value, "", 200, subset),
        }
        for subset in ("all", "transfer")
        for name, numbers in values.items()
        for seed, value in enumerate(numbers)
    ]
    table = recommend_methods(pd.DataFrame(rows).reindex(columns=RESULT_COLUMNS)).frame
    assert set(table["seeds tell them apart"]) == {"no"} and len(table) == 2
    clear = pd.DataFrame([row for row in rows if row["variant"] != "diffpose"]).reindex(columns=RESULT_COLUMNS)
    assert set(recommend_methods(clear).frame["seeds tell them apart"]) == {"yes"}
    assert rank_methods(clear, "energy_score", "", "largest", "all").index.tolist() == ["poseflow", "mdn"]


def test_higher_is_better_where_it_is():
    rows = [
        {
            "chapter": "head_to_head",
            "dataset": "toy",
            "tier": "laptop",
            "seed": 0,
            **record(name, "cps", value, "best", 200),
        }
        for name, value in (("mdn", 100.0), ("cvae", 150.0))
    ]
    assert rank_methods(
        pd.DataFrame(rows).reindex(columns=RESULT_COLUMNS), "cps", "best", "largest", "all"
    ).index.tolist() == ["cvae", "mdn"]


def test_ways_are_tabulated_and_compared_with_the_mean():
    values = {
        "cvae": {"mean": 60.0, "score": 58.0, "medoid": 66.0},
        "mdn": {"mean": 70.0, "score": 64.0, "medoid": 75.0},
    }
    rows = [
        {
            **dict(chapter="head_to_head", dataset="toy", tier="smoke", seed=seed),
            **record(name, "mpjpe", value + shift + harder, f"aggregate_{way}", 20, subset),
        }
        for name, ways in values.items()
        for way, value in ways.items()
        for seed, shift in ((0, -1.0), (1, 1.0))
        for subset, harder in (("all_part", 0.0), ("hard_part", 10.0))
    ]
    rows += [{**row, "metric": "pa_mpjpe"} for row in rows]
    rows += [{**row, "statistic": "oracle", "value": 1.0} for row in rows if row["statistic"] == "aggregate_mean"]
    rows.append(
        {**rows[0], "variant": "poseflow", "statistic": "mode"}
    )  # of another measurement: no set was aggregated
    table = pd.DataFrame(rows).reindex(columns=RESULT_COLUMNS)
    found = tabulate_ways(table, "mpjpe", "hard_part")
    assert found.index.tolist() == ["mdn", "cvae"], "in the order of the methods"
    assert found.columns.tolist() == ["aggregate_mean", "aggregate_medoid", "aggregate_score", "oracle"]
    assert found.loc["mdn"].tolist() == [80.0, 85.0, 74.0, 1.0], "means over seeds"
    changes = compare_ways(table)
    assert changes.frame.loc["weighed by score"].tolist() == ["-4.0"] * 4
    assert changes.frame.loc["medoid"].tolist() == ["+5.5"] * 4 and "numbers mean nothing" in changes.caption


def test_every_way_to_aggregate_has_a_name():
    assert [f"aggregate_{way}" for way in AGGREGATES] == list(WAYS)[: len(AGGREGATES)]
