"Protocols against plain loops over frames and hypotheses."

import numpy as np
import pytest
import torch

from probpose.evaluation.protocols import PROTOCOLS
from probpose.geometry.alignment import procrustes_svd
from probpose.geometry.skeletons import CPS_JOINTS, PCK_JOINTS_14
from probpose.metrics.pose import symmetry_error


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


@pytest.mark.parametrize("name", PROTOCOLS)
def test_rows_equal_plain_loops(evaluated, name, Frames, Fixed, values):
    data, model = Frames(), Fixed().eval()
    detections = data.batch(torch.arange(24)).detections
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
            assert values(evaluated, name, statistic)[i] == pytest.approx(value, rel=1e-3, abs=2e-2 + doubtful), (
                name,
                statistic,
            )
