"""PoseFlow's condition vector and target covariances against loops."""

import numpy as np
import torch

from probpose.core.batches import map_tensors
from probpose.core.devices import make_generator
from probpose.evidence.detections import Detections
from probpose.evidence.fitting import draw_gaussians
from probpose.geometry.skeletons import CONDITION_JOINTS
from probpose.models.poseflow.condition import condition_vector, target_covariance, uncertain_joints


def detections_of(n=4, seed=6, widths=(1.0, 12.0)):
    keypoints = 10 + 44 * torch.rand(n, 16, 2, generator=make_generator(seed))
    bells = draw_gaussians(n * 16, make_generator(seed + 1), widths=widths, centres=(-5.0, 70.0), amplitudes=(0.1, 1.5))
    return Detections(keypoints, torch.ones(n, 16), gaussians=map_tensors(bells, lambda t: t.unflatten(0, (n, 16))))


def condition_naive(detections, frame):
    "The same numbers with loops, as FACTS tells them."
    keypoints = detections.keypoints[frame].double().numpy()
    centre = keypoints.mean(0)
    scale = np.concatenate([keypoints[:, 0] - centre[0], -(keypoints[:, 1] - centre[1])]).std()
    row = []
    for joint in (j for j in range(16) if j not in (2, 3, 6)):
        values, vectors = np.linalg.eigh(detections.gaussians.covariance[frame, joint].double().numpy())
        sigma = np.clip(np.sqrt(values), 0.2, 10.0)
        sigma = np.where(sigma > 2.1, 2 * sigma, sigma) / 20
        covariance = vectors @ np.diag(sigma**2) @ vectors.T
        mean = np.clip(detections.gaussians.mean[frame, joint].double().numpy(), 0, 63)
        amplitude = min(max(float(detections.gaussians.amplitude[frame, joint]), 0), 1.2)
        row += [
            amplitude,
            (mean[0] - centre[0]) / scale,
            -(mean[1] - centre[1]) / scale,
            covariance[0, 0],
            covariance[0, 1],
            covariance[1, 1],
        ]
    return row


def test_condition_vector_is_the_papers():
    detections = detections_of()
    condition = condition_vector(detections)
    assert condition.shape == (4, 78) and condition.dtype == torch.float32
    expected = torch.tensor([condition_naive(detections, i) for i in range(4)], dtype=torch.float32)
    assert torch.allclose(condition, expected, atol=1e-4)
    assert not torch.allclose(condition_vector(detections, doubled=False), condition)


def test_target_covariance_paper_and_code_agree_where_uncertain():
    detections = detections_of(8, widths=(1.0, 4.0))
    paper, code = target_covariance(detections), target_covariance(detections, metres_per_pixel=0.005, doubled=True)
    wide = (detections.gaussians.axes[0][:, list(CONDITION_JOINTS)] > 2.1).all(-1)
    assert 0 < wide.sum() and torch.allclose(paper[wide], code[wide], rtol=1e-4)
    mask = uncertain_joints(detections)
    diagonal = detections.gaussians.covariance.diagonal(dim1=-2, dim2=-1)[:, list(CONDITION_JOINTS)]
    assert torch.equal(mask, (diagonal.sqrt() > 2.1).any(-1)) and 0 < mask.sum() < mask.numel()
    assert float(paper.diagonal(dim1=-2, dim2=-1).max()) <= 0.1**2 * 1.001
    assert float(target_covariance(detections_of(8)).diagonal(dim1=-2, dim2=-1).max()) <= 0.1**2 * 1.001
