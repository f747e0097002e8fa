"Results, published numbers, claims, the registry of tables and figures, and the prose of the chapters."

import dataclasses
import json
import math
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from probpose.core.errors import ConfigError, DataFileError, UnknownNameError
from probpose.ledger.claims import Comparison, claims, compare, compare_claims, comparisons_of, published_gain, verdicts
from probpose.ledger.intervals import interval_of_mean, interval_of_one_seed
from probpose.ledger.places import book_folder
from probpose.ledger.prose import prose_problems, unsourced_numbers
from probpose.ledger.provenance import _ABSOLUTE, anonymous, code_version, provenance
from probpose.ledger.published import published, published_problems, published_value
from probpose.ledger.registry import artifact_problems, registry
from probpose.ledger.results import (
    RECORD_KEY,
    RESULT_COLUMNS,
    Result,
    add_borrowed,
    best_tier,
    load_curves,
    load_result,
    load_results,
    record,
    recorded_value,
    save_result,
)
from probpose.ledger.tables import SMOKE, claims_table, comparison_table, registry_table
from probpose.metrics.names import METRICS
from probpose.studies.plans import borrowed_records

BOOK = book_folder()
SHARED = BOOK.parent.parent / "shared"
TABLES = sorted(path.stem for path in (BOOK / "published").glob("*.csv"))

# Every table and figure of the four papers.
EXPECTED = {
    "poseflow": "F1 F2 F3 F4 F5 F6 F7 F8 F9 T1 T2 T3 T4 T5 sec4.5 secD",
    "elepose": "F1 F2 F3 F4 F5 T1 T2 T3 T4 T5",
    "diffpose": "F1 F2 F3 F4 F5 T1 T2 T3 T4",
    "humr": "F1 F2 F3 F4 F5 F6 T1 T2 T3 S1 S2 S1-fig S2-fig S3 S4 S5 S6",
}


def make_result(seed=0, tier="laptop", dataset="cmu", shift=0.0, chapter="poseflow", **changes):
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


@pytest.fixture
def results(tmp_path):
    for seed in range(3):
        save_result(make_result(seed, shift=0.5 * seed), tmp_path)
    save_result(make_result(0, "smoke", shift=100.0), tmp_path)
    save_result(make_result(0, "smoke", "synthetic", shift=200.0), tmp_path)
    return load_results(tmp_path)


def claim(**changes):
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


# ---------------------------------------------------------------- result files


def test_result_survives_the_round_trip(tmp_path):
    result = make_result()
    path = save_result(result, tmp_path)
    again = load_result(path)
    assert path.name == "poseflow-cmu-laptop-0.json"
    assert (
        sorted(again.records, key=str) == sorted(result.records, key=str)
        and again.curves == result.curves
        and again.provenance == result.provenance
    )


def test_the_file_does_not_depend_on_the_order_of_records(tmp_path):
    first = save_result(make_result(), tmp_path / "a").read_bytes()
    second = save_result(make_result(records=make_result().records[::-1]), tmp_path / "b").read_bytes()
    assert first == second


def test_a_full_disk_leaves_the_old_result(tmp_path, monkeypatch):
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
        lambda text: text.replace('"schema": 1', '"schema": 7'),
        lambda text: text.replace('"seed": 0,', ""),
        lambda text: "[]",
        lambda text: text.replace('"tier": "laptop"', '"tier": "best"'),
        lambda text: text.replace('"variant": "full", ', ""),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, damage):
    path = save_result(make_result(), tmp_path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataFileError, match="poseflow-cmu-laptop-0.json"):
        load_result(path)


def test_missing_result_file():
    with pytest.raises(DataFileError, match="run the chapter again"):
        load_result("nowhere.json")


