"Rankings and the chooser among methods with known numbers."

import pandas as pd

from probpose.ledger.results import RESULT_COLUMNS, record
from probpose.studies.head_to_head import rank_methods, recommend_methods


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
