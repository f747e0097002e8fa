"Tidy rows against plain loops over frames and hypotheses, streaming, curves, calibration, other samplers."

import itertools
import resource
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, NotFiniteError, ShapeError, UnknownNameError
from probpose.evaluation.curves import calibration, expected_best, hypothesis_curve, truth_ranks
from probpose.evaluation.evaluate import evaluate, summarise
from probpose.evaluation.protocols import PROTOCOLS
from probpose.evaluation.samplers import _DETECTED, draw_hypotheses, kmeans_hypotheses, noise_baseline, representatives
from probpose.geometry.alignment import procrustes_svd
from probpose.geometry.skeletons import CPS_JOINTS, H36M_17, MPII_16, PCK_JOINTS_14
from probpose.metrics.pose import symmetry_error
from probpose.metrics.scores import crps, energy_score

QUIET = dict(device="cpu", progress=False)


class Evidence:
    def __init__(self, truth, number):
        self.truth, self.number = truth, number

    def __len__(self):
        return len(self.truth)


class Frames:
    fingerprint = "frames"

    def __init__(self, n=24, seed=0, labels=True):
        self.poses = 0.3 * torch.randn(n, 17, 3, generator=make_generator(seed)) + torch.tensor([0.5, -1.0, 5.0])
        if labels:
            self.action = np.array(["walk", "sit", "jump"])[np.arange(n) % 3]
            self.subject = np.array(["06", "09"])[np.arange(n) % 2]
            self.hard = torch.arange(n) % 4 == 1

    def __len__(self):
        return len(self.poses)

    def to(self, device):
        return self

    def batch(self, indices):
        return {"poses": self.poses[indices], "detections": Evidence(self.poses[indices], indices)}


class Fixed(torch.nn.Module):
    "Hypotheses that depend on the frame alone, so that batches cannot matter."

    has_density = True

    def __init__(self):
        super().__init__()
        self.seen = torch.nn.Parameter(torch.zeros(()))

    def sample(self, detections, n, generator=None):
        assert not self.training and not torch.is_grad_enabled()
        noise = torch.stack(
            [torch.randn(n, 17, 3, generator=torch.Generator().manual_seed(int(i))) for i in detections.number], 1
        )
        return detections.truth + 0.05 * noise + 1.0

    def mode(self, detections):
        return detections.truth * 1.1

    def log_prob(self, poses, detections):
        return -poses.square().sum((-1, -2))


def values(frame, metric, statistic):
    return frame[(frame.metric == metric) & (frame.statistic == statistic)].set_index("frame").value


@pytest.fixture(scope="module")
def judged():
    return evaluate(Fixed(), Frames(), n=9, batch_size=7, **QUIET)


def protocol_naive(name, pose, truth):
    "One pose, one number, written out with plain loops in float64."
    pose, truth = (pose - pose[0]).double(), (truth - truth[0]).double()
    aligned = procrustes_svd(pose, truth).apply(pose)

    def far(p, joints=range(17)):
        return [1000 * float((p[j] - truth[j]).norm()) for j in joints]

    if name == "mpjpe":
        return np.mean(far(pose))
    if name == "pa_mpjpe":
        return np.mean(far(aligned))
    scaled = pose * truth.norm() / pose.norm()
    if name == "n_mpjpe":
        return np.mean(far(scaled))
    if name == "n_pck":
        return 100 * np.mean([d <= 150 for d in far(scaled, PCK_JOINTS_14)])
    if name == "n_auc":
        return 100 * np.mean([[d <= t for d in far(scaled, PCK_JOINTS_14)] for t in range(0, 151, 5)])
    if name == "pck":
        return 100 * np.mean([d <= 150 for d in far(pose, PCK_JOINTS_14)])
    if name == "auc":
        return 100 * np.mean([[d <= t for d in far(pose, PCK_JOINTS_14)] for t in range(0, 151, 5)])
    if name == "cps":
        return max(0.0, 300 - max(far(aligned, CPS_JOINTS)))
    return float(symmetry_error(pose))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_rows_equal_plain_loops(judged, name):
    data, model = Frames(), Fixed().eval()
    detections = data.batch(torch.arange(24))["detections"]
    with torch.no_grad():
        hypotheses, modes = model.sample(detections, 9), model.mode(detections)
    best = min if PROTOCOLS[name].lower_is_better else max
    worst = max if PROTOCOLS[name].lower_is_better else min
    for i in (0, 8, 23):
        each = [protocol_naive(name, hypotheses[m, i], data.poses[i]) for m in range(9)]
        expected = {
            "best": best(each),
            "worst": worst(each),
            "mean": np.mean(each),
            "median": np.median(each),
            "mode": protocol_naive(name, modes[i], data.poses[i]),
        }
        doubtful = at_a_threshold(name, [*hypotheses[:, i], modes[i]], data.poses[i])
        for statistic, value in expected.items():
            assert values(judged, name, statistic)[i] == pytest.approx(value, rel=1e-3, abs=2e-2 + doubtful), (
                name,
                statistic,
            )


