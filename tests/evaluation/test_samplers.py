"Stored hypotheses, centres of clusters, the noise baseline."

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, NotFiniteError
from probpose.evaluation.curves import calibration, hypothesis_curve
from probpose.evaluation.evaluate import evaluate
from probpose.evaluation.samplers import (
    DETECTED_JOINTS,
    draw_hypotheses,
    kmeans_hypotheses,
    noise_baseline,
    representatives,
)
from probpose.geometry.skeletons import H36M_17, MPII_16

QUIET = dict(device="cpu", progress=False)


def inertia(points, centres):
    return torch.cdist(points.flatten(2).transpose(0, 1), centres.flatten(2).transpose(0, 1)).amin(-1).square().sum(-1)


class Seen:
    "Detections in map pixels of 30 mm; the right wrist is uncertain along both axes, obliquely."

    def __init__(self, truth, number):
        self.truth, self.number = truth, number
        order = [3, 2, 1, 4, 5, 6, 0, 7, 8, 10, 16, 15, 14, 11, 12, 13]
        self.keypoints = truth[:, order, :2] / 0.03 + 32
        covariance = torch.eye(2).repeat(len(truth), 16, 1, 1)
        covariance[:, 10] = torch.tensor([[25.0, 12.0], [12.0, 9.0]])
        self.gaussians = SimpleNamespace(covariance=covariance)

    def __len__(self):
        return len(self.truth)


def test_kmeans_finds_islands_orders_them_by_size_and_repeats():
    g = make_generator(2)
    islands = torch.randn(3, 5, 17, 3, generator=g)
    cloud = torch.cat(
        [islands[i] + 0.01 * torch.randn(count, 5, 17, 3, generator=g) for i, count in enumerate((10, 60, 30))]
    )
    cloud = cloud[torch.randperm(100, generator=g)]
    found = kmeans_hypotheses(cloud, 3)
    assert torch.allclose(found, islands[[1, 2, 0]], atol=0.02) and torch.equal(found, kmeans_hypotheses(cloud, 3))
    cloud = torch.randn(50, 4, 17, 3, generator=g)
    centres = kmeans_hypotheses(cloud, 5)
    nearest = torch.cdist(cloud.flatten(2).transpose(0, 1), centres.flatten(2).transpose(0, 1)).argmin(-1)
    for b, k in itertools.product(range(4), range(5)):  # a fixed point: every centre is the mean of its members
        assert torch.allclose(centres[k, b], cloud[nearest[b] == k, b].mean(0), atol=1e-5)
    assert (inertia(cloud, centres) < inertia(cloud, cloud[:5])).all()


def test_kmeans_edges():
    points = torch.randn(4, 2, 17, 3, generator=make_generator(0))
    assert (inertia(points, kmeans_hypotheses(points, 4)) < 1e-8).all()
    assert torch.allclose(kmeans_hypotheses(points, 1)[0], points.mean(0), atol=1e-6)
    assert torch.isfinite(kmeans_hypotheses(torch.ones(6, 2, 17, 3), 3)).all()
    for bad, k, error in (
        (points, 5, ConfigError),
        (points, 0, ConfigError),
        (points[:, 0], 2, ConfigError),
        (points * float("nan"), 2, NotFiniteError),
    ):
        with pytest.raises(error):
            kmeans_hypotheses(bad, k)


def test_representatives_are_a_sampler(Frames, Fixed, values):
    frame = evaluate(representatives(Fixed(), 40), Frames(6), n=5, protocols=("mpjpe",), **QUIET)
    plain = evaluate(Fixed(), Frames(6), n=40, protocols=("mpjpe",), **QUIET)
    assert values(frame, "mpjpe", "mean").mean() < values(plain, "mpjpe", "mean").mean()


