"Heatmaps of several kinds."

import pytest
import torch

from probpose.core.batches import copy_with
from probpose.core.devices import make_generator
from probpose.evidence.fitting import draw_gaussians
from probpose.evidence.gaussians import render_gaussians


@pytest.fixture(scope="session")
def some_maps():
    def make(kind, n=6, seed=0):
        g = make_generator(seed)
        if kind == "truncated":
            return render_gaussians(draw_gaussians(n, g, centres=(-3.0, 4.0)))
        if kind == "clean":
            return render_gaussians(draw_gaussians(n, g, widths=(2.0, 2.05)))
        if kind == "narrow":
            return render_gaussians(draw_gaussians(n, g, widths=(0.6, 1.5)))
        if kind == "two_peaked":
            first, second = (draw_gaussians(n, g, widths=(2.0, 4.0)) for _ in range(2))
            near = copy_with(first, mean=first.mean + 6 * torch.randn(n, 2, generator=g), amplitude=second.amplitude)
            return render_gaussians(first) + render_gaussians(near)
        maps = render_gaussians(draw_gaussians(n, g))
        return maps if kind == "rotated" else maps + 0.05 * torch.randn(maps.shape, generator=g)

    return make
