"Heatmaps: the fit against SciPy and against the truth, detections and their condition, calibration of the simulated detector, bad input."

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from probpose.core.devices import make_generator
from probpose.core.errors import (
    ConfigError,
    DegeneratePoseError,
    NotFiniteError,
    ProbposeError,
    ShapeError,
    UnknownNameError,
)
from probpose.evidence.detections import CONDITION_JOINTS, Detections, gaussians_from_scores
from probpose.evidence.fitting import draw_gaussians, fit_gaussians
from probpose.evidence.gaussians import covariance_from_axes, render_gaussians
from probpose.evidence.maps import keypoints_from_heatmaps, sample_heatmaps
from probpose.evidence.simulated import DetectorConfig, SimulatedDetector, self_occluded
from probpose.models.poseflow.condition import condition_vector, target_covariance, uncertain_joints


def grid(height, width):
    return [axis.astype(float) for axis in np.mgrid[:height, :width]]


def bell(params, y, x):
    amplitude, mx, my, sx, theta, sy = params
    u = np.cos(theta) * (x - mx) + np.sin(theta) * (y - my)
    v = np.cos(theta) * (y - my) - np.sin(theta) * (x - mx)
    return amplitude * np.exp(-0.5 * (u * u / sx**2 + v * v / sy**2))


def curve_fit(heatmap, start=None, tolerance=1e-8):
    "SciPy's MINPACK fit (what `curve_fit` runs) of (A, μx, μy, σx, θ, σy) from the start of the paper."
    h = np.clip(heatmap.double().numpy(), 0, 1)
    y, x = grid(*h.shape)
    row, column = np.unravel_index(h.argmax(), h.shape)
    start = (h.max(), column, row, 2.0, 0.0, 2.0) if start is None else start
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = least_squares(
            lambda p: (bell(p, y, x) - h).ravel(), start, method="lm", ftol=tolerance, xtol=tolerance, gtol=tolerance
        )
    return found.x, 2 * found.cost


def start_at(fitted):
    (long, short), angle = fitted.axes
    return [float(v) for v in (fitted.amplitude, *fitted.mean, long, angle, short)]


def covariance_of(params):
    return covariance_from_axes(torch.tensor([params[3], params[5]]), torch.tensor(params[4])).numpy()


def some_maps(kind, n=6, seed=0):
    g = make_generator(seed)
    if kind == "truncated":
        return render_gaussians(draw_gaussians(n, g, centres=(-3.0, 4.0)))
    if kind == "clean":
        return render_gaussians(draw_gaussians(n, g, widths=(2.0, 2.05)))
    if kind == "narrow":
        return render_gaussians(draw_gaussians(n, g, widths=(0.6, 1.5)))
    if kind == "two_peaked":
        first, second = (draw_gaussians(n, g, widths=(2.0, 4.0)) for _ in range(2))
        near = first._changed(mean=first.mean + 6 * torch.randn(n, 2, generator=g), amplitude=second.amplitude)
        return render_gaussians(first) + render_gaussians(near)
    maps = render_gaussians(draw_gaussians(n, g))
    return maps if kind == "rotated" else maps + 0.05 * torch.randn(maps.shape, generator=g)


KINDS = ("clean", "rotated", "narrow", "noisy", "two_peaked", "truncated")


@pytest.mark.parametrize("kind", KINDS)
def test_cost_is_never_above_scipy(kind):
    maps = some_maps(kind)
    fitted = fit_gaussians(maps)
    assert fitted.converged.all()
    for i, heatmap in enumerate(maps):
        _, cost = curve_fit(heatmap)
        assert fitted.residual[i] <= cost * (1 + 1e-6) + 1e-9, (i, float(fitted.residual[i]), cost)


@pytest.mark.parametrize("kind", KINDS)
def test_the_optimum_is_scipys(kind):
    "SciPy, started at our answer with tight tolerances, stays there; and the answer is a minimum, not a mere halt."
    maps = some_maps(kind, seed=1)
    fitted = fit_gaussians(maps)
    for i, heatmap in enumerate(maps):
        params, _ = curve_fit(heatmap, start_at(fitted[i]), tolerance=1e-14)
        covariance = covariance_of(params)
        assert abs(params[0] - float(fitted.amplitude[i])) < 1e-3 * abs(params[0])
        assert np.abs(params[1:3] - fitted.mean[i].numpy()).max() < 1e-3 * max(1.0, np.abs(params[1:3]).max())
        assert np.abs(covariance - fitted.covariance[i].numpy()).max() < 1e-3 * np.abs(covariance).max()


