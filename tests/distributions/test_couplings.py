"""The soft clamp."""

import math

import pytest
import torch

from probpose.distributions.couplings import soft_clamp
from probpose.distributions.flows import CouplingFlow


def test_soft_clamp_is_the_papers():
    r = torch.tensor([0.0, 1.0, -3.0, 1e9], dtype=torch.float64)
    expected = torch.tensor([2 * 2 / math.pi * math.atan(v / 2) for v in r.tolist()], dtype=torch.float64)
    assert torch.equal(soft_clamp(r), expected)
    flow = CouplingFlow(2, 1, blocks=1, hidden=4).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.zero_()
        for net in (flow.graph.module_list[0].subnet1, flow.graph.module_list[0].subnet2):
            net[-1].bias[0] = 3.0  # the raw log-scale
    _, log_det = flow(torch.zeros(1, 2).double(), torch.zeros(1, 1).double())
    assert float(log_det.detach()) == pytest.approx(2 * 4 / math.pi * math.atan(1.5), abs=1e-12)
