"""When a bell is wider than the one that the detector was trained with."""

import torch

from probpose.evidence.gaussians import exceeds_detector_bell


def test_uncertain_is_strict_and_takes_either_axis():
    def matrix(a, b):
        return torch.diag(torch.tensor([a, b], dtype=torch.float64))

    found = exceeds_detector_bell(torch.stack([matrix(4.0, 4.0), matrix(4.42, 1.0), matrix(1.0, 4.42)]))
    assert found.tolist() == [False, True, True]
    assert exceeds_detector_bell(matrix(4.42, 1.0), factor=1.1).item() is False
