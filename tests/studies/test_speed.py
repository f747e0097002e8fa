"The speed chapter's study."

import importlib.util

import pytest
import torch

from probpose.benchmarks.plans import RATES, TARGETS, TASKS
from probpose.benchmarks.report import limits_table, ratio_figure, speedup_table
from probpose.core.errors import ProbposeError, UnknownNameError
from probpose.ledger.results import load_curves, load_results
from probpose.studies.speed import SpeedStudy


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    missing = [name for name in ("smplx", "warp", "timm") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install 'probpose[mesh]'")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield SpeedStudy("smoke", cache=tmp_path_factory.mktemp("speed")).run()
    torch.set_num_threads(before)


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
    assert set(table[table["metric"] == "speedup"]["variant"]) == set(TASKS) >= set(TARGETS)
    rates = table[table["metric"] == "rate"].set_index("variant")["value"]
    assert set(rates.index) == set(RATES) and (rates > 0).all() and not set(RATES) & set(TARGETS)
    assert set(load_curves("runs", file)["task"]) == set(TASKS) and set(load_curves("limits", file)["name"]) == {
        "peak",
        "bandwidth",
    }
    assert table["wall_time"].iloc[0] > 0


def test_the_page_shows_a_better_tier_when_there_is_one(study, tmp_path, monkeypatch):
    import json

    file = study.save(tmp_path)
    better = json.loads(file.read_text())
    better["tier"] = "laptop"
    better["curves"]["limits"]["value"] = [1234.0, 56.0]
    (tmp_path / "speed-synthetic-laptop-0.json").write_text(json.dumps(better))
    monkeypatch.setenv("PROBPOSE_RESULTS", str(tmp_path))
    page = SpeedStudy("smoke", cache=tmp_path / "cache")
    page.measured = study.measured
    assert page.limit("peak") == 1234 and "laptop tier" in page.caption
    with pytest.raises(UnknownNameError):
        page.limit("colour")


def test_a_result_from_before_a_row_was_added_is_shown(study, tmp_path, monkeypatch):
    import json

    older = json.loads(study.save(tmp_path).read_text())
    older["tier"] = "laptop"
    runs = older["curves"]["runs"]
    kept = [
        i
        for i, task in enumerate(runs["task"])
        if task in ("sampling", "training", "gaussian_fit", "cps", "cps_passes", "pa_mpjpe")
    ]
    older["curves"]["runs"] = {name: [values[i] for i in kept] for name, values in runs.items()}
    (tmp_path / "speed-synthetic-laptop-0.json").write_text(json.dumps(older))
    monkeypatch.setenv("PROBPOSE_RESULTS", str(tmp_path))
    page = SpeedStudy("smoke", cache=tmp_path / "cache")
    page.measured = study.measured
    assert len(page.summary) == len(speedup_table(page.summary).frame) == 6
    assert len(ratio_figure(page.summary).data[0].y) == 6 and len(limits_table(page.summary, 100.0, 10.0).frame) == 5


def test_an_unknown_tier_is_named():
    with pytest.raises(ProbposeError):
        SpeedStudy("huge")