def test_true_parameters_come_back_from_clean_and_truncated_maps():
    for centres in ((12.0, 52.0), (-2.0, 3.0)):
        truth = draw_gaussians(200, make_generator(2), centres=centres)
        fitted = fit_gaussians(render_gaussians(truth))
        assert fitted.converged.all()
        assert torch.allclose(fitted.amplitude, truth.amplitude, rtol=1e-3)
        assert torch.allclose(fitted.mean, truth.mean, atol=5e-3)
        assert torch.allclose(fitted.covariance, truth.covariance, rtol=2e-3, atol=5e-3)


def test_single_and_double_precision_agree_and_shapes_are_kept():
    maps = some_maps("two_peaked", 6).view(2, 3, 64, 64)
    single, double = fit_gaussians(maps), fit_gaussians(maps.double())
    assert (
        single.mean.dtype == torch.float32
        and double.mean.dtype == torch.float64
        and double.covariance.shape == (2, 3, 2, 2)
    )
    assert torch.allclose(single.covariance.double(), double.covariance, rtol=1e-3, atol=1e-3)
    assert fit_gaussians(maps[0, 0]).amplitude.shape == () and fit_gaussians(maps[:, :, 10:50]).mean.shape == (2, 3, 2)
    assert fit_gaussians(maps.half()).mean.dtype == torch.float32
    assert fit_gaussians(maps[:0]).mean.shape == (0, 3, 2)


def test_a_map_does_not_influence_its_neighbours():
    maps = torch.cat([some_maps("noisy", 5), torch.zeros(1, 64, 64), some_maps("rotated", 5)])
    together, alone = fit_gaussians(maps), [fit_gaussians(m) for m in maps]
    assert torch.allclose(together.mean, torch.stack([a.mean for a in alone]), atol=1e-3)
    assert torch.equal(fit_gaussians(maps, chunk=3).converged, together.converged)


def test_strange_maps_get_a_defined_answer():
    maps = torch.zeros(6, 64, 64)
    maps[1] = -3.0
    maps[2] = 0.7
    maps[3, 0, 0] = 1.0
    maps[4] = torch.rand(64, 64, generator=make_generator(3))
    maps[5, 30:33, 20:40] = 50.0
    fitted = fit_gaussians(maps)
    for part in (fitted.amplitude, fitted.mean, fitted.covariance, fitted.residual, fitted.sigma, *fitted.axes):
        assert torch.isfinite(part).all()
    assert (torch.linalg.eigvalsh(fitted.covariance) > 0).all()
    assert not fitted.converged[:3].any() and (fitted.amplitude[:2] == 0).all()
    assert torch.allclose(fitted.mean[:2], torch.full((2, 2), 31.5)) and torch.allclose(
        fitted.sigma[:2], torch.full((2, 2), 10.0), atol=1e-3
    )
    assert not fit_gaussians(some_maps("two_peaked"), max_iterations=1).converged.any()


def test_bad_maps_are_refused():
    bad = torch.zeros(2, 64, 64)
    bad[1, 3, 4] = float("nan")
    with pytest.raises(NotFiniteError, match=r"\(1, 3, 4\)"):
        fit_gaussians(bad)
    bad[1, 3, 4] = float("inf")
    with pytest.raises(NotFiniteError):
        fit_gaussians(bad)
    for call in (
        lambda: fit_gaussians(torch.zeros(5)),
        lambda: fit_gaussians(np.zeros((2, 64, 64))),
        lambda: fit_gaussians(torch.zeros(2, 8, 8, dtype=torch.uint8)),
    ):
        with pytest.raises(ShapeError):
            call()
    for wrong in (dict(sigma_gt=0.0), dict(sigma_gt=math.nan), dict(max_iterations=0), dict(chunk=0)):
        with pytest.raises(ConfigError):
            fit_gaussians(torch.zeros(2, 8, 8), **wrong)
    with pytest.raises(ProbposeError):
        fit_gaussians(torch.zeros(2, 8, 8), init_mean=torch.zeros(3, 2))


