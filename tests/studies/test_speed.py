"The speed chapter's study."

import importlib.util
import json

import pytest
import torch

from probpose.benchmarks.plans import RATES, TARGETS, TASKS
from probpose.benchmarks.report import limits_table, ratio_figure, speedup_table
from probpose.core.errors import UnknownNameError
from probpose.ledger.results import load_curves, load_results
from probpose.ledger.tables import caption_of
from probpose.studies import open_study
from probpose.studies.page import Page
from probpose.studies.speed import list_other_speedups, list_speedups, read_limit, select_measurement

LITERT = importlib.util.find_spec("ai_edge_litert") is not None
MEASURED = set(TASKS) - (set() if LITERT else {"photographs"})  # what needs the extra `photo` has no row without it


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    missing = [name for name in ("smplx", "warp", "timm") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install 'probpose[mesh,smplx]'")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield open_study("speed", cache=tmp_path_factory.mktemp("speed")).run()
    torch.set_num_threads(before)


@pytest.fixture
def stored(study, tmp_path, monkeypatch):
    def store(change, seed=0):
        "A page of the same run, when there is a changed measurement of a better tier."
        content = json.loads(study.save(tmp_path / "own").read_text()) | {"tier": "laptop", "seed": seed}
        change(content["curves"])
        (tmp_path / f"speed-synthetic-laptop-{seed}.json").write_text(json.dumps(content))
        monkeypatch.setattr("probpose.studies.page.results_folders", lambda: [tmp_path])
        return Page(study.runner)

    return store


def test_the_study_writes_what_claims_and_tables_look_for(study, tmp_path):
    file = study.save(tmp_path)
    assert file.name == "speed-synthetic-smoke-0.json"
    table = load_results(file)
    times = table[table["metric"] == "time"].set_index(["variant", "hypotheses"])
    assert (
        {
            ("full", 1),
            ("full", 1000),
            ("diffpose", 1),
            ("diffpose", 1000),
            ("diffpose_few", 1000),
            ("gaussian_fit", 1),
            ("detector", 1),
        }
        <= set(times.index)
        and times["stderr"].notna().all()
        and (times["value"] > 0).all()
    )
    assert set(table[table["metric"] == "speedup"]["variant"]) == MEASURED and set(TARGETS) <= set(TASKS)
    rates = table[table["metric"] == "rate"].set_index("variant")["value"]
    assert set(rates.index) == set(RATES) & MEASURED and (rates > 0).all() and not set(RATES) & set(TARGETS)
    assert set(load_curves("runs", file)["task"]) == MEASURED
    assert set(load_curves("limits", file)["name"]) == {"peak", "bandwidth"}
    assert table["wall_time"].iloc[0] > 0 and len(table["data"].iloc[0]) == 16


def test_the_page_shows_a_better_tier_when_there_is_one(stored):
    page = stored(lambda curves: curves["limits"].update(value=[1234.0, 56.0]))
    assert read_limit(page, "peak") == 1234 and "laptop tier" in caption_of(select_measurement(page.results))
    with pytest.raises(UnknownNameError):
        read_limit(page, "colour")


def test_two_machines_are_never_mixed(stored):
    stored(lambda curves: curves["limits"].update(value=[1.0, 2.0]))
    page = stored(lambda curves: curves["limits"].update(value=[3.0, 4.0]), seed=1)
    assert read_limit(page, "peak") == 1 and set(select_measurement(page.results)["seed"]) == {0}
    [(where, ratios)] = list_other_speedups(page)
    assert "laptop tier" in where and set(ratios["task"]) == MEASURED


def test_a_result_from_before_a_row_was_added_is_shown(stored):
    early = ("sampling", "training", "gaussian_fit", "cps", "cps_passes", "pa_mpjpe")

    def shorten(curves):
        kept = [i for i, task in enumerate(curves["runs"]["task"]) if task in early]
        curves["runs"] = {name: [values[i] for i in kept] for name, values in curves["runs"].items()}

    ratios = list_speedups(stored(shorten))
    assert len(ratios) == len(speedup_table(ratios).frame) == 6
    assert len(ratio_figure(ratios).data[0].y) == 6 and len(limits_table(ratios, 100.0, 10.0).frame) == 5


def test_a_measurement_of_an_earlier_run_is_not_taken_for_this_one(study, monkeypatch):
    again = open_study("speed", cache=study.runner.cache, device="cpu")
    asked = []
    monkeypatch.setattr(again.runner, "make", lambda variant: asked.append(variant) or study.runner.done[variant])
    assert again.run().run().runner.done and asked == ["benchmarks"]


def test_an_unknown_tier_is_named():
    with pytest.raises(UnknownNameError):
        open_study("speed", tier="huge")
