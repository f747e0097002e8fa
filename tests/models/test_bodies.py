"""Bodies of people in pictures: what was seen, the alarm, the spread."""

import math

import numpy as np
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError
from probpose.geometry.conversions import rest_pose
from probpose.geometry.crops import Crop, crop_box
from probpose.geometry.skeletons import COCO_17
from probpose.metrics.reprojection import ALARM
from probpose.models.bodies import name_unseen, predict_bodies
from probpose.models.humr.config import HuMRConfig
from probpose.models.humr.model import HuMR
from probpose.vision.detections import ImageDetections

SIZE = (640, 480)


@pytest.fixture(scope="module")
def model():
    return HuMR(HuMRConfig.for_tier("smoke", use_features=False))


def evidence(places, scores=None):
    crop = Crop(torch.tensor([[300.0, 200.0]]), torch.tensor([250.0]))
    scores = torch.full((1, 17), 0.9) if scores is None else scores
    return ImageDetections(places, scores, missing=scores <= 0, crop=crop, box=crop_box(crop, SIZE))


def standing():
    return 31.5 + 22 * rest_pose("coco_17")[None, :, :2]


def test_the_alarm_is_silent_where_the_mode_stands_on_what_was_seen(model):
    (first,) = predict_bodies(model, evidence(standing()), 1)
    exact = first.detections.crop.to_map(first.keypoints_2d[:1])
    assert first.doubtful and first.reprojection > ALARM, "random weights"
    rows = []
    for shift in (0.0, 1.0, 4.0):  # key points do not change what a model without a condition says much; so move them
        seen = evidence(exact + torch.tensor([shift, 0.0]))
        (again,) = predict_bodies(model, seen, 1)
        apart = (again.keypoints_2d[0] - again.keypoints).norm(dim=-1).mean()
        height = again.reprojection / 100 / float(apart)
        rows.append((again.reprojection, float(apart), height))
    assert np.ptp([row[2] for row in rows]) / rows[0][2] < 0.2, "per cent of one height"


def test_joints_that_were_not_seen_take_no_part(model):
    scores, far = torch.full((1, 17), 0.9), standing()
    scores[0, 15:] = 0.0
    far[0, 15:] += 1000
    results = [predict_bodies(model, evidence(places, scores), 1)[0] for places in (standing(), far)]
    assert results[0].reprojection == pytest.approx(results[1].reprojection, rel=1e-5)
    assert results[0].unseen == ["left ankle", "right ankle"] and results[0].keypoints[15:].isnan().all()
    scores[0, 15:] = 0.1  # less than what makes a map a target
    (unsure,) = predict_bodies(model, evidence(standing(), scores), 1)
    assert unsure.unseen == ["left ankle", "right ankle"]


def test_too_few_seen_joints_leave_the_fit_open(model):
    scores = torch.zeros(1, 17)
    scores[0, 5:7] = 0.9
    (found,) = predict_bodies(model, evidence(standing(), scores), 2)
    assert math.isnan(found.reprojection) and found.doubtful


def test_spread_is_that_of_the_hypotheses(model):
    (found,) = predict_bodies(model, evidence(standing()), 12, make_generator(0))
    joints = 1000 * found.joints.numpy()
    apart = np.linalg.norm(joints - joints.mean(0), axis=-1).mean(0)
    assert np.allclose(found.joint_spread, apart, rtol=1e-3)
    legs = torch.tensor(["knee" in name or "ankle" in name for name in COCO_17.joints])
    assert found.spread(legs) == pytest.approx(apart[legs.numpy()].mean(), rel=1e-3)
    assert math.isnan(found.spread(legs & False))


def test_names_of_what_was_not_seen():
    seen = torch.ones(17, dtype=torch.bool)
    seen[[COCO_17.index("left_ear"), COCO_17.index("left_eye")]] = False
    assert name_unseen(seen) == [], "a head is seen from one side"
    assert name_unseen(seen & False)[0] == "head" and len(name_unseen(seen & False)) == 7


def test_evidence_without_a_place_is_refused(model):
    with pytest.raises(ConfigError, match="expected a crop"):
        predict_bodies(model, ImageDetections(standing(), torch.ones(1, 17)), 1)