MEMORY = """
import resource, torch
torch.set_num_threads(1)
from probpose.heatmaps import fit_gaussians, render_gaussians, random_gaussians
fit_gaussians(torch.rand(64, 32, 32))
maps = render_gaussians(random_gaussians(1000, torch.Generator().manual_seed(0), widths=(2.0, 2.1)), 64).repeat(6, 1, 1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fit_gaussians(maps, chunk=512)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_memory_is_bounded_by_the_chunk():
    "6,000 maps are 98 MB; fitting 512 at a time must need far less on top."
    pytest.importorskip("resource")
    extra = float(subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True).stdout)
    assert extra < 60, f"{extra:.0f} MB"


def test_samples_follow_the_map():
    maps = some_maps("two_peaked", 2)
    xy = sample_heatmaps(maps, 50_000, make_generator(4))
    assert xy.shape == (50_000, 2, 2)
    share = maps / maps.sum((-1, -2), keepdim=True)
    counts = torch.zeros_like(maps)
    for i in range(2):
        counts[i].view(-1).scatter_add_(0, (xy[:, i, 1] * 64 + xy[:, i, 0]).long(), torch.ones(50_000))
    expected = 50_000 * share
    often = expected > 20
    chi2 = ((counts - expected).square() / expected)[often].sum()
    assert abs(float(chi2) / int(often.sum()) - 1) < 0.2
    assert torch.equal(sample_heatmaps(maps, 10, make_generator(5)), sample_heatmaps(maps, 10, make_generator(5)))
    negative = torch.full((4, 4), -1.0)
    negative[1, 2] = 1e-3
    assert (sample_heatmaps(negative, 20) == torch.tensor([2.0, 1.0])).all()


def test_empty_maps_have_peaks_and_samples():
    empty = torch.zeros(2, 16, 64, 64)
    detections = Detections.from_heatmaps(empty).with_gaussians()
    assert (detections.scores == 0).all() and not detections.gaussians.converged.any() and detections.hard.all()
    assert torch.isfinite(sample_heatmaps(empty, 3, make_generator(0))).all()


def detections_of(n=4, seed=6, widths=(1.0, 12.0)):
    keypoints = 10 + 44 * torch.rand(n, 16, 2, generator=make_generator(seed))
    bells = draw_gaussians(n * 16, make_generator(seed + 1), widths=widths, centres=(-5.0, 70.0), amplitudes=(0.1, 1.5))
    return Detections(keypoints, torch.ones(n, 16), gaussians=bells._mapped(lambda t: t.unflatten(0, (n, 16))))


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
    scores = torch.linspace(0, 1, 16).expand(3, 16)
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
        (NotFiniteError, lambda: Detections.from_keypoints(nan, scores)),
        (NotFiniteError, lambda: Detections(xy, scores * math.nan)),
        (ShapeError, lambda: Detections(xy[:, :15], scores[:, :15])),
        (ShapeError, lambda: Detections(xy, scores[:, :15])),
        (ShapeError, lambda: Detections(xy.expand(3, 2, 16, 2), scores)),
        (ShapeError, lambda: Detections(xy.long(), scores)),
        (ShapeError, lambda: Detections(xy, scores, torch.zeros(2, 15, 64, 64))),
        (ShapeError, lambda: Detections(xy, scores, gaussians=bells[:1])),
        (ConfigError, lambda: Detections(xy, 100 * scores)),
        (ConfigError, lambda: Detections(xy, scores, gaussians=bells._changed(covariance=negative))),
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
    wrong = belief._changed(covariances=2 * belief.covariances)
    level = (
        (wrong.log_prob(wrong.sample(200, make_generator(2))) < wrong.log_prob(truth))
        .float()
        .mean(0)
        .flatten()
        .sort()
        .values
    )
    assert (level - torch.linspace(0, 1, len(level))).abs().max() > 5 / math.sqrt(len(level))  # the test can fail


def test_belief_density_integrates_to_one_and_samples_match_it():
    truth, points = people(30)
    belief = SimulatedDetector(CROWDED).observe(truth, points, make_generator(3))
    step = 0.25
    axis = torch.arange(-60, 130, step)
    xy = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).view(-1, 1, 1, 2)
    wide = belief[:2]._mapped(lambda t: t[:, :4])
    mass = wide.log_prob(xy).exp().sum(0) * step**2
    assert torch.allclose(mass, torch.ones(2, 4), atol=0.02)
    samples = belief.sample(4000, make_generator(4))
    mean = (belief.weights.unsqueeze(-1) * belief.means).sum(-2)
    deviation = samples.std(0).norm(dim=-1) / math.sqrt(4000)
    assert ((samples.mean(0) - mean).norm(dim=-1) < 5 * deviation).all()


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


def test_maps_that_are_not_square_are_refused():
    with pytest.raises(ShapeError, match="square"):
        Detections.from_heatmaps(torch.rand(2, 16, 64, 48))