def test_bad_results_are_not_written(tmp_path):
    with pytest.raises(ConfigError, match="repeated"):
        save_result(make_result(records=make_result().records * 2), tmp_path)
    with pytest.raises(UnknownNameError, match="smoke"):
        save_result(make_result(tier="huge"), tmp_path)
    with pytest.raises(ConfigError, match="lower-case"):
        save_result(make_result(dataset="../cmu"), tmp_path)
    with pytest.raises(ConfigError, match="equal length"):
        save_result(make_result(curves={"c": {"x": [1], "y": [1, 2]}}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_values_that_are_no_numbers_are_kept_as_missing(tmp_path):
    result = make_result(
        records=[record("full", "mpjpe", math.inf), record("full", "pck", math.nan, stderr=math.nan)],
        curves={"c": {"x": [np.float32(1.5), math.nan]}},
    )
    path = save_result(result, tmp_path)
    assert "NaN" not in path.read_text() and "Infinity" not in path.read_text()
    assert load_results(tmp_path)["value"].isna().all() and load_result(path).curves == {"c": {"x": [1.5, None]}}


def test_later_folders_win(tmp_path):
    save_result(make_result(shift=0.0), tmp_path / "old")
    save_result(make_result(shift=7.0), tmp_path / "new")
    both = load_results(tmp_path / "old", tmp_path / "new")
    assert len(both) == 5 and recorded_value(both, variant="full", metric="mpjpe", statistic="mode") == 67.0


def test_results_of_this_run_are_found_through_the_environment(tmp_path, monkeypatch):
    save_result(make_result(dataset="only_here"), tmp_path)
    monkeypatch.setenv("PROBPOSE_RESULTS", str(tmp_path))
    assert "only_here" in set(load_results()["dataset"])


def test_best_tier_is_chosen_for_each_data_set(results):
    best = best_tier(results)
    assert {(d, t) for d, t in zip(best["dataset"], best["tier"])} == {
        ("cmu", "laptop"),
        ("synthetic", "smoke"),
    } and len(best) == 3 * 5 + 5


def test_curves_are_long_tables(tmp_path):
    save_result(make_result(0), tmp_path)
    save_result(make_result(1), tmp_path)
    curve = load_curves("hypotheses", tmp_path)
    assert len(curve) == 4 and set(curve["seed"]) == {0, 1} and len(load_curves("no such", tmp_path)) == 0


# ---------------------------------------------------------------- provenance


@pytest.mark.parametrize(
    "text, cleaned",
    [
        ("/home/anna/x.npz", "<path>"),
        ("~/cmu", "<path>"),
        (r"C:\Users\anna", "<path>"),
        ("data from '/srv/a b'", "data from '<path> b'"),
        ("mm/px", "mm/px"),
        ("book/results", "book/results"),
        ("a / b", "a / b"),
        ("path=/x/y,z", "path=<path>,z"),
        ("anna on crunch7", "<user> on <host>"),
        ("annals", "annals"),
    ],
)
def test_nobody_is_named(monkeypatch, text, cleaned):
    monkeypatch.setattr("socket.gethostname", lambda: "crunch7.example.org")
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    assert anonymous(text) == cleaned
    assert anonymous({"k": [Path(text)]})["k"] == [cleaned] or text.startswith("~") or "\\" in text


def test_save_result_cleans_the_provenance(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "crunch7")
    text = save_result(
        make_result(provenance={"parameters": {"path": "/home/anna/cmu"}, "note": "on crunch7"}), tmp_path
    ).read_text()
    assert "crunch7" not in text and "anna" not in text


def test_provenance_is_complete():
    about = provenance({"blocks": 8}, data="f00d", wall_time=1.0)
    assert set(about) == {"commit", "dirty", "parameters", "data", "hardware", "versions", "wall_time"} and {
        "python",
        "torch",
    } <= set(about["versions"])
    json.dumps(about, allow_nan=False)


def test_committed_results_name_nobody_and_are_complete():
    for path in (BOOK / "results").glob("*.json"):
        result = load_result(path)
        assert path.name == result.filename
        assert {"commit", "parameters", "data", "hardware", "versions", "wall_time"} <= set(result.provenance), (
            path.name
        )
        assert not _ABSOLUTE.search(json.dumps(result.provenance)), path.name


# ---------------------------------------------------------------- published numbers


@pytest.mark.parametrize("name", TABLES)
def test_published_tables_are_consistent(name):
    assert published_problems(name) == []


def test_every_table_of_poseflow_is_transcribed():
    assert {
        f"poseflow_{part}" for part in ("table1", "table2", "table3", "table4", "table5", "spread", "time", "worst")
    } <= set(TABLES)
    assert len(published("poseflow_table1")) == 7 * 16 * 2


@pytest.mark.parametrize("name", TABLES)
def test_published_numbers_stand_in_the_paper(name):
    number = {"poseflow": "000", "elepose": "001", "humr": "002", "diffpose": "003"}[name.split("_")[0]]
    found = list((SHARED / "papers").glob(f"{number}_*.txt"))
    if not found:
        pytest.skip("the papers' text is not at hand (../shared/papers beside the checkout)")
    text = found[0].read_text(encoding="utf-8")
    rows = pd.read_csv(BOOK / "published" / f"{name}.csv", dtype=str, keep_default_na=False)
    missing = [
        value
        for value in {*rows["value"], *rows["spread"]} - {""}
        if not re.search(rf"(?<![\d.]){re.escape(value)}(?![\d]|\.\d)", text)
    ]
    assert missing == []


def test_wrong_transcriptions_are_noticed(tmp_path):
    (tmp_path / "published").mkdir()
    (tmp_path / "artifacts.yml").write_text("[]")
    text = (BOOK / "published" / "poseflow_table2.csv").read_text()
    row = next(line for line in text.splitlines() if ",pck," in line)
    (tmp_path / "published" / "t.csv").write_text(
        text.replace("85.7", "857") + row + "\n" + row.replace(",7,", ",,").replace("Li", "Lo") + "\n"
    )
    problems = "\n".join(published_problems("t", tmp_path))
    assert "857.0 % is outside" in problems and "repeats" in problems and "no page" in problems
    (tmp_path / "published" / "t.csv").write_text(text.replace("85.7", "8S.7"))
    with pytest.raises(DataFileError, match="t.csv"):
        published("t", tmp_path)


def test_unknown_published_table_and_ambiguous_value():
    with pytest.raises(UnknownNameError, match="poseflow_table4"):
        published("poseflow_table9")
    with pytest.raises(ConfigError, match="expected one number"):
        published_value("poseflow_table4", metric="cps")
    assert published_value("poseflow_table5", variant="full", metric="mpjpe", statistic="kmeans5") == 53.2


# ---------------------------------------------------------------- tables


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
        claims_table(results, "poseflow"),
    ):
        page = table._repr_html_()
        assert not re.search(r"color|background|#[0-9a-f]{3,6}\b", page) and 'class="dataframe' in page


def test_fewer_hypotheses_than_printed_are_named(tmp_path):
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


def test_numbers_for_prose_refuse_to_average_unlike_things(results):
    cmu = results[results["dataset"] == "cmu"]
    assert recorded_value(cmu, variant="full", metric="mpjpe", statistic="best") == 45.5
    with pytest.raises(ConfigError, match="statistic"):
        recorded_value(cmu, variant="full", metric="mpjpe")
    with pytest.raises(ConfigError, match="dataset"):
        recorded_value(pd.concat([cmu, cmu.assign(dataset="other")]), variant="full", metric="mpjpe", statistic="best")
    assert math.isnan(recorded_value(cmu, variant="full", metric="auc"))


# ---------------------------------------------------------------- claims


def test_the_claims_are_well_formed():
    entries = claims()
    active = [entry for entry in entries if entry["state"] == "active"]
    assert {entry["paper"] for entry in entries} == set(EXPECTED) and len(active) >= 15
    assert all("verdict" not in entry for entry in entries)
    spelt = [comparison for entry in active for comparison in comparisons_of(entry)]
    assert {side[key] for c in spelt for side in (c.left, c.right) for key in ("metric",) if key in side} <= set(
        METRICS
    )


@pytest.mark.parametrize(
    "entry", [entry for entry in claims() if entry.get("published")], ids=lambda entry: entry["id"]
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


def test_verdicts_follow_the_numbers(results):
    cmu = results[results["dataset"] == "cmu"]

    def judge(entry, table=cmu):
        return verdicts(table, [entry])["verdict"].item()

    backwards = [{"left": claim()["comparisons"][0]["right"], "right": claim()["comparisons"][0]["left"]}]
    assert judge(claim()) == "reproduced" and judge(claim(comparisons=backwards)) == "not reproduced"
    assert judge(claim(comparisons=[{**claim()["comparisons"][0], "margin": 15.0}])) == "inconclusive"
    assert judge(claim(comparisons=[{**claim()["comparisons"][0], "margin": 20.0}])) == "not reproduced"
    assert judge(claim(comparisons=[{**claim()["comparisons"][0], "relative_margin": 0.2}])) == "reproduced"
    assert judge(claim(comparisons=[{**claim()["comparisons"][0], "relative_margin": 0.3}])) == "not reproduced"
    assert judge(claim(comparisons=claim()["comparisons"] + backwards)) == "not reproduced"
    assert judge(claim(seeds=4)) == "inconclusive"
    assert (
        judge(
            claim(
                comparisons=[
                    {"left": {"variant": "mdn", "statistic": "best"}, "right": {"variant": "full", "statistic": "mode"}}
                ]
            )
        )
        == "no data"
    )
    assert (
        judge(claim(), cmu[:0]) == "no data"
        and judge(claim(), results[results["dataset"] == "synthetic"]) == "no verdict: smoke"
    )


def test_one_row_for_each_data_set_and_smoke_never_a_verdict(results):
    rows = verdicts(results, [claim()]).set_index("dataset")
    assert (
        rows.loc["cmu", "verdict"] == "reproduced"
        and rows.loc["cmu", "tier"] == "laptop"
        and rows.loc["synthetic", "verdict"] == "no verdict: smoke"
    )
    assert set(verdicts(results[results["tier"] == "smoke"])["verdict"]) <= {"no verdict: smoke", "planned", "no data"}


def test_the_page_of_claims_shows_statements_verdicts_and_intervals(results):
    shown = claims_table(results, "poseflow")
    page = shown._repr_html_()
    for entry in claims():
        assert (entry["statement"].replace("'", "&#x27;") in page) == (entry["paper"] == "poseflow"), entry["id"]
    assert "gain +15.0 mm" in page and "cmu (laptop)" in page and "synthetic" not in page
    assert "<strong>no data</strong>" in claims_table(results, "humr")._repr_html_()
    assert "no verdict: smoke" in claims_table(results[results["tier"] == "smoke"], "poseflow")._repr_html_()
    assert claims_table(results).frame.loc["PoseFlow"].astype(int).sum() == sum(
        entry["paper"] == "poseflow" for entry in claims()
    )


def test_a_planned_claim_says_what_it_waits_for(results, tmp_path):
    (tmp_path / "artifacts.yml").write_text("[]")
    (tmp_path / "claims.yml").write_text(
        yaml.safe_dump([claim(), {**claim(id="two", state="planned", needs="a renderer"), "comparisons": []}])
    )
    page = claims_table(results, "poseflow", tmp_path)._repr_html_()
    assert page.count("<strong>planned</strong>") == 1 and "needs a renderer" in page and "reproduced</strong>" in page


def test_one_seed_rests_on_its_frames_and_the_other_sides_seeds(results):
    cmu = results[(results["dataset"] == "cmu") & (results["tier"] == "laptop")]
    single = pd.concat([cmu[cmu["variant"] == "full"], cmu[(cmu["variant"] == "martinez") & (cmu["seed"] == 0)]])
    row = compare_claims(
        single,
        [
            claim(
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
            claim(
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
    assert verdicts(bare, [claim(seeds=1)])["verdict"].item() == "inconclusive"


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    paired = [interval_of_mean(rng.normal(2.0, 1.0, 3)) for _ in range(2000)]
    assert 0.93 < np.mean([i.low < 2.0 < i.high for i in paired]) < 0.97
    hits = 0
    for _ in range(
        2000
    ):  # both sides are trainings with spread 1, their frames add noise with spread 0.5; the left side was trained 5 times
        left, right = rng.normal(0.0, math.hypot(1.0, 0.5), 5), rng.normal(0.0, math.hypot(1.0, 0.5))
        found = interval_of_one_seed(left[0] - right, (0.5, 0.5), [left.var(ddof=1)], [4])
        hits += found.low < 0.0 < found.high
    assert hits / 2000 > 0.93


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
def test_claims_that_cannot_be_computed_are_refused(tmp_path, changes, match):
    (tmp_path / "artifacts.yml").write_text("[]")
    (tmp_path / "claims.yml").write_text(yaml.safe_dump([claim(**changes)]))
    with pytest.raises(ValueError, match=match):
        claims(tmp_path)


def test_repeated_claims_and_broken_yaml_are_refused(tmp_path):
    (tmp_path / "artifacts.yml").write_text("[]")
    (tmp_path / "claims.yml").write_text(yaml.safe_dump([claim(), claim()]))
    with pytest.raises(ConfigError, match="each id once"):
        claims(tmp_path)
    (tmp_path / "claims.yml").write_text("- {id: one")
    with pytest.raises(DataFileError, match="claims.yml"):
        claims(tmp_path)


def test_sides_with_misspelt_coordinates_are_refused(results):
    with pytest.raises(ConfigError, match="varaint"):
        compare_claims(results, [claim(comparisons=[{"left": {"varaint": "full"}, "right": {"value": 0}}])])


# ---------------------------------------------------------------- registry


def test_the_registry_lists_every_table_and_figure():
    entries = registry()
    assert {paper: sorted(part["id"]) for paper, part in entries.groupby("paper")} == {
        paper: sorted(ids.split()) for paper, ids in EXPECTED.items()
    }


def test_the_expected_list_is_that_of_the_project():
    source = SHARED / "ARTIFACTS.md"
    if not source.is_file():
        pytest.skip("the project's list is not at hand (../shared/ARTIFACTS.md beside the checkout)")
    papers = re.split(r"^## ", source.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = {text.split()[0].lower(): sorted(_ids(text)) for text in papers}
    assert found == {paper: sorted(ids.split()) for paper, ids in EXPECTED.items()}


def _ids(text):
    for row in re.findall(r"^\| (?!id |---)([^|]+) \|", text, flags=re.MULTILINE):
        for name in row.strip().split(", "):
            first, _, last = name.partition("–")
            numbers = range(int(first[1:]), int(last[1:]) + 1) if last else []
            yield from [f"{first[0]}{number}" for number in numbers] or [name.replace("§", "sec").replace(" ", "-")]


def test_registry_and_chapters_agree():
    assert artifact_problems() == []


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"label": "artifact:poseflow-T2"}, "expected the label"),
        ({"state": "finished"}, "state"),
        ({"state": "partial"}, "note"),
        ({"colour": "red"}, "expected the keys"),
        ({"paper": "nerf"}, "paper"),
    ],
)
def test_incomplete_entries_are_refused(tmp_path, changes, match):
    entry = {
        "id": "T1",
        "paper": "poseflow",
        "title": "t",
        "chapter": "poseflow",
        "label": "artifact:poseflow-T1",
        "dataset": "cmu",
        "stand_in": "s",
        "state": "done",
        "note": "",
    }
    (tmp_path / "artifacts.yml").write_text(yaml.safe_dump([{**entry, **changes}]))
    with pytest.raises(ValueError, match=match):
        registry(tmp_path)
    (tmp_path / "artifacts.yml").write_text(yaml.safe_dump([entry, entry]))
    with pytest.raises(ConfigError, match="each label once"):
        registry(tmp_path)


# ---------------------------------------------------------------- prose


def test_no_chapter_has_a_number_without_a_source():
    assert prose_problems() == []


@pytest.mark.parametrize(
    "text, numbers",
    [
        ("The error falls to 44.3.", ["44.3"]),
        ("It is 44 mm off.", ["44 mm"]),
        ("a 150-mm threshold", ["150-mm"]),
        ("50 % of frames", ["50 %"]),
        ("50% of frames", ["50%"]),
        ("between 10 and 15 px", ["15 px"]),
        ("10–15 px", ["15 px"]),
        ("within 1e-4 of it", ["1e-4"]),
        ("12 times faster", ["12 times"]),
        ("a 3× speed-up", ["3×"]),
        ("in 1,234 ms", ["1,234 ms"]),
        ("| full | 44.3 |", ["44.3"]),
        ("# A heading of 4.5 s", ["4.5 s"]),
        ("$44.3$", ["44.3"]),
        ("$44\\,\\mathrm{mm}$", ["44 mm"]),
        ("`44.3`", ["44.3"]),
        ("```{note}\nIt is 4.5 there.\n```", ["4.5"]),
        (":::{admonition} Of 3.5 mm\nx\n:::", ["3.5 mm"]),
        ("[44.3](page.md)", ["44.3"]),
        ("about -4.5 here", ["4.5"]),
        ("```python\n1.5\n```\nand 2.5", ["2.5"]),
        ("```{note}\n```python\n1.5\n```\n2.5\n```\n3.5", ["2.5", "3.5"]),
    ],
)
def test_typed_measurements_are_found(text, numbers):
    assert [found.number for found in unsourced_numbers(text)] == numbers


@pytest.mark.parametrize(
    "text",
    [
        "17 joints and 200 hypotheses.",
        "See Section 4.5, Table 1 and Fig. 2.3.",
        "Human3.6M-17 and MPII-16.",
        "Python 3.11, FrEIA 0.2, release 1.0.4.",
        "{glue:text}`poseflow.ipynb::a:.1f` mm",
        "$\\alpha = 2.0$ and $10^{-4}$",
        "$$\n0.5 x\n$$",
        "```{code-cell}\nx = 4.5\n```",
        "```{math}\n4.5\n```",
        "`threshold=150.0`",
        "[text](https://x.org/4.5) <https://x.org/5.5>",
        "% a comment of 4.5 mm",
        "<!-- 4.5 mm -->",
        "---\na: 4.5\n---\ntext",
        "```{figure} a.png\n:width: 45.5%\ntext\n```",
        "in 2021, 3 models",
        "the first of 8 blocks",
        "<img width='4.5'>",
        "Apache-2.0",
        "{doc}`chapter 3.5 <x>`",
        "A 3D pose.",
        "the 2D error",
    ],
)
def test_other_numbers_are_left_alone(text):
    assert unsourced_numbers(text) == []


@pytest.mark.parametrize(
    "text, numbers",
    [
        ("CPS falls from 171.0 to 137.6. <!-- paper: poseflow_table4 -->", []),
        ("CPS falls from 171.0 to 137.6 <!-- paper: poseflow_table4 -->.", []),
        ("CPS is 171.1. <!-- paper: poseflow_table4 -->", ["171.1"]),
        ("CPS is 171.0. <!-- paper: no_such_table -->", ["171.0"]),
        ("Correct below 150 mm. <!-- setting: PCK -->", []),
        ("Correct below 150 mm. <!-- setting: -->", ["150 mm"]),
        ("Correct below 150 mm. <!-- note: PCK -->", ["150 mm"]),
        ("It is 3.5. Correct below 150 mm. <!-- setting: PCK -->", ["3.5"]),
        ("It is 3.5\n\nCorrect below 150 mm. <!-- setting: PCK -->", ["3.5"]),
        ("<!-- setting: PCK --> Correct below 150 mm.", ["150 mm"]),
    ],
)
def test_comments_give_a_source_to_their_sentence_only(text, numbers):
    assert [found.number for found in unsourced_numbers(text)] == numbers


def test_lines_are_counted_through_code():
    assert unsourced_numbers("---\na: 1\n---\n\n```{code-cell}\n1.5\n```\n\nHere 2.5.")[0].line == 9


def test_glue_roles_need_a_format(tmp_path):
    (tmp_path / "artifacts.yml").write_text("[]")
    (tmp_path / "a.md").write_text("{glue:text}`a.ipynb::good:.1f` {glue:text}`a.ipynb::bad` and 4.5 mm")
    problems = prose_problems(tmp_path)
    assert len(problems) == 2 and problems[0].startswith("a.md:1: 4.5 mm") and "a.ipynb::bad" in problems[1]


# ---------------------------------------------------------------- which code


def _git(folder, *words):
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org", *words],
        check=True,
        capture_output=True,
    )


def test_the_commit_and_whether_the_code_differs_from_it(tmp_path):
    (tmp_path / "probpose").mkdir()
    (tmp_path / "book" / "results").mkdir(parents=True)
    for name in ("probpose/a.py", "book/results/r.json"):
        (tmp_path / name).write_text("1")
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "first")
    commit, dirty = code_version(tmp_path / "probpose")
    assert re.fullmatch(r"[0-9a-f]{10}", commit) and not dirty
    (tmp_path / "book" / "results" / "r.json").write_text("2")
    assert not code_version(tmp_path / "probpose")[1], "a result being written is no change of the code"
    (tmp_path / "probpose" / "a.py").write_text("2")
    assert code_version(tmp_path / "probpose")[1]
    (tmp_path / "elsewhere").mkdir()
    assert code_version(tmp_path / "elsewhere") == ("unknown", False)


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
    table = add_borrowed(pd.DataFrame(rows).reindex(columns=RESULT_COLUMNS), borrowed_records())
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
    table = add_borrowed(pd.DataFrame(rows).reindex(columns=RESULT_COLUMNS), borrowed_records())
    assert table[(table["chapter"] == "poseflow") & (table["variant"] == "mdn")]["value"].tolist() == [2.0]
