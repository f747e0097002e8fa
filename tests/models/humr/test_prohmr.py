"""ProHMR and the rows between it and HuMR."""

from dataclasses import replace

import pytest

from probpose.core.errors import CheckpointError
from probpose.models.humr.config import HuMRConfig
from probpose.models.humr.model import HuMR, supervision_ablation
from probpose.models.humr.prohmr import ProHMR, ProHMRConfig, component_ablation


def test_weights_of_prohmr_are_not_those_of_humr_with_a_full_condition(tmp_path, humr):
    humr().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="expected weights of ProHMR, found HuMR"):
        ProHMR.from_pretrained(tmp_path)


def test_ablations_are_the_rows_of_the_tables(sticks):
    parts, told = component_ablation("smoke"), supervision_ablation("smoke", blocks=3)
    assert list(parts) == ["prohmr", "+bbox", "+pose2d", "+realnvp", "+mmd", "+mask"] and parts[
        "+mask"
    ] == HuMRConfig.for_tier("smoke")
    assert type(parts["prohmr"]) is ProHMRConfig and parts["prohmr"].random_weight == 1e-3
    assert list(told) == [
        "none",
        "all_0.001",
        "all_0.005",
        "all_0.01",
        "visible_0.001",
        "visible_0.005",
        "visible_0.01",
        "diffpose_condition",
        "mmd",
    ]
    assert all(c.weight_mask == 0 and c.blocks == 3 for c in told.values()) and told["all_0.005"].random_weight == 5e-3
    paper = HuMRConfig()
    flow = HuMR(replace(paper, blocks=1), sticks()).flow.flow
    assert flow.condition_dim == 979 and (paper.blocks, paper.hidden, paper.samples) == (8, 1024, 26)