def test_noise_baseline_has_the_fitted_covariance(Frames):
    truth = Frames(3).poses
    detections = Seen(truth, None)
    model = SimpleNamespace(mode=lambda d: d.truth)
    draws = noise_baseline(model, depth_sigma=0.07).sample(detections, 20_000, make_generator(0))
    rooted = truth - truth[:, :1]
    assert torch.allclose(draws.mean(0), rooted, atol=0.01) and torch.equal(draws[:, :, 0], torch.zeros(20_000, 3, 3))
    wrist = draws[:, 1, 16] - rooted[1, 16]
    # the sizes of a pixel along x and y are not told apart, and the neck's depth counts as the head's, hence the
    # tolerance
    expected = torch.tensor([[25.0, 12.0], [12.0, 9.0]]) * 0.03**2
    assert torch.allclose(wrist[:, :2].T.cov(), expected, rtol=0.25, atol=1e-4)
    assert wrist[:, 2].std() == pytest.approx(0.07, rel=0.02) and abs(torch.corrcoef(wrist.T)[0, 2]) < 0.03
    fixed = noise_baseline(model, depth_sigma=0.07, metres_per_pixel=0.01).sample(detections, 20_000, make_generator(0))
    assert torch.allclose((fixed[:, 1, 16, :2]).T.cov(), expected / 9, rtol=0.05)


def test_noise_baseline_learns_depth_from_data(Frames):
    off = SimpleNamespace(mode=lambda d: d.truth + torch.tensor([0.0, 0.0, 0.06]) * (torch.arange(17) > 0)[:, None])
    assert noise_baseline(off, Frames(50), frames=20).depth_sigma == pytest.approx(0.06, rel=1e-4)
    for bad in (dict(), dict(depth_sigma=-1.0), dict(depth_sigma=float("nan"))):
        with pytest.raises(ConfigError, match="depth_sigma"):
            noise_baseline(off, **bad)


def test_the_detected_joint_of_every_pose_joint_has_its_name():
    "The noise of a joint comes from the detection of the same name; only the nose borrows the head's."
    words = {"R": "right_", "L": "left_"}
    special = {"Hip": "pelvis", "Spine": "thorax", "Thorax": "upper_neck", "Head": "head_top", "Neck/Nose": "head_top"}
    for name, detected in zip(H36M_17.joints, DETECTED_JOINTS):
        expected = special.get(name) or words[name[0]] + name[1:].lower().replace("foot", "ankle")
        assert MPII_16.joints[detected] == expected


def test_stored_hypotheses_give_the_same_numbers_as_drawing_again(Evidence, Frames, Fixed):
    kept = draw_hypotheses(Fixed(), Frames(), n=9, batch_size=5, **QUIET)
    measures = [
        lambda m: evaluate(m, Frames(), n=9, batch_size=7, **QUIET),
        lambda m: hypothesis_curve(m, Frames(), (1, 9), **QUIET),
        lambda m: calibration(m, Frames(), 9, **QUIET),
    ]
    for measure in measures * 2:
        wanted, found = measure(Fixed()), measure(kept)
        assert list(wanted.columns) == list(found.columns) and len(wanted) == len(found)
        for column in wanted.select_dtypes("number"):
            assert np.allclose(wanted[column], found[column], atol=1e-3), column
    with pytest.raises(ConfigError, match="9"):
        kept.at(torch.arange(2)).sample(Evidence(torch.zeros(2, 17, 3), torch.arange(2)), 4)


def test_only_models_that_read_heatmaps_get_them(Frames, Fixed):
    asked = []

    class Pictures(Frames):
        def batch(self, indices, heatmaps=False):
            asked.append(heatmaps)
            return super().batch(indices)

    class Reader(Fixed):
        reads_heatmaps = True

    for model, wanted in (
        (Fixed(), False),
        (Reader(), True),
        (representatives(Reader(), 9), True),
        (draw_hypotheses(Reader(), Pictures(), 9, **QUIET), False),
    ):
        asked.clear()
        evaluate(model, Pictures(), n=5 if hasattr(model, "drawn") else 9, protocols=["mpjpe"], **QUIET)
        assert set(asked) == {wanted}, type(model)
