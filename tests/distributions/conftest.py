"""The flow of the paper."""

import pytest

from probpose.distributions.flows import CouplingFlow


@pytest.fixture(scope="module")
def paper_size():
    return CouplingFlow(48, 56, init_scale=0.02)
