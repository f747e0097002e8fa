"""Studies remember exactly what they have done, and nothing else."""

import json

import pytest
import torch

from probpose.core.errors import ConfigError, UnknownNameError
from probpose.studies import study
from probpose.studies.plans import PLANS
from probpose.studies.poseflow import PoseFlowStudy, poseflow_variant
from probpose.studies.release import release


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return study("poseflow", cache=tmp_path_factory.mktemp("studies"), device="cpu", progress=False).run(
        ["mean_pose", "full", "no_critic"]
    )


def test_unknown_names_are_refused():
    for mistake in (
        lambda: study("posflow"),
        lambda: study("poseflow", tier="huge"),
        lambda: study("poseflow").run(["nothing"]),
        lambda: poseflow_variant("nothing", "smoke"),
    ):
        with pytest.raises(UnknownNameError):
            mistake()


def test_a_finished_variant_is_loaded_not_made(lab, monkeypatch):
    again = study("poseflow", cache=lab.cache, device="cpu")
    monkeypatch.setattr(again, "_make", lambda variant: pytest.fail("trained again"))
    assert again.run(["full"]).done["full"] == lab.done["full"]


def test_seed_variant_and_settings_are_kept_apart(lab, monkeypatch):
    folders = {lab.folder(variant) for variant in lab.variants}
    assert len(folders) == len(lab.variants)
    assert study("poseflow", cache=lab.cache, seed=1).folder("full") not in folders
    monkeypatch.setitem(PLANS, "smoke", PLANS["smoke"].__class__(**{**vars(PLANS["smoke"]), "iterations": 13}))
    assert study("poseflow", cache=lab.cache).folder("full") not in folders


def test_the_result_has_every_number_that_tables_and_claims_need(lab):
    entries = {(e["variant"], e["subset"], e["metric"], e["statistic"]) for e in lab.result().records}
    for subset in ("all", "hard"):
        for metric in ("mpjpe", "pa_mpjpe", "pck", "cps"):
            assert {("full", subset, metric, s) for s in ("best", "mode", "worst")} <= entries
            assert ("no_critic", subset, metric, "best") in entries
    assert {
        ("full", "all", "mpjpe", "kmeans5"),
        ("full", "transfer", "pck", "best"),
        ("noise_baseline", "hard", "mpjpe", "best"),
        ("full", "all", "ece", ""),
    } <= entries


def test_the_result_file_names_its_origin_and_nobodys_machine(lab, tmp_path):
    content = json.loads(lab.save(tmp_path).read_text())
    assert (
        content["tier"] == "smoke"
        and content["provenance"]["commit"]
        and content["provenance"]["data"]
        and content["provenance"]["parameters"]["settings"]["full"]["hidden"] == 32
    )
    assert str(tmp_path) not in json.dumps(content)


def test_table_4_settings():
    changed = {name: poseflow_variant(name, "full").config for name in PoseFlowStudy.variants[2:]}
    assert not changed["no_condition"].use_condition and changed["no_condition"].weight_hm == 0
    assert [changed[f"best_of_m_k{k}"].best for k in (1, 10, 50)] == [1, 10, 50] and changed["full"].best == 5
    assert changed["as_released"].hidden == 1028 and not changed["as_released"].mmd_unbiased
    assert (
        changed["no_critic"].weight_gen
        == changed["no_heatmap_loss"].weight_hm
        == changed["no_best_of_m"].weight_mb
        == 0
    )


def test_released_weights_carry_a_card_with_measured_numbers(lab, tmp_path):
    card = (release(lab, tmp_path / "weights") / "README.md").read_text()
    mode = next(
        e["value"]
        for e in lab.result().records
        if (e["variant"], e["subset"], e["metric"], e["statistic"], e["group"])
        == ("full", "all", "mpjpe", "mode", "all")
    )
    assert f"{mode:.1f}" in card and "NSF EIA-0196217" in card and "{" not in card


def test_a_page_that_borrows_everything_says_what_it_waits_for(tmp_path, monkeypatch):
    import pandas as pd

    from probpose.ledger.results import RESULT_COLUMNS, record
    from probpose.studies.head_to_head import HeadToHeadStudy

    lab = HeadToHeadStudy(cache=tmp_path)
    alone = pd.DataFrame(
        [{"chapter": "head_to_head", "dataset": "mine", "tier": "full", "seed": 0, **record("mdn_", "time", 3.0)}]
    ).reindex(columns=RESULT_COLUMNS)
    monkeypatch.setattr("probpose.ledger.results.load_results", lambda *places: alone)
    monkeypatch.setattr(lab, "_own", tmp_path, raising=False)
    with pytest.raises(ConfigError, match="run those chapters first"):
        lab.results