def at_a_threshold(name, poses, truth):
    """What an area under a curve may gain or lose where single precision puts a distance on the other side of a
    threshold; 0 unless one lies within a micrometre of it.
    """
    if not name.endswith("auc"):
        return 0.0
    sizes = [pose * (truth.norm() / pose.norm()) if name == "n_auc" else pose for pose in poses]
    distances = torch.stack([1000 * (pose - truth).norm(dim=-1)[list(PCK_JOINTS_14)] for pose in sizes])
    near = (distances / 5 - (distances / 5).round()).abs() * 5 < 1e-3
    return float((near & (distances < 151)).sum(1).max()) * 100 / (14 * 31)


def test_table_is_tidy_and_complete(judged):
    assert list(judged.columns) == ["frame", "action", "subject", "hard", "metric", "statistic", "value"]
    assert not judged.isna().any().any() and not judged.duplicated(["frame", "metric", "statistic"]).any()
    assert len(judged) == 24 * (len(PROTOCOLS) * 5 + 6)
    row = judged[judged.frame == 5].iloc[0]
    assert (row.action, row.subject, bool(row.hard)) == ("jump", "09", True)
    assert set(judged[judged.statistic == "set"].metric) == {
        "spread_x",
        "spread_y",
        "spread_z",
        "energy_score",
        "crps",
        "nll",
    }


