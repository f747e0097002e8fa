"Claims and their verdicts."

import math

import pandas as pd
import pytest
import yaml

from probpose.core.errors import ConfigError, DataFileError
from probpose.ledger.claims import (
    Comparison,
    compare,
    compare_claims,
    comparisons_of,
    load_claims,
    published_gain,
    verdicts,
)
from probpose.metrics.names import METRICS

EXPECTED = {
    "poseflow": "F1 F2 F3 F4 F5 F6 F7 F8 F9 T1 T2 T3 T4 T5 sec4.5 secD",
    "elepose": "F1 F2 F3 F4 F5 T1 T2 T3 T4 T5",
    "diffpose": "F1 F2 F3 F4 F5 T1 T2 T3 T4",
    "humr": "F1 F2 F3 F4 F5 F6 T1 T2 T3 S1 S2 S1-fig S2-fig S3 S4 S5 S6",
}


def test_the_claims_are_well_formed():
    entries = load_claims()
    active = [entry for entry in entries if entry["state"] == "active"]
    assert {entry["paper"] for entry in entries} == {*EXPECTED, "fmpose"} and len(active) >= 15
    assert all("verdict" not in entry for entry in entries)
    spelt = [comparison for entry in active for comparison in comparisons_of(entry)]
    assert {side[key] for c in spelt for side in (c.left, c.right) for key in ("metric",) if key in side} <= set(
        METRICS
    )


@pytest.mark.parametrize(
    "entry", [entry for entry in load_claims() if entry.get("published")], ids=lambda entry: entry["id"]
)
def test_claims_hold_in_the_papers_own_numbers(entry):
    "A claim that is written the wrong way round, or with a margin that the paper itself does not meet, fails here."
    for comparison in comparisons_of(entry):
        gain = published_gain(comparison, entry["published"])
        assert math.isfinite(gain), comparison.text
        right = comparison.right.get("value") or _printed_right(comparison, entry["published"])
        assert gain > comparison.margin + comparison.relative_margin * abs(right), comparison.text


def _printed_right(comparison, names):
    zero = comparison._replace(left={"value": 0.0}, lower=True)
    return published_gain(zero, names)


def test_verdicts_follow_the_numbers(make_claim, results):
    cmu = results[results["dataset"] == "cmu"]

    def judge(entry, table=cmu):
        return verdicts(table, [entry])["verdict"].item()

    backwards = [{"left": make_claim()["comparisons"][0]["right"], "right": make_claim()["comparisons"][0]["left"]}]
    assert judge(make_claim()) == "reproduced" and judge(make_claim(comparisons=backwards)) == "not reproduced"
    assert judge(make_claim(comparisons=[{**make_claim()["comparisons"][0], "margin": 15.0}])) == "inconclusive"
    assert judge(make_claim(comparisons=[{**make_claim()["comparisons"][0], "margin": 20.0}])) == "not reproduced"
    assert judge(make_claim(comparisons=[{**make_claim()["comparisons"][0], "relative_margin": 0.2}])) == "reproduced"
    assert (
        judge(make_claim(comparisons=[{**make_claim()["comparisons"][0], "relative_margin": 0.3}])) == "not reproduced"
    )
    assert judge(make_claim(comparisons=make_claim()["comparisons"] + backwards)) == "not reproduced"
    assert judge(make_claim(seeds=4)) == "inconclusive"
    assert (
        judge(
            make_claim(
                comparisons=[
                    {"left": {"variant": "mdn", "statistic": "best"}, "right": {"variant": "full", "statistic": "mode"}}
                ]
            )
        )
        == "no data"
    )
    assert (
        judge(make_claim(), cmu[:0]) == "no data"
        and judge(make_claim(), results[results["dataset"] == "synthetic"]) == "no verdict: smoke"
    )