def test_the_chooser_does_not_separate_what_the_seeds_do_not():
    import pandas as pd

    from probpose.ledger.results import RESULT_COLUMNS, record
    from probpose.studies.head_to_head import chooser, ranking

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
    table = chooser(pd.DataFrame(rows).reindex(columns=RESULT_COLUMNS)).frame
    assert set(table["seeds tell them apart"]) == {"no"} and len(table) == 2
    clear = pd.DataFrame([row for row in rows if row["variant"] != "diffpose"]).reindex(columns=RESULT_COLUMNS)
    assert set(chooser(clear).frame["seeds tell them apart"]) == {"yes"}
    assert ranking(clear, "energy_score", "", "largest", "all").index.tolist() == ["poseflow", "mdn"]


def test_higher_is_better_where_it_is():
    import pandas as pd

    from probpose.ledger.results import RESULT_COLUMNS, record
    from probpose.studies.head_to_head import ranking

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
    assert ranking(
        pd.DataFrame(rows).reindex(columns=RESULT_COLUMNS), "cps", "best", "largest", "all"
    ).index.tolist() == ["cvae", "mdn"]


def test_hypotheses_over_a_map_land_where_the_camera_sees_them():
    from probpose.data import load
    from probpose.studies.measures import on_map

    frames = load("synthetic", split="test", size=5)
    seen = on_map(frames, 2, frames.poses[[2, 2]])
    assert seen.shape == (2, 16, 2) and (seen[0] - frames.keypoints_true[2]).abs().max() < 1e-2
    behind = frames.poses[[2]] - 100.0
    assert on_map(frames, 2, behind).isfinite().all()


# ---- the open image world


def test_humr_variants_are_the_rows_of_the_tables():
    from probpose.ledger.published import load_published
    from probpose.studies.humr import SAME_TRAINING, HuMRStudy, humr_config

    printed = {
        row
        for name in ("humr_table1", "humr_table3", "humr_tableS1", "humr_tableS2")
        for row in load_published(name)["variant"]
        if row
    }
    assert printed <= set(HuMRStudy.variants) | set(SAME_TRAINING)
    steps = [
        humr_config(name, "laptop") for name in ("prohmr", "box", "box_pose2d", "box_pose2d_realnvp", "no_mask", "full")
    ]
    changed = [
        {key for key, value in vars(after).items() if value != getattr(before, key)}
        for before, after in zip(steps, steps[1:])
    ]
    assert changed == [{"use_box"}, {"use_pose2d"}, {"kind"}, {"random_supervision"}, {"weight_mask"}], (
        "each row adds one component"
    )
    assert (
        humr_config("random_visible_5e-3", "smoke").random_weight == 5e-3
        and humr_config("diffpose_embedding", "smoke").condition_embedding
    )
    with pytest.raises(UnknownNameError, match="samples_4"):
        humr_config("samples_3", "smoke")


def test_agreement_counts_only_what_can_be_judged():
    "Masks say nothing where a thing hides the person, and one invisible joint alone is not judged."
    import roma

    from probpose.bodies.body import load_body
    from probpose.models.humr.hypotheses import BodyHypotheses
    from probpose.studies.humr import agreement

    g, body = torch.Generator().manual_seed(0), load_body()
    turns = roma.rotvec_to_rotmat(0.2 * torch.randn(4, 3, 22, 3, generator=g))
    turns[:, :, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    made = BodyHypotheses(
        turns,
        torch.zeros(3, 11),
        torch.tensor([[0.9, 0.0, 0.0]] * 3),
        torch.zeros(4, 3),
        torch.tensor([[0.0, 0.0, 0.3]] * 3),
        body,
    )
    visible = torch.ones(3, 17, dtype=torch.bool)
    visible[0, 9:11], visible[1, 9], visible[2, 9:11] = False, False, False
    batch = {
        "keypoints_true": made.to_map()[0],
        "masks": torch.ones(3, 256, 256, dtype=torch.bool),
        "object_occlusion": torch.tensor([False, False, True]),
    }
    found = agreement(made, batch, visible, ~visible)
    inside = found["percent_inside", "mean", "invisible"]
    assert inside[0] == 100 and inside[1:].isnan().all()
    assert found["error_2d", "mode", "visible"].abs().max() < 1e-3 and (found["error_2d", "mean", "visible"] > 0).all()
    assert (found["spread_3d", "spread", "invisible"] > found["spread_3d", "spread", "visible"]).all(), (
        "wrists move more than trunks"
    )


def test_accuracy_of_the_truth_is_zero():
    import roma

    from probpose.bodies.body import load_body
    from probpose.models.humr.hypotheses import BodyHypotheses
    from probpose.studies.humr import JOINT_SETS, accuracy

    g, body = torch.Generator().manual_seed(0), load_body()
    turns, betas = roma.rotvec_to_rotmat(0.3 * torch.randn(2, 22, 3, generator=g)), torch.randn(2, 11, generator=g)
    made = BodyHypotheses(
        torch.stack([turns, turns.roll(1, 0)]), betas, torch.zeros(2, 3), torch.zeros(2, 2), None, body
    )
    for protocol in JOINT_SETS.values():
        for values in accuracy(made, turns, betas, protocol).values():
            assert values.shape == (2, 2) and values[0].abs().max() < 1e-2 < values[1].min()
