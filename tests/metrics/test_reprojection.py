"The alarm: quiet for people as the models know them, loud for evidence that was misread."

import pytest
import torch

import probpose
from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, NotFiniteError, ShapeError
from probpose.data import load
from probpose.evidence.detections import Detections
from probpose.metrics.reprojection import ALARM, credible_radii, head_below_feet, reprojection_error


@pytest.fixture(scope="module")
def answers():
    people, model = load("synthetic", split="test", size=120).detections, probpose.load("poseflow")
    return people, model


def test_clean_people_stay_below_the_alarm(answers):
    people, model = answers
    error = reprojection_error(model.mode(people), people.keypoints)
    assert error.median() < 3 and (error < ALARM).float().mean() > 0.9


def test_misread_evidence_sounds_it(answers):
    people, model = answers
    wrong = Detections.from_keypoints(people.keypoints.flip(1))
    assert (reprojection_error(model.mode(wrong), wrong.keypoints) > ALARM).float().mean() > 0.85
    assert head_below_feet(-people.keypoints).float().mean() > 0.85
    assert head_below_feet(people.keypoints).float().mean() < 0.02


def test_against_a_loop(answers):
    people, model = answers
    poses, expected = model.mode(people)[:5].double(), []
    from probpose.geometry.conversions import convert

    for pose, points in zip(poses, people.keypoints[:5].double()):
        flat = convert(pose, "h36m_17", "mpii_16", approximate=True)[:, :2]
        flat, points = flat - flat.mean(0), points - points.mean(0)
        scale = points.norm() / flat.norm()
        bones = [(4, 5), (5, 6), (0, 4), (0, 7), (7, 8), (8, 10)]
        tall = sum((pose[a] - pose[b]).norm() for a, b in bones)
        expected.append(100 * (scale * flat - points).norm(dim=1).mean() / (scale * tall))
    found = reprojection_error(poses, people.keypoints[:5])
    assert torch.allclose(found, torch.stack(expected), rtol=1e-6)


def test_joints_that_were_not_found_do_not_count(answers):
    people, model = answers
    lost = torch.zeros(120, 16, dtype=torch.bool)
    lost[:, 10] = True
    spoiled = people.keypoints.masked_fill(lost[..., None], float("nan"))
    poses = model.mode(people)
    assert reprojection_error(poses, spoiled, ~lost).isfinite().all()
    with pytest.raises(NotFiniteError):
        reprojection_error(poses, spoiled)


def test_bad_input_is_refused(answers):
    people, model = answers
    poses = torch.randn(2, 17, 3)
    with pytest.raises(ShapeError, match="column"):
        reprojection_error(poses, people.keypoints[:3])
    with pytest.raises(ConfigError, match="three joints"):
        reprojection_error(poses, people.keypoints[:2], torch.zeros(2, 16, dtype=torch.bool))
    with pytest.raises(ShapeError, match="centre"):
        credible_radii(torch.randn(5, 2, 17, 3), poses[:1])
    with pytest.raises(ConfigError, match="levels"):
        credible_radii(torch.randn(5, 2, 17, 3), poses, (0.5, 1.5))


def test_radii_hold_their_share():
    cloud = torch.randn(500, 3, 17, 3, generator=make_generator(0)) * torch.rand(3, 17, 1, generator=make_generator(1))
    radii = credible_radii(cloud, torch.zeros(3, 17, 3))
    for level, radius in zip((0.5, 0.9), radii):
        assert ((cloud.norm(dim=-1) <= radius).float().mean(0) - level).abs().max() < 0.01
