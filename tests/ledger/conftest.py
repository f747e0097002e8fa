"Results and claims to try the ledger on."

import dataclasses

import pytest

from probpose.ledger.results import Result, load_results, record, save_result


@pytest.fixture(scope="session")
def make_result():
    "Makes results of PoseFlow with a few records and a curve."

    def make(seed=0, tier="laptop", dataset="cmu", shift=0.0, chapter="poseflow", **changes):
        records = [
            record("full", "mpjpe", 60.0 + shift, "mode", 1, count=100, stderr=0.5),
            record("full", "mpjpe", 45.0 + shift, "best", 200, count=100, stderr=0.4),
            record("martinez", "mpjpe", 58.0 + shift, "mode", 1, count=100, stderr=0.5),
            record("full", "mpjpe", 41.0 + shift, "best", 200, group="walk", count=20),
            record("full", "cps", 170.0 - shift, "best", 200, "hard", count=30, stderr=2.0),
        ]
        about = {
            "commit": "abc",
            "dirty": False,
            "hardware": "some processor, 2 threads",
            "wall_time": 30.0,
            "data": "f00d",
        }
        return dataclasses.replace(
            Result(
                chapter,
                dataset,
                tier,
                seed,
                records,
                about,
                {"hypotheses": {"hypotheses": [1, 200], "value": [61.0, 45.0]}},
            ),
            **changes,
        )

    return make


@pytest.fixture
def results(make_result, tmp_path):
    for seed in range(3):
        save_result(make_result(seed, shift=0.5 * seed), tmp_path)
    save_result(make_result(0, "smoke", shift=100.0), tmp_path)
    save_result(make_result(0, "smoke", "synthetic", shift=200.0), tmp_path)
    return load_results(tmp_path)


@pytest.fixture(scope="session")
def make_claim():
    "Makes an active claim: many hypotheses are better than one."

    def make(**changes):
        return {
            "id": "one",
            "paper": "poseflow",
            "statement": "s",
            "source": "Table 1",
            "page": 7,
            "chapter": "poseflow",
            "state": "active",
            "seeds": 3,
            "metrics": ["mpjpe"],
            "comparisons": [
                {
                    "left": {"variant": "full", "statistic": "best", "hypotheses": 200},
                    "right": {"variant": "full", "statistic": "mode"},
                }
            ],
            **changes,
        }

    return make
