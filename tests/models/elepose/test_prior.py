"""ElePose: the prior refuses poses that have no size or no spread."""

import math

import pytest
import torch

from probpose.core.errors import ConfigError, DegeneratePoseError, NotFiniteError
from probpose.data.planar import DetectionDataset, with_true_keypoints
from probpose.evidence.detections import Detections
from probpose.models.elepose.prior import PosePrior


def flat(keypoints):
    return DetectionDataset(Detections(keypoints, torch.ones(keypoints.shape[:2]), skeleton="h36m_17"))


def test_root_and_head_coincide(people, small):
    points = with_true_keypoints(people).detections.keypoints.clone()
    points[5, 10] = points[5, 0]
    with pytest.raises(DegeneratePoseError, match="root and head of 1 of 64 poses coincide, the first at 5"):
        PosePrior(small(normalise="pose")).fit(flat(points))
    assert PosePrior(small()).fit(flat(points)).unit > 0, "the data set's mean forgives one of them"
    points[:, 10] = points[:, 0]
    with pytest.raises(DegeneratePoseError, match="in all 64 poses"):
        PosePrior(small()).fit(flat(points))


def test_constant_data_and_too_many_bases(people, small):
    points = with_true_keypoints(people).detections.keypoints
    with pytest.raises(DegeneratePoseError, match="all the same"):
        PosePrior(small()).fit(flat(points[:1].repeat(20, 1, 1)))
    with pytest.raises(ConfigError, match="at most 9"):
        PosePrior(small()).fit(flat(points[:10]))
    with pytest.raises(ConfigError, match="at most the 32"):
        PosePrior(small(bases=33))


def test_nan(people):
    points = with_true_keypoints(people).detections.keypoints.clone()
    points[3, 4, 0] = math.nan
    with pytest.raises(NotFiniteError):
        flat(points)
