"""Peaks of heatmaps and samples from them."""

import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import DegeneratePoseError
from probpose.evidence.detections import Detections
from probpose.evidence.maps import sample_heatmaps


def test_samples_follow_the_map(some_maps):
    maps = some_maps("two_peaked", 2)
    xy = sample_heatmaps(maps, 50_000, make_generator(4))
    assert xy.shape == (50_000, 2, 2)
    share = maps / maps.sum((-1, -2), keepdim=True)
    counts = torch.zeros_like(maps)
    for i in range(2):
        counts[i].view(-1).scatter_add_(0, (xy[:, i, 1] * 64 + xy[:, i, 0]).long(), torch.ones(50_000))
    expected = 50_000 * share
    often = expected > 20
    chi2 = ((counts - expected).square() / expected)[often].sum()
    assert abs(float(chi2) / int(often.sum()) - 1) < 0.2
    assert torch.equal(sample_heatmaps(maps, 10, make_generator(5)), sample_heatmaps(maps, 10, make_generator(5)))
    negative = torch.full((4, 4), -1.0)
    negative[1, 2] = 1e-3
    assert (sample_heatmaps(negative, 20) == torch.tensor([2.0, 1.0])).all()


def test_empty_maps_have_peaks_and_samples():
    empty = torch.zeros(2, 16, 64, 64)
    with pytest.raises(DegeneratePoseError, match="at least 4 joints"):
        Detections.from_heatmaps(empty)
    assert torch.isfinite(sample_heatmaps(empty, 3, make_generator(0))).all()