def test_each_metric_takes_its_own_best_hypothesis():
    truth = Frames(1)

    def two(detections, n, generator=None):
        turned = detections.truth.clone()
        turned = (turned - turned[:, :1]) @ torch.tensor(
            [[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]
        )  # perfect after alignment
        near = detections.truth + 0.01 * torch.randn(detections.truth.shape, generator=torch.Generator().manual_seed(0))
        return torch.stack([turned, near])

    frame = evaluate(two, truth, n=2, **QUIET)
    assert (
        values(frame, "pa_mpjpe", "best")[0] < 0.1
        and 1 < values(frame, "mpjpe", "best")[0] < 40 < values(frame, "mpjpe", "worst")[0]
    )


def test_batches_and_training_mode_do_not_show(judged):
    model = Fixed().train()
    again = evaluate(model, Frames(), n=9, batch_size=64, **QUIET)
    assert model.training
    assert np.allclose(judged.value, again.value, rtol=1e-4, atol=1e-3)


def test_set_scores_follow_their_definitions(judged):
    data = Frames()
    with torch.no_grad():
        h = Fixed().eval().sample(data.batch(torch.arange(24))["detections"], 9)
    h, t = h - h[:, :, :1], data.poses - data.poses[:, :1]
    spread = 1000 * h.std(0)[:, 1:].mean(1)
    for k, axis in enumerate("xyz"):
        assert np.allclose(values(judged, f"spread_{axis}", "set"), spread[:, k], rtol=1e-3)
    assert np.allclose(values(judged, "crps", "set"), crps(h, t)[:, 1:].mean((1, 2)), rtol=1e-3)
    assert np.allclose(values(judged, "energy_score", "set"), energy_score(h, t), rtol=1e-3)
    assert np.allclose(values(judged, "nll", "set"), t.square().sum((1, 2)), rtol=1e-3)


def test_same_seed_same_numbers():
    def draw(d, n, generator):
        return d.truth + 0.1 * torch.randn(n, len(d), 17, 3, generator=generator)

    first, second, third = (evaluate(draw, Frames(8), n=5, seed=s, **QUIET).value for s in (1, 1, 2))
    assert first.equals(second) and not first.equals(third)


def test_one_hypothesis_and_missing_labels():
    frame = evaluate(
        lambda d, n, generator: d.truth[None] * 1.0,
        Frames(5, labels=False),
        n=1,
        protocols=("mpjpe", "cps"),
        **QUIET,
    )
    assert set(frame.metric) == {"mpjpe", "cps"} and set(frame.statistic) == {"best", "mean", "median", "worst"}
    assert values(frame, "mpjpe", "best").max() == 0 and (frame.action == "").all() and not frame.hard.any()


@pytest.mark.parametrize(
    "sampler, options, error, word",
    [
        (lambda d, n, generator: torch.zeros(n, len(d), 16, 3), {}, ShapeError, "17"),
        (lambda d, n, generator: torch.zeros(len(d), n, 17, 3), {}, ShapeError, "hypotheses come first"),
        (lambda d, n, generator: torch.full((n, len(d), 17, 3), float("inf")), {}, NotFiniteError, "trained"),
        (lambda d, n, generator: None, {}, ShapeError, "tensor"),
        ("poseflow", {}, ConfigError, "PosePosterior"),
        (Fixed(), {"n": 0}, ConfigError, "n: expected"),
        (Fixed(), {"batch_size": 0}, ConfigError, "batch_size"),
        (Fixed(), {"protocols": ("mjpje",)}, UnknownNameError, "pa_mpjpe"),
        (Fixed(), {"device": "abacus"}, ConfigError, "abacus"),
    ],
)
def test_bad_input_gets_a_sentence(sampler, options, error, word):
    with pytest.raises(error, match=word):
        evaluate(sampler, Frames(5), **({"n": 3} | QUIET | options))


def test_broken_data_is_refused():
    with pytest.raises(ConfigError, match="data set"):
        evaluate(Fixed(), Frames(0), n=3, **QUIET)
    broken = Frames(5)
    broken.poses[3, 2, 1] = float("nan")
    with pytest.raises(NotFiniteError):
        evaluate(Fixed(), broken, n=3, **QUIET)


def test_memory_does_not_grow_with_the_data():
    "6,000 frames × 500 hypotheses are 612 MB of poses; what is kept is a few numbers per frame."

    def few(d, n, generator):
        return d.truth[None] + torch.linspace(0, 0.1, n)[:, None, None, None]

    evaluate(few, Frames(64), n=500, protocols=("mpjpe",), **QUIET)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    hypothesis_curve(few, Frames(6000), counts=(1, 500), protocols=("mpjpe",), **QUIET)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250_000  # KiB


def test_summaries_are_means_of_rows(judged):
    table = summarise(judged, by=("action", "hard"), group_mean="average")
    pick = table[(table.metric == "cps") & (table.statistic == "best")]
    rows = judged[(judged.metric == "cps") & (judged.statistic == "best")]
    one = pick[(pick.action == "sit") & (pick.hard == True)]  # noqa: E712
    chosen = rows[(rows.action == "sit") & rows.hard]
    assert (
        len(one) == 1
        and one.value.iloc[0] == pytest.approx(chosen.value.mean())
        and one["count"].iloc[0] == len(chosen)
    )
    groups = pick[~pick.action.isin(["average", "all"])]
    assert pick[pick.action == "average"].value.iloc[0] == pytest.approx(groups.value.mean())
    assert pick[pick.action == "all"].value.iloc[0] == pytest.approx(rows.value.mean())
    with pytest.raises(UnknownNameError, match="column"):
        summarise(judged, by=("camera",))


@pytest.mark.parametrize("lower", (True, False))
@pytest.mark.parametrize("m", (1, 3, 8))
def test_expected_best_is_the_mean_over_all_subsets(m, lower):
    errors = torch.randn(8, 4, generator=make_generator(1))
    best = torch.amin if lower else torch.amax
    subsets = torch.stack([best(errors[list(chosen)], 0) for chosen in itertools.combinations(range(8), m)])
    assert torch.allclose(expected_best(errors, (m,), lower)[0], subsets.double().mean(0))


def test_expected_best_of_thousands_stays_exact():
    n, counts = 10_000, (1, 7, 500, 9_999, 10_000)
    got = expected_best(torch.arange(1.0, n + 1), counts)
    assert torch.allclose(got, (n + 1) / (torch.tensor(counts).double() + 1), rtol=1e-7)
    with pytest.raises(ConfigError, match="at most 5"):
        expected_best(torch.zeros(5), (6,))
    with pytest.raises(ConfigError):
        expected_best(torch.zeros(5), (0,))


def test_curve_agrees_with_evaluate_at_both_ends(judged):
    curve = hypothesis_curve(
        Fixed(), Frames(), counts=(1, 4, 9), protocols=("mpjpe", "cps"), batch_size=7, **QUIET
    ).set_index(["metric", "hypotheses"])
    for name in ("mpjpe", "cps"):
        assert curve.value[name, 9] == pytest.approx(values(judged, name, "best").mean(), rel=1e-4)
        assert curve.value[name, 1] == pytest.approx(values(judged, name, "mean").mean(), rel=1e-4)
    assert curve.value["mpjpe", 1] > curve.value["mpjpe", 4] > curve.value["mpjpe", 9] and (curve["sem"] > 0).all()
    with pytest.raises(ConfigError):
        hypothesis_curve(Fixed(), Frames(), counts=(), **QUIET)


def calibrated(width):
    def sample(detections, n, generator=None):
        middle = detections.truth - 0.05 * torch.randn(detections.truth.shape, generator=generator)
        return middle + 0.05 * width * torch.randn(n, *middle.shape, generator=generator)

    return sample


@pytest.mark.parametrize("width, low, high", [(1.0, 0.0, 0.03), (0.3, 0.25, 0.5), (3.0, 0.25, 0.5)])
def test_calibration_tells_honest_bold_and_timid_apart(width, low, high):
    frame = calibration(calibrated(width), Frames(240), n=40, **QUIET)
    whole = frame[frame.subset == "all"]
    assert low <= whole.error.iloc[0] <= high and set(frame.subset) == {"all", "hard", "easy"}
    assert width == 1 or (np.sign(whole.observed - whole.level) == np.sign(width - 1)).all()


def test_the_root_is_not_ranked():
    ranks = truth_ranks(calibrated(1.0), Frames(20), n=10, **QUIET)
    assert ranks.shape == (20, 16)
    joints = calibration(calibrated(1.0), Frames(20, labels=False), n=10, per_joint=True, **QUIET)
    assert set(joints.subset) == {"all"} and list(joints.joint.unique()) == list(H36M_17.joints[1:])


def inertia(points, centres):
    return torch.cdist(points.flatten(2).transpose(0, 1), centres.flatten(2).transpose(0, 1)).amin(-1).square().sum(-1)


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


def test_representatives_are_a_sampler():
    frame = evaluate(representatives(Fixed(), 40), Frames(6), n=5, protocols=("mpjpe",), **QUIET)
    plain = evaluate(Fixed(), Frames(6), n=40, protocols=("mpjpe",), **QUIET)
    assert values(frame, "mpjpe", "mean").mean() < values(plain, "mpjpe", "mean").mean()


class Seen(Evidence):
    "Detections in map pixels of 30 mm; the right wrist is uncertain along both axes, obliquely."

    def __init__(self, truth, number):
        super().__init__(truth, number)
        order = [3, 2, 1, 4, 5, 6, 0, 7, 8, 10, 16, 15, 14, 11, 12, 13]
        self.keypoints = truth[:, order, :2] / 0.03 + 32
        covariance = torch.eye(2).repeat(len(truth), 16, 1, 1)
        covariance[:, 10] = torch.tensor([[25.0, 12.0], [12.0, 9.0]])
        self.gaussians = SimpleNamespace(covariance=covariance)


def test_noise_baseline_has_the_fitted_covariance():
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


def test_noise_baseline_learns_depth_from_data():
    off = SimpleNamespace(mode=lambda d: d.truth + torch.tensor([0.0, 0.0, 0.06]) * (torch.arange(17) > 0)[:, None])
    assert noise_baseline(off, Frames(50), frames=20).depth_sigma == pytest.approx(0.06, rel=1e-4)
    for bad in (dict(), dict(depth_sigma=-1.0), dict(depth_sigma=float("nan"))):
        with pytest.raises(ConfigError, match="depth_sigma"):
            noise_baseline(off, **bad)


def test_the_detected_joint_of_every_pose_joint_has_its_name():
    "The noise of a joint comes from the detection of the same name; only the nose borrows the head's."
    words = {"R": "right_", "L": "left_"}
    special = {"Hip": "pelvis", "Spine": "thorax", "Thorax": "upper_neck", "Head": "head_top", "Neck/Nose": "head_top"}
    for name, detected in zip(H36M_17.joints, _DETECTED):
        expected = special.get(name) or words[name[0]] + name[1:].lower().replace("foot", "ankle")
        assert MPII_16.joints[detected] == expected


def test_hypotheses_drawn_once_give_the_same_numbers_as_drawing_again():
    kept = draw_hypotheses(Fixed(), Frames(), n=9, batch_size=5, **QUIET)
    judges = [
        lambda m: evaluate(m, Frames(), n=9, batch_size=7, **QUIET),
        lambda m: hypothesis_curve(m, Frames(), (1, 9), **QUIET),
        lambda m: calibration(m, Frames(), 9, **QUIET),
    ]
    for judge in judges * 2:
        wanted, found = judge(Fixed()), judge(kept)
        assert list(wanted.columns) == list(found.columns) and len(wanted) == len(found)
        for column in wanted.select_dtypes("number"):
            assert np.allclose(wanted[column], found[column], atol=1e-3), column
    with pytest.raises(ConfigError, match="9"):
        kept.at(torch.arange(2)).sample(Evidence(torch.zeros(2, 17, 3), torch.arange(2)), 4)


def test_only_models_that_read_heatmaps_get_them():
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
