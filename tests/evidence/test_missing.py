"Joints that were not found take no part: in crop, centre, scale, or the pose of the others."

import json
import math
from importlib import resources

import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import DegeneratePoseError
from probpose.data import load
from probpose.evidence.detections import Detections
from probpose.evidence.missing import complete_keypoints, draw_completions, draw_missing, load_statistics
from probpose.geometry.skeletons import COCO_17, MPII_16
from probpose.models.diffpose.condition import evidence_maps
from probpose.models.poseflow.condition import condition_vector

SPELLINGS = {
    "zeros": lambda xy, scores, j: (xy.index_fill(1, j, 0.0), scores.index_fill(1, j, 0.0)),
    "NaN": lambda xy, scores, j: (xy.index_fill(1, j, math.nan), scores),
    "a corner": lambda xy, scores, j: (xy.index_fill(1, j, 4000.0), scores.index_fill(1, j, 0.0)),
}


@pytest.fixture(scope="module")
def people():
    return load("synthetic", split="test", size=40)


def as_image(people):
    return people.detections.crop.from_map(people.detections.keypoints)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("joint", range(16))
def test_however_it_is_written_the_others_stay_where_they_are(people, joint, spelling):
    xy, scores, index = as_image(people), torch.ones(40, 16), torch.tensor([joint])
    lost = Detections.from_keypoints(*SPELLINGS[spelling](xy, scores, index))
    assert lost.missing[:, joint].all() and lost.missing.sum() == 40 and (lost.scores[:, joint] == 0).all()
    seen = [j for j in range(16) if j != joint]
    back = lost.crop.from_map(lost.keypoints)
    assert torch.allclose(back[:, seen], xy[:, seen], atol=1e-2)
    height = (xy.amax((1, 2)) - xy.amin((1, 2))).mean()
    assert (back[:, joint] - xy[:, joint]).norm(dim=-1).median() < 0.2 * height, "an expected place is near the person"
    whole = Detections.from_keypoints(xy, scores)
    assert (0.4 < lost.crop.size / whole.crop.size).all() and (lost.crop.size / whole.crop.size < 1.0001).all()


def test_networks_are_told_that_nothing_was_seen(people):
    xy = as_image(people).index_fill(1, torch.tensor([10]), math.nan)
    lost = Detections.from_keypoints(xy)
    condition = condition_vector(lost).unflatten(1, (13, 6))[:, 7]  # the right wrist among the joints of the condition
    assert (condition[:, 0] == 0).all() and torch.allclose(condition[:, 3], torch.ones(40), atol=1e-5)
    maps = evidence_maps(lost)
    assert not maps[:, 10].any() and maps[:, 9].flatten(1).any(1).all()


def test_a_derived_joint_is_missing_with_its_parts():
    xy = 100 + 200 * torch.rand(1, 17, 2, generator=make_generator(0))
    xy[:, COCO_17.index("left_hip")] = math.nan
    lost = Detections.from_keypoints(xy, skeleton="coco_17").missing[0]
    assert {MPII_16.joints[j] for j in lost.nonzero()[:, 0].tolist()} >= {"left_hip", "pelvis"}
    assert not lost[[MPII_16.index("right_wrist"), MPII_16.index("left_ankle")]].any()


def test_evidence_taken_away_is_evidence_that_never_was(people):
    lost = draw_missing(40, make_generator(3), complete=0.2)
    taken = people.detections.without(lost)
    assert torch.equal(taken.missing, lost) and torch.equal(taken[3].missing[0], lost[3])
    assert torch.equal(taken.keypoints[~lost], people.detections.keypoints[~lost])
    assert not evidence_maps(taken)[lost].any()
    again = taken.without(torch.zeros_like(lost))
    assert torch.equal(again.missing, lost) and torch.allclose(again.keypoints, taken.keypoints)
    assert people.detections.missing is None and people.detections.found.all()


