"Weights that are released carry a card with measured numbers."

from probpose.studies.release import release


def test_released_weights_carry_a_card_with_measured_numbers(poseflow_run, tmp_path):
    card = (release(poseflow_run, tmp_path / "weights") / "README.md").read_text()
    mode = next(
        e["value"]
        for e in poseflow_run.result().records
        if (e["variant"], e["subset"], e["metric"], e["statistic"], e["group"])
        == ("full", "all", "mpjpe", "mode", "all")
    )
    assert f"{mode:.1f}" in card and "NSF EIA-0196217" in card and "{" not in card
