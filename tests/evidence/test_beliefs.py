"""Densities of beliefs, and what is read off their maps."""

import math

import torch

from probpose.core.batches import map_tensors
from probpose.core.devices import make_generator
from probpose.evidence.fitting import fit_gaussians
from probpose.evidence.maps import keypoints_from_heatmaps
from probpose.evidence.simulated import DetectorConfig, SimulatedDetector


def people(n, seed=0):
    points = torch.randn(n, 16, 3, generator=make_generator(seed)) * 0.3 + torch.tensor([0.0, 0.0, 5.0])
    return 31.5 + 150 * points[..., :2] / points[..., 2:], points


CROWDED = DetectorConfig(occluder_rate=0.6, truncation_rate=0.3, self_occlusion_rate=0.8)


def test_belief_density_integrates_to_one_and_samples_match_it():
    truth, points = people(30)
    belief = SimulatedDetector(CROWDED).observe(truth, points, make_generator(3))
    step = 0.25
    axis = torch.arange(-60, 130, step)
    xy = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).view(-1, 1, 1, 2)
    wide = map_tensors(belief[:2], lambda t: t[:, :4])
    mass = wide.log_prob(xy).exp().sum(0) * step**2
    assert torch.allclose(mass, torch.ones(2, 4), atol=0.02)
    samples = belief.sample(4000, make_generator(4))
    mean = (belief.weights.unsqueeze(-1) * belief.means).sum(-2)
    deviation = samples.std(0).norm(dim=-1) / math.sqrt(4000)
    assert ((samples.mean(0) - mean).norm(dim=-1) < 5 * deviation).all()


def test_reading_a_belief_is_fitting_its_maps():
    truth, points = people(25)
    belief = SimulatedDetector(CROWDED).observe(truth, points, make_generator(8))
    read, maps = belief.detections(keep_heatmaps=True), belief.heatmaps()
    assert torch.equal(read.heatmaps, maps)
    fitted = fit_gaussians(maps)
    sure = (
        read.gaussians.converged
        & fitted.converged
        & ((belief.means[..., 0, :] > 1) & (belief.means[..., 0, :] < 62)).all(-1)
    )
    assert sure.float().mean() > 0.7
    assert torch.allclose(read.gaussians.mean[sure], fitted.mean[sure], atol=0.03)
    assert torch.allclose(read.gaussians.covariance[sure], fitted.covariance[sure], rtol=0.02, atol=0.03)
    xy, score = keypoints_from_heatmaps(maps)
    assert torch.equal(read.keypoints[sure], xy[sure]) and torch.allclose(
        read.scores[sure], score.clamp(0, 1)[sure], atol=1e-5
    )
    again = belief.detections(chunk=37)
    assert torch.allclose(again.gaussians.mean, read.gaussians.mean, atol=1e-2)
