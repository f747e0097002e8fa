"""Evidence from pictures keeps its features and its box."""

import dataclasses
import math

import pytest
import torch

from probpose.core.batches import map_tensors
from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, NotFiniteError, ShapeError
from probpose.geometry.crops import Crop
from probpose.vision.detections import ImageDetections, image_detections
from probpose.vision.pictures import heatmap_targets


def evidence(count=4, **more):
    return ImageDetections(
        torch.rand(count, 17, 2, generator=make_generator(0)) * 63,
        torch.full((count, 17), 0.5),
        features=torch.arange(2.0 * count).view(count, 2),
        box=torch.tensor([0.1, 0, 0.3]).expand(count, 3),
        **more,
    )


@pytest.mark.parametrize("index", [slice(1, 3), torch.tensor([1, 2]), torch.tensor([False, True, True, False]), [1, 2]])
def test_indexing_carries_features_and_box(index):
    crop = Crop(torch.arange(8.0).view(4, 2), torch.ones(4))
    part = evidence(crop=crop)[index]
    assert (
        type(part) is ImageDetections
        and part.features.tolist() == [[2, 3], [4, 5]]
        and part.box.shape == (2, 3)
        and part.crop.centre.tolist() == [[2, 3], [4, 5]]
    )


def test_moving_and_fitting_keep_the_class():
    moved = map_tensors(evidence().to("cpu"), lambda tensor: tensor.double())
    assert (
        moved.features.dtype == torch.float64
        and type(moved.with_gaussians()) is ImageDetections
        and moved.with_gaussians().box is moved.box
    )
    assert evidence()[-1].features.tolist() == [[6, 7]] and evidence().hard.shape == (4,)


def test_from_heatmaps_reads_coco_maps():
    maps = heatmap_targets(torch.full((2, 17, 2), 20.0))
    seen = ImageDetections.from_heatmaps(maps)
    assert (
        type(seen) is ImageDetections
        and seen.skeleton == "coco_17"
        and (seen.keypoints == 20).all()
        and seen.features is None
    )


@pytest.mark.parametrize(
    "change, error, words",
    [
        (dict(features=torch.zeros(3, 2)), ShapeError, "features"),
        (dict(features=torch.zeros(4, 2, 2)), ShapeError, "features"),
        (dict(features=torch.zeros(4, 2, dtype=torch.long)), ShapeError, "floating-point"),
        (dict(features=[1.0]), ShapeError, "list"),
        (dict(features=torch.full((4, 2), math.inf)), NotFiniteError, "features"),
        (dict(box=torch.ones(4, 2)), ShapeError, r"\(4, 3\)"),
        (dict(box=torch.tensor([0.0, 0, -1]).expand(4, 3)), ConfigError, "positive"),
        (dict(box=torch.full((4, 3), math.nan)), NotFiniteError, "box"),
        (dict(skeleton="mpii_16"), ShapeError, "keypoints"),
    ],
)
def test_evidence_that_is_none(change, error, words):
    with pytest.raises(error, match=words):
        dataclasses.replace(evidence(), **change)


def test_missing_joints_and_masks():
    maps = torch.zeros(2, 17, 64, 64)
    maps[:, :, 20, 30] = 0.7
    missing = torch.zeros(2, 17, dtype=torch.bool)
    missing[1, 4] = True
    mask = torch.ones(2, 8, 8, dtype=torch.bool)
    seen = image_detections(maps, None, None, None, None, "coco_17", "mine", missing, mask)
    assert seen.keypoints[1, 4].tolist() == [31.5, 31.5] and seen.scores[1, 4] == 0 and seen.detector == "mine"
    assert (seen.keypoints[~missing] == torch.tensor([30.0, 20.0])).all() and torch.equal(seen.found, ~missing)
    assert seen[1].mask.shape == (1, 8, 8) and seen[1].detector == "mine" and seen.to("cpu").mask.all()
    for wrong in (mask.float(), mask[:1], mask[0]):
        with pytest.raises(ShapeError, match="mask"):
            image_detections(maps, None, None, None, None, "coco_17", mask=wrong)
