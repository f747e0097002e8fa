"Heatmaps: rows point down, ellipses are level sets."

import numpy as np
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import NotFiniteError, ShapeError
from probpose.evidence.gaussians import Gaussians, render_gaussians
from probpose.geometry.conversions import rest_pose
from probpose.plots.maps import ellipse_points, heatmap_overlay, joint_heatmaps


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=make_generator(seed))


POINTS = 31 + 24 * rest_pose("mpii_16")[:, :2]
COVARIANCE = torch.diag_embed(4 + 20 * noise(16, 2).square())
FIT = Gaussians(torch.ones(16), POINTS, COVARIANCE, torch.ones(16, dtype=torch.bool), torch.zeros(16))
MAPS = render_gaussians(FIT)
FIGURES = {
    "overlay": lambda: heatmap_overlay(MAPS, FIT, POINTS, POINTS + noise(50, 16, 2), POINTS),
    "one map": lambda: heatmap_overlay(MAPS[0]),
    "joints": lambda: joint_heatmaps(MAPS, FIT, POINTS + noise(50, 16, 2), POINTS),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_reads_on_light_and_dark_and_stays_small(name, check_style):
    check_style(FIGURES[name]())


def test_ellipses_are_level_sets():
    angle = torch.tensor(0.4)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    covariance = (turn @ torch.diag(torch.tensor([9.0, 1.0])) @ turn.T)[None]
    ring = ellipse_points(torch.tensor([[5.0, 7.0]]), covariance, deviations=1.5)[0] - [5, 7]
    assert np.allclose(np.einsum("ti,ij,tj->t", ring, np.linalg.inv(covariance[0].numpy()), ring), 2.25, atol=1e-4)
    farthest = ring[np.linalg.norm(ring, axis=1).argmax()]
    assert abs(np.arctan(farthest[1] / farthest[0]) - 0.4) < 0.1
    assert np.isfinite(ellipse_points(torch.zeros(1, 2), torch.tensor([[[1.0, 0.0], [0.0, -1e-6]]]))).all()


def test_heatmap_rows_point_down():
    fig = heatmap_overlay(MAPS, keypoints=POINTS)
    assert fig.layout.yaxis.range[0] > fig.layout.yaxis.range[1] and fig.layout.yaxis.scaleanchor == "x"
    assert np.allclose(fig.data[0].z / 100, MAPS.amax(0).numpy(), atol=0.006)


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ShapeError, lambda: heatmap_overlay(MAPS[None])),
        (ShapeError, lambda: heatmap_overlay(torch.zeros(0, 64, 64))),
        (ShapeError, lambda: heatmap_overlay(MAPS, keypoints=POINTS[:5])),
        (NotFiniteError, lambda: heatmap_overlay(MAPS * float("inf"))),
        (ShapeError, lambda: joint_heatmaps(MAPS[:15])),
        (ShapeError, lambda: ellipse_points(torch.zeros(2, 2), torch.zeros(2, 2))),
    ],
)
def test_bad_input_is_refused(error, call):
    with pytest.raises(error, match="expected"):
        call()
