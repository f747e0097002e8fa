"HuMR's variants, and accuracy and agreement on bodies that are known."

import pytest
import roma
import torch

from probpose.bodies.body import load_body
from probpose.core.batches import PoseBatch
from probpose.core.errors import UnknownNameError
from probpose.ledger.places import book_folder
from probpose.ledger.published import load_published
from probpose.ledger.results import load_results
from probpose.models.humr.hypotheses import BodyHypotheses
from probpose.studies.humr import (
    JOINT_SETS,
    SAME_TRAINING,
    HuMRRecipe,
    humr_config,
    measure_accuracy,
    measure_agreement,
    measure_facing,
)


def test_humr_variants_are_the_rows_of_the_tables():
    printed = {
        row
        for name in ("humr_table1", "humr_table3", "humr_tableS1", "humr_tableS2")
        for row in load_published(name)["variant"]
        if row
    }
    assert printed <= set(HuMRRecipe.variants) | set(SAME_TRAINING)
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


def test_agreement_counts_only_what_can_be_compared():
    "Masks say nothing where a thing hides the person, and one invisible joint alone is not counted."
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
    batch = PoseBatch(
        keypoints_true=made.to_map()[0],
        masks=torch.ones(3, 256, 256, dtype=torch.bool),
        object_occlusion=torch.tensor([False, False, True]),
    )
    found = measure_agreement(made, batch, visible, ~visible)
    inside = found["percent_inside", "mean", "invisible"]
    assert inside[0] == 100 and inside[1:].isnan().all()
    assert found["error_2d", "mode", "visible"].abs().max() < 1e-3 and (found["error_2d", "mean", "visible"] > 0).all()
    assert (found["spread_3d", "spread", "invisible"] > found["spread_3d", "spread", "visible"]).all(), (
        "wrists move more than trunks"
    )


def test_accuracy_of_the_truth_is_zero():
    g, body = torch.Generator().manual_seed(0), load_body()
    turns, betas = roma.rotvec_to_rotmat(0.3 * torch.randn(2, 22, 3, generator=g)), torch.randn(2, 11, generator=g)
    made = BodyHypotheses(
        torch.stack([turns, turns.roll(1, 0)]), betas, torch.zeros(2, 3), torch.zeros(2, 2), None, body
    )
    for protocol in JOINT_SETS.values():
        for values in measure_accuracy(made, turns, betas, protocol).values():
            assert values.shape == (2, 2) and values[0].abs().max() < 1e-2 < values[1].min()


def test_facing_is_that_of_the_pelvis_and_judged_of_people_who_stand_sideways():
    right, left, front = (
        roma.rotvec_to_rotmat(torch.tensor([0.0, angle, 0.0])) for angle in (torch.pi / 2, -torch.pi / 2, 0.1)
    )
    truth = torch.stack([right, left, front])[:, None].expand(3, 22, 3, 3)
    found = measure_facing(torch.stack([right, right, left])[:, None].expand(3, 22, 3, 3), truth)
    assert found["faces_right", "mode"].tolist() == [100, 100, 0] and found["faces_right", "truth"].tolist()[:2] == [
        100,
        0,
    ]
    assert found["facing_agreement", "mode"].tolist()[:2] == [100, 0]
    assert found["facing_agreement", "mode"].isnan().tolist() == [False, False, True]


def test_no_committed_training_turned_everybody_to_one_border():
    results = load_results(book_folder() / "results")
    results = results[(results["chapter"] == "humr") & (results["subset"] == "all")]
    rows = ["variant", "seed"]
    right = results[results["metric"] == "faces_right"].pivot_table(index=rows, columns="statistic", values="value")
    agreed = results[results["metric"] == "facing_agreement"].set_index(rows)["value"]
    assert len(right.xs("full", level="variant")) >= 3 and (right["mode"] - right["truth"]).abs().max() < 15
    assert agreed.min() > 80
