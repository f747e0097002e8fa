"""The simulated detector: calibration, occlusion, frequencies, settings."""

import math

import numpy as np
import pytest
import torch

from probpose.core.batches import copy_with
from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, NotFiniteError, ShapeError
from probpose.evidence.simulated import DetectorConfig, SimulatedDetector, self_occluded
from probpose.models.poseflow.condition import uncertain_joints


def people(n, seed=0):
    points = torch.randn(n, 16, 3, generator=make_generator(seed)) * 0.3 + torch.tensor([0.0, 0.0, 5.0])
    return 31.5 + 150 * points[..., :2] / points[..., 2:], points


CROWDED = DetectorConfig(occluder_rate=0.6, truncation_rate=0.3, self_occlusion_rate=0.8)


def test_the_truth_is_distributed_like_the_belief():
    "Highest-density regions of every level cover the truth as often as they say, for each state of a joint."
    truth, points = people(600)
    detector = SimulatedDetector(CROWDED)
    belief, state = (
        detector.observe(truth, points, make_generator(1)),
        detector.visibility(truth, points, make_generator(1)),
    )
    less_dense = (belief.log_prob(belief.sample(200, make_generator(2))) < belief.log_prob(truth)).float().mean(0)
    for value in (0, 1, 2):
        level = less_dense[state == value].sort().values
        assert len(level) > 300
        assert (level - torch.linspace(0, 1, len(level))).abs().max() < 1.9 / math.sqrt(len(level)), value
    wrong = copy_with(belief, covariances=2 * belief.covariances)
    level = (
        (wrong.log_prob(wrong.sample(200, make_generator(2))) < wrong.log_prob(truth))
        .float()
        .mean(0)
        .flatten()
        .sort()
        .values
    )
    assert (level - torch.linspace(0, 1, len(level))).abs().max() > 5 / math.sqrt(len(level))  # the test can fail


def test_detector_is_deterministic_and_leaves_global_randomness_alone():
    truth, points = people(20)
    before = torch.get_rng_state()
    first, second = (SimulatedDetector().observe(truth, points, make_generator(5)) for _ in range(2))
    first.sample(3, make_generator(0))
    first.detections()
    assert torch.equal(first.means, second.means) and torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first.means, SimulatedDetector().observe(truth, points, make_generator(6)).means)


def test_visible_joints_stay_certain():
    truth, points = people(300)
    clear = SimulatedDetector(DetectorConfig(occluder_rate=0, truncation_rate=0, self_occlusion_rate=0))
    inside = ((truth > 4) & (truth < 59)).all(-1)
    detections = clear.observe(truth, points, make_generator(7)).detections()
    assert detections.gaussians.axes[0][inside].max() < 2.1
    assert (detections.keypoints - truth)[inside].norm(dim=-1).mean() < 1.0


def test_a_nearer_arm_hides_the_hip_and_a_farther_one_does_not():
    pose = torch.zeros(2, 16, 3)
    pose[..., 2] = 5.0
    pose[..., 0] = torch.linspace(-3, 3, 16)  # everybody out of everybody's way
    pose[:, 11], pose[:, 10] = torch.tensor([-0.2, 0.0, 4.6]), torch.tensor([0.2, 0.0, 4.6])
    pose[:, 3] = torch.tensor([0.0, 0.0, 5.0])
    pose[1, 10:12, 2] = 5.4
    hidden = self_occluded(pose)
    assert hidden[0, 3] and not hidden[1, 3]


def test_frequencies_on_motion_capture(cmu_path):
    "About an eighth of the frames are hard, about half have an uncertain joint (the levels the detector was set to)."
    from probpose.geometry.crops import crop_around

    with np.load(cmu_path / "cmu_h36m17_30hz.npz") as file:
        positions = torch.tensor(file["positions"][file["valid"] & file["clip_root_ok"][file["clip"]]][::25])
    pose = (positions - positions[:, :1])[:, [3, 2, 1, 4, 5, 6, 0, 7, 8, 10, 16, 15, 14, 11, 12, 13]]
    angle = 2 * math.pi * torch.rand(len(pose), generator=make_generator(0))
    x, z = (
        pose[..., 0] * angle.cos()[:, None] + pose[..., 2] * angle.sin()[:, None],
        pose[..., 2] * angle.cos()[:, None] - pose[..., 0] * angle.sin()[:, None],
    )
    points = torch.stack([x, -pose[..., 1], 5.2 - z], -1)
    image = 1145 * points[..., :2] / points[..., 2:]
    keypoints = crop_around(image).to_map(image)
    detections = SimulatedDetector().observe(keypoints, points, make_generator(1)).detections()
    assert 0.09 < detections.hard.float().mean() < 0.17
    assert 0.38 < uncertain_joints(detections).any(-1).float().mean() < 0.62


def test_bad_detector_settings_are_refused():
    for wrong in (
        dict(occluder_rate=1.5),
        dict(hidden_sigma=(3.0, 1.0)),
        dict(shapes=(0.5, 0.5, 0.5)),
        dict(visible_sigma=(0.0, 0.5)),
        dict(anisotropy=0.0),
    ):
        with pytest.raises(ConfigError):
            DetectorConfig(**wrong)
    truth, points = people(3)
    with pytest.raises(ShapeError):
        SimulatedDetector().observe(truth, points[:2])
    with pytest.raises(NotFiniteError):
        SimulatedDetector().observe(truth * math.nan, points)
    with pytest.raises(ConfigError):
        SimulatedDetector().observe(truth, points).sample(0)