def test_one_row_for_each_data_set_and_smoke_never_a_verdict(make_claim, results):
    rows = verdicts(results, [make_claim()]).set_index("dataset")
    assert (
        rows.loc["cmu", "verdict"] == "reproduced"
        and rows.loc["cmu", "tier"] == "laptop"
        and rows.loc["synthetic", "verdict"] == "no verdict: smoke"
    )
    assert set(verdicts(results[results["tier"] == "smoke"])["verdict"]) <= {"no verdict: smoke", "planned", "no data"}


def test_one_seed_rests_on_its_frames_and_the_other_sides_seeds(make_claim, results):
    cmu = results[(results["dataset"] == "cmu") & (results["tier"] == "laptop")]
    single = pd.concat([cmu[cmu["variant"] == "full"], cmu[(cmu["variant"] == "martinez") & (cmu["seed"] == 0)]])
    row = compare_claims(
        single,
        [
            make_claim(
                seeds=1,
                comparisons=[
                    {
                        "left": {"variant": "full", "statistic": "best", "hypotheses": 200},
                        "right": {"variant": "martinez", "statistic": "mode"},
                    }
                ],
            )
        ],
    ).iloc[0]
    assert row["seeds"] == 1 and "3 seeds" in row["basis"]
    alone = compare_claims(
        single[single["seed"] == 0],
        [
            make_claim(
                seeds=1,
                comparisons=[
                    {
                        "left": {"variant": "full", "statistic": "best", "hypotheses": 200},
                        "right": {"variant": "martinez", "statistic": "mode"},
                    }
                ],
            )
        ],
    ).iloc[0]
    assert (
        alone["high"] - alone["low"] == pytest.approx(2 * 1.96 * math.hypot(0.4, 0.5))
        and row["high"] - row["low"] > alone["high"] - alone["low"]
    )
    bare = single[single["seed"] == 0].assign(stderr=math.nan)
    assert verdicts(bare, [make_claim(seeds=1)])["verdict"].item() == "inconclusive"


def test_sides_can_be_constants_differences_and_extremes(results):
    cmu = results[(results["dataset"] == "cmu") & (results["tier"] == "laptop")]
    best = {"variant": "full", "metric": "mpjpe", "statistic": "best", "hypotheses": "largest"}
    gain, _, seeds = compare(cmu, Comparison("mpjpe", best, {"value": 50.0}, True))
    assert gain.mean == pytest.approx(4.5) and seeds == 3
    gain, _, _ = compare(
        cmu, Comparison("mpjpe", {**best, "minus": {"statistic": "mode", "hypotheses": 1}}, {"value": 0.0}, True)
    )
    assert gain.mean == pytest.approx(15.0) and gain.low == pytest.approx(15.0)


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"verdict": "reproduced"}, "unknown verdict"),
        ({"state": "true"}, "state"),
        ({"comparisons": []}, "expected comparisons"),
        ({"state": "planned"}, "needs"),
        ({"paper": "mine"}, "paper"),
        ({"metrics": ["spread_x"]}, "expect: lower"),
        ({"source": None, "statement": None, "page": None, "x": 1}, "unknown x"),
    ],
)
def test_claims_that_cannot_be_computed_are_refused(make_claim, tmp_path, changes, match):
    (tmp_path / "artifacts.yml").write_text("[]")
    (tmp_path / "claims.yml").write_text(yaml.safe_dump([make_claim(**changes)]))
    with pytest.raises(ValueError, match=match):
        load_claims(tmp_path)


def test_repeated_claims_and_broken_yaml_are_refused(make_claim, tmp_path):
    (tmp_path / "artifacts.yml").write_text("[]")
    (tmp_path / "claims.yml").write_text(yaml.safe_dump([make_claim(), make_claim()]))
    with pytest.raises(ConfigError, match="each id once"):
        load_claims(tmp_path)
    (tmp_path / "claims.yml").write_text("- {id: one")
    with pytest.raises(DataFileError, match="claims.yml"):
        load_claims(tmp_path)


def test_sides_with_misspelt_coordinates_are_refused(make_claim, results):
    with pytest.raises(ConfigError, match="varaint"):
        compare_claims(results, [make_claim(comparisons=[{"left": {"varaint": "full"}, "right": {"value": 0}}])])
