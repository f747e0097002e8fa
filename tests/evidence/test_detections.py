"""Detections: indexing, making them, bad input."""

import math

import pytest
import torch

from probpose.core.batches import copy_with, map_tensors
from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, DegeneratePoseError, NotFiniteError, ShapeError, UnknownNameError
from probpose.evidence.detections import Detections, gaussians_from_scores
from probpose.evidence.fitting import draw_gaussians
from probpose.evidence.gaussians import covariance_from_axes
from probpose.models.poseflow.condition import condition_vector


def detections_of(n=4, seed=6, widths=(1.0, 12.0)):
    keypoints = 10 + 44 * torch.rand(n, 16, 2, generator=make_generator(seed))
    bells = draw_gaussians(n * 16, make_generator(seed + 1), widths=widths, centres=(-5.0, 70.0), amplitudes=(0.1, 1.5))
    return Detections(keypoints, torch.ones(n, 16), gaussians=map_tensors(bells, lambda t: t.unflatten(0, (n, 16))))


def test_detections_index_move_and_batch_of_one():
    detections = detections_of()
    assert len(detections[1:3]) == 2 and len(detections[2]) == 1 and len(detections[-1]) == 1
    assert torch.equal(detections[-1].keypoints[0], detections.keypoints[3])
    mask = torch.tensor([True, False, True, False])
    assert torch.equal(detections[mask].gaussians.mean, detections.gaussians.mean[mask])
    assert torch.equal(detections[torch.tensor([3, 0])].scores, detections.scores[[3, 0]])
    assert detections.to("cpu").hard.shape == (4,)
    alone = Detections(torch.rand(16, 2), torch.ones(16))
    assert len(alone) == 1 and alone.with_gaussians().gaussians.covariance.shape == (1, 16, 2, 2)


def test_hard_is_any_half_axis_over_five_pixels():
    bells = gaussians_from_scores(torch.rand(2, 16, 2), torch.ones(2, 16))
    bells.covariance[1, 7] = covariance_from_axes(torch.tensor([5.1, 1.0]), torch.tensor(0.8))
    assert Detections(torch.rand(2, 16, 2), torch.ones(2, 16), gaussians=bells).hard.tolist() == [False, True]


def test_from_keypoints_crops_and_reads_scores():
    xy = 300 + 400 * torch.rand(3, 16, 2, generator=make_generator(8))
    scores = torch.linspace(0.02, 1, 16).expand(3, 16)
    detections = Detections.from_keypoints(xy, scores)
    assert torch.allclose(detections.crop.from_map(detections.keypoints), xy, atol=1e-2)
    assert (detections.keypoints > 0).all() and (detections.keypoints < 63).all()
    sigma = detections.gaussians.sigma[..., 0]
    assert torch.allclose(sigma, 2 / scores.clamp(min=0.04).sqrt()) and detections.hard.all()
    moved = Detections.from_keypoints(2.5 * xy + 77, scores)
    assert torch.allclose(condition_vector(moved), condition_vector(detections), atol=1e-4)
    single = Detections.from_keypoints(xy[0])
    assert torch.allclose(single.keypoints[0], detections.keypoints[0], atol=1e-4) and (single.scores == 1).all()
    boxed = Detections.from_keypoints(xy, box=torch.tensor([[200.0, 200.0, 840.0, 500.0]]))
    assert torch.allclose(boxed.crop.size, torch.full((3,), 640.0)) and torch.allclose(
        boxed.crop.from_map(boxed.keypoints), xy, atol=1e-2
    )


@pytest.mark.parametrize("name,joints", [("h36m_17", 17), ("coco_17", 17)])
def test_from_keypoints_of_other_skeletons(name, joints):
    from probpose.geometry.skeletons import MPII_16, find_skeleton

    xy = 100 + 50 * torch.rand(2, joints, 2, generator=make_generator(9))
    scores = torch.full((2, joints), 0.9)
    source = find_skeleton(name)
    wrist = [i for i, joint in enumerate(source.joints) if "rist" in joint]
    scores[:, wrist] = 0.2
    detections = Detections.from_keypoints(xy, scores, skeleton=name)
    assert detections.skeleton == "mpii_16" and detections.keypoints.shape == (2, 16, 2)
    low = [MPII_16.joints[j] for j in range(16) if detections.scores[0, j] < 0.5]
    assert len(low) == 2 and all("rist" in joint for joint in low)
    with pytest.raises(ShapeError):
        Detections.from_keypoints(xy[:, :16], scores[:, :16], skeleton=name)


def test_bad_detections_are_refused():
    xy, scores = torch.rand(2, 16, 2), torch.ones(2, 16)
    bells = gaussians_from_scores(xy, scores)
    nan = xy.clone()
    nan[1, 4, 0] = math.nan
    infinite = xy.clone()
    infinite[0, 0, 1] = math.inf
    negative = bells.covariance.clone()
    negative[0, 3, 1, 1] = -1.0
    cases = [
        (NotFiniteError, lambda: Detections(nan, scores)),
        (NotFiniteError, lambda: Detections(infinite, scores)),
        (NotFiniteError, lambda: Detections.from_keypoints(infinite, scores)),
        (NotFiniteError, lambda: Detections(xy, scores * math.nan)),
        (ShapeError, lambda: Detections(xy[:, :15], scores[:, :15])),
        (ShapeError, lambda: Detections(xy, scores[:, :15])),
        (ShapeError, lambda: Detections(xy.expand(3, 2, 16, 2), scores)),
        (ShapeError, lambda: Detections(xy.long(), scores)),
        (ShapeError, lambda: Detections(xy, scores, torch.zeros(2, 15, 64, 64))),
        (ShapeError, lambda: Detections(xy, scores, gaussians=bells[:1])),
        (ConfigError, lambda: Detections(xy, 100 * scores)),
        (ConfigError, lambda: Detections(xy, scores, gaussians=copy_with(bells, covariance=negative))),
        (UnknownNameError, lambda: Detections(xy, scores, skeleton="mpii")),
        (DegeneratePoseError, lambda: condition_vector(Detections(torch.ones(2, 16, 2), scores))),
        (DegeneratePoseError, lambda: Detections.from_keypoints(torch.ones(2, 16, 2), scores)),
        (ConfigError, lambda: Detections.from_keypoints(xy, box=torch.tensor([3.0, 3.0, 1.0, 5.0]))),
        (ShapeError, lambda: Detections.from_heatmaps(torch.zeros(2, 15, 64, 64))),
        (NotFiniteError, lambda: Detections.from_heatmaps(torch.full((1, 16, 8, 8), math.nan))),
    ]
    for error, call in cases:
        with pytest.raises(error):
            call()


def test_maps_that_are_not_square_are_refused():
    with pytest.raises(ShapeError, match="square"):
        Detections.from_heatmaps(torch.rand(2, 16, 64, 48))