def test_empty_maps_are_joints_that_were_not_found(people):
    maps = people.heatmaps(slice(0, 5)).clone()
    maps[:, 4] = 0
    found = Detections.from_heatmaps(maps)
    assert found.missing[:, 4].all() and found.missing.sum() == 5
    assert not found.with_gaussians().gaussians.amplitude[:, 4].any()


def test_people_of_whom_nearly_nothing_was_found_are_refused(people):
    xy = as_image(people)[:2]
    xy[1, 3:] = math.nan
    with pytest.raises(DegeneratePoseError, match="got 3 of person 1"):
        Detections.from_keypoints(xy)


def test_the_shipped_statistics_know_people(people):
    statistics = load_statistics()
    pixels = people.camera.focal.mean(-1) / people.root[:, 2] * people.crop.map_size / people.crop.size  # in a metre
    metres = people.keypoints_true / pixels[:, None, None]
    rows = ((metres - metres.mean(1, keepdim=True)) * torch.tensor([1.0, -1.0])).flatten(1).double() - statistics.mean
    distance = (rows * torch.linalg.solve(statistics.covariance, rows.T).T).sum(1)
    assert 10 < distance.median() < 60, "squared distances of 32 numbers are about 32"
    source = (resources.files("probpose") / "assets" / "image_poses.safetensors").read_bytes()
    assert "CMU" in json.dumps(str(source[:1000]))


def test_expected_places_are_better_than_the_mean_of_what_was_seen(people):
    for joints in ([5], [9], [3, 4, 5], [0, 1, 4, 5], [6, 7]):  # a wrist may be anywhere
        lost = torch.zeros(40, 16, dtype=torch.bool)
        lost[:, joints] = True
        truth = people.keypoints_true
        guess = complete_keypoints(truth.masked_fill(lost[..., None], math.nan), lost)
        seen = torch.stack([row[~mask].mean(0) for row, mask in zip(truth, lost)])
        near, far = ((guess - truth)[lost].norm(dim=-1), (seen[:, None] - truth)[lost].norm(dim=-1))
        assert near.median() < 0.5 * far.median(), joints


@pytest.mark.parametrize("with_maps", [False, True])
def test_completions_are_people_whose_joints_all_were_found(people, with_maps):
    lost = draw_missing(40, make_generator(4), complete=0.2)
    seen = people.detections.with_heatmaps(people.heatmaps(slice(0, 40))) if with_maps else people.detections
    taken = seen.without(lost)
    several = taken.completions(7, make_generator(5))
    assert len(several) == 280 and several.found.all()
    again = several.keypoints.unflatten(0, (7, 40))
    assert torch.equal(again[:, ~lost], taken.keypoints[~lost].expand(7, -1, -1))
    assert (again[:, lost].std(0).norm(dim=-1) > 0.05).all(), "missing joints are scattered"
    places = draw_completions(taken.keypoints, lost, 7, make_generator(5))
    assert torch.equal(again, places)
    bells = several.gaussians
    assert torch.equal(bells.mean.unflatten(0, (7, 40))[:, lost], places[:, lost])
    usual = torch.stack([row[~gone].mean() for row, gone in zip(taken.scores, lost)])
    assert torch.allclose(several.scores.unflatten(0, (7, 40))[0], torch.where(lost, usual[:, None], taken.scores))
    if with_maps:
        maps, inside = several.heatmaps.unflatten(0, (7, 40)), ((places > 1) & (places < 62)).all(-1)
        assert torch.equal(maps[0][~lost], taken.heatmaps[~lost])
        peak = maps.flatten(3).argmax(-1)
        found = torch.stack([peak % 64, peak // 64], -1)
        assert ((found - places)[:, lost][inside[:, lost]].abs() <= 0.51).all()


def test_a_completed_person_is_at_the_expected_place(people):
    lost = draw_missing(40, make_generator(4), complete=0.2)
    taken = people.detections.without(lost)
    assert torch.equal(taken.completed().keypoints, taken.keypoints) and taken.completed().found.all()
    assert people.detections.completed() is people.detections
    assert len(people.detections.completions(2)) == 80
