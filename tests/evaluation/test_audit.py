"Audits of hypotheses whose faults are known, against plain computations."

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from probpose.core.batches import PoseBatch
from probpose.core.errors import ConfigError, ShapeError
from probpose.data import load
from probpose.evaluation.audit import audit_hypotheses, find_bone_range, fold_angles, name_uneven, rank_coordinates
from probpose.evaluation.evaluate import evaluate
from probpose.evaluation.hypothesis_files import Predictions, Truth, read_truth, save_truth
from probpose.evaluation.samplers import StoredHypotheses
from probpose.geometry.skeletons import H36M_17

QUIET = dict(device="cpu", progress=False)
WIDTH = torch.tensor([0.02, 0.03, 0.06])


@pytest.fixture(scope="module")
def frames():
    return load("synthetic", split="test", size=240)


def shake(middle, count, seed):
    noise = WIDTH * torch.randn(count, *middle.shape, generator=torch.Generator().manual_seed(seed))
    noise[:, :, 0] = 0
    return noise


@pytest.fixture(scope="module")
def truth(frames):
    "The truth is a draw around a known middle; labels make 24 people."
    poses = frames.poses + shake(frames.poses, 1, 5)[0]
    labels = {"subject": np.array([f"p{k % 24}" for k in range(240)]), "action": np.array(["a", "b", "c"] * 80)}
    return Truth(poses, labels)


@pytest.fixture(scope="module")
def predict(frames):
    "Predictions around the middle, `factor` times as wide as right."

    def make(factor=1.0, count=80, shift=(0.0, 0.0, 0.0)):
        noise = factor * shake(frames.poses, count, 6) + torch.tensor(shift)
        noise[:, :, 0] = 0
        return Predictions(frames.poses + noise, frames.poses, "the file's mode")

    return make


@pytest.fixture(scope="module")
def honest(predict, truth):
    return audit_hypotheses(predict(), truth, 300, **QUIET)


def select(table, **keys):
    for name, value in keys.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_honest_hypotheses_are_calibrated(honest):
    assert honest.verdict[0] == "calibrated within the bands"
    error = honest.calibration_error
    assert error["value"] < 0.02 and error["low"] <= error["value"] * 1.5 and error["by_chance"] < 0.02
    curve = honest.calibration
    assert ((curve.low <= curve.level) & (curve.level <= curve.high)).mean() > 0.8  # bands are pointwise
    inside = (honest.sides.low <= 0.1) & (0.1 <= honest.sides.high)
    assert inside.mean() > 0.8 and honest.about["bands_over"] == "24 people"
    assert np.allclose(honest.sides.groupby("axis").share.sum(), 1)


@pytest.mark.parametrize(
    "factor, verdict", [(0.3, "far too narrow"), (0.8, "too narrow"), (1.3, "too wide"), (3.0, "far too wide")]
)
def test_the_width_is_judged_in_the_right_direction_and_degree(predict, truth, honest, factor, verdict):
    found = audit_hypotheses(predict(factor), truth, 100, **QUIET)
    assert found.verdict[0] == verdict
    for name in ("energy_score", "crps"):
        assert select(found.scores, score=name).value > select(honest.scores, score=name).value
    assert found.calibration_error["value"] > 2 * honest.calibration_error["value"]


def test_a_bias_in_depth_shows_in_depth_alone(predict, truth):
    found = audit_hypotheses(predict(shift=(0.0, 0.0, 0.06)), truth, 60, **QUIET).sides
    first = found[found.bin == 0].set_index("axis").share
    assert first["z (depth)"] > 0.2 and abs(first["x (right)"] - 0.1) < 0.03 and abs(first["y (down)"] - 0.1) < 0.03


def test_accuracy_is_what_evaluate_measures(predict, truth, honest):
    class Data:
        poses, action = truth.poses, truth.labels["action"]

        def __len__(self):
            return len(self.poses)

        def to(self, device):
            return self

        def batch(self, index):
            return PoseBatch(index, self.poses[index])

    made = predict()
    table = evaluate(StoredHypotheses(None, made.poses, made.single), Data(), n=80, **QUIET)
    means = table.groupby(["metric", "statistic"], observed=True).value.mean()
    for row in honest.accuracy.itertuples():
        assert np.isclose(row.value, means[row.metric, row.statistic], rtol=1e-6) and row.low <= row.value <= row.high
    for name in ("energy_score", "crps"):
        assert np.isclose(select(honest.scores, score=name).value, means[name, "set"], rtol=1e-6)


def test_errors_in_plain_loops(predict, truth, honest):
    poses, true = predict().poses.double().numpy(), truth.poses.double().numpy()
    errors = 1000 * np.linalg.norm(poses - true, axis=-1).mean(-1)
    assert np.isclose(select(honest.accuracy, metric="mpjpe", statistic="best").value, errors.min(0).mean(), rtol=1e-5)
    line = honest.curve[honest.curve.metric == "mpjpe"].set_index("hypotheses").value
    assert list(line.index) == [1, 2, 5, 10, 20, 50, 80]
    assert np.isclose(line[1], errors.mean(), rtol=1e-5) and np.isclose(line[80], errors.min(0).mean(), rtol=1e-5)
    flat = 1000 * np.linalg.norm((poses.mean(0) - true).reshape(240, -1), axis=1).mean()
    row = select(honest.scores, score="energy_score")
    assert np.isclose(row.without_spread, flat, rtol=1e-4) and np.isclose(
        row.gain, 100 * (1 - row.value / flat), rtol=1e-4
    )
    ranks = np.zeros((240, 3))
    for n in range(240):
        for axis in range(3):
            ranks[n, axis] = (sum(poses[m, n, 6, axis] < true[n, 6, axis] for m in range(80)) + 0.5) / 81
    assert np.allclose(rank_coordinates(predict().poses[:, :, 6], truth.poses[:, 6]), ranks, atol=1e-6)


def test_coverage_in_plain_loops(predict, truth, honest):
    poses, true = predict().poses.double().numpy(), truth.poses.double().numpy()
    inside = []
    for n in range(240):
        middle = np.concatenate([poses[:, n, 13], true[None, n, 13]]).mean(0)
        far = np.linalg.norm(poses[:, n, 13] - middle, axis=1)
        inside.append((far < np.linalg.norm(true[n, 13] - middle)).mean() < 0.9)
    row = select(honest.coverage, joint=H36M_17.joints[13], level=0.9)
    assert abs(row.observed - np.mean(inside)) < 0.01 and row.low < row.observed < row.high


def test_joints_that_differ_behind_the_common_number(predict, truth):
    made = predict()
    poses, knee, head = made.poses.clone(), H36M_17.index("LKnee"), H36M_17.index("Head")
    for joint, factor in ((knee, 0.2), (head, 3.0)):
        middle = made.single[:, joint]
        poses[:, :, joint] = middle + factor * (poses[:, :, joint] - middle)
    found = audit_hypotheses(replace(made, poses=poses), truth, 60, **QUIET)
    said = [line for line in found.warnings if "Joints differ" in line]
    assert len(said) == 1 and said[0].index("narrow for LKnee") < said[0].index("wide for Head")
    assert name_uneven(found.coverage) == said[0]


def test_bodies_that_cannot_be(predict, truth):
    made = predict(0.05)
    poses = made.poses.clone()
    poses[::4] *= 2  # a quarter is too large
    found = audit_hypotheses(replace(made, poses=poses), truth, 40, **QUIET)
    measured = found.bodies.set_index("measure")
    low, high = find_bone_range(truth.poses)
    lengths = torch.stack([(poses[..., a, :] - poses[..., b, :]).norm(dim=-1) for a, b in H36M_17.bones], -1)
    human = ((lengths >= low) & (lengths <= high)).all(-1)
    assert np.isclose(measured.value["human_sized"], 100 * human.double().mean(), atol=1e-3)
    outside = ((lengths < low) | (lengths > high)).double().mean((0, 1))
    assert np.allclose(found.bones.outside, 100 * outside, atol=1e-3)
    assert measured.value["plausible"] <= measured.value["human_sized"] < 76
    straight = truth.poses.clone()
    for name in ("hip", "knee", "ankle"):
        straight[:, H36M_17.index(f"left_{name}")] = torch.tensor(
            [0.0, {"hip": 0.0, "knee": 0.4, "ankle": 0.8}[name], 0.0]
        )
    assert torch.allclose(fold_angles(straight)[:, 0], torch.tensor(180.0), atol=0.1)


def test_reprojection_knows_what_was_seen(frames, tmp_path):
    truth = read_truth(save_truth(frames, tmp_path / "t.npz"))
    right = Predictions(frames.poses[None].repeat(3, 1, 1, 1), frames.poses, "")
    turned = Predictions(right.poses * torch.tensor([-1.0, 1.0, 1.0]), frames.poses, "")
    good, bad = (audit_hypotheses(p, truth, 40, **QUIET).reprojection.set_index("measure") for p in (right, turned))
    assert np.isclose(good.value["reprojection"], good.truth["reprojection"], rtol=1e-4)
    assert bad.value["reprojection"] > 3 * bad.truth["reprojection"] and bad.value["consistent"] < 30
    assert np.isclose(good.value["consistent"], good.truth["consistent"])
    away = frames.camera.project(frames.poses + frames.root[:, None])
    seen = [H36M_17.landmarks.index(n) for n in ("pelvis", "right_ankle", "left_wrist")]
    keypoints = away.clone()
    keypoints[..., 0] += 7.0
    keypoints[:, [j for j in range(17) if j not in seen]] = torch.nan
    moved = replace(truth, keypoints=keypoints, keypoints_skeleton="h36m_17")
    shifted = audit_hypotheses(right, moved, 40, **QUIET).reprojection.set_index("measure")
    assert abs(shifted.value["reprojection_px"] - 7.0) < 0.7
    weak = audit_hypotheses(right, replace(truth, camera={}), 40, **QUIET).reprojection.set_index("measure")
    assert "reprojection_px" not in weak.index and weak.value["consistent"] > 80


def test_actions_have_rows_of_their_own(honest, truth):
    assert honest.actions.frames.tolist() == [80, 80, 80]
    rows = truth.labels["action"] == "b"
    row = select(honest.actions, action="b")
    assert np.isclose(row.mpjpe_best, honest.frames.mpjpe_best[rows].mean())


def test_one_pose_for_each_frame(predict, truth):
    found = audit_hypotheses(predict(count=1), truth, 40, **QUIET)
    assert found.scores is found.calibration is found.coverage is found.sides is None
    assert set(found.accuracy.statistic) == {"mean"} and "cannot" in found.verdict[1]
    json.dumps(found.to_dict(), allow_nan=False)


def test_equal_hypotheses_are_objected_to(predict, truth):
    made = predict()
    found = audit_hypotheses(replace(made, poses=made.poses[:1].repeat(30, 1, 1, 1)), truth, 40, **QUIET)
    assert any("are equal" in line for line in found.warnings) and found.verdict[0] == "far too narrow"
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["about"]["hypotheses"] == 30


def test_the_seed_is_that_of_the_bands(predict, truth, honest):
    again = audit_hypotheses(predict(), truth, 300, **QUIET)
    other = audit_hypotheses(predict(), truth, 300, seed=1, batch_size=17, **QUIET)
    assert again.to_dict() == honest.to_dict()
    assert np.allclose(other.accuracy.value, honest.accuracy.value, rtol=1e-5)
    assert not np.array_equal(other.accuracy.low, honest.accuracy.low)


def test_arguments_that_do_not_fit(predict, truth):
    with pytest.raises(ShapeError, match="match_rows"):
        audit_hypotheses(predict(), Truth(truth.poses[:5]), **QUIET)
    with pytest.raises(ConfigError, match="draws"):
        audit_hypotheses(predict(), truth, 3, **QUIET)


def test_two_thousand_frames_need_little_more_than_the_hypotheses(predict, truth):
    resource = pytest.importorskip("resource")
    poses = predict(count=200).poses.repeat(1, 9, 1, 1)[:, :2000].contiguous()
    many = Predictions(poses, poses.mean(0), "the mean of the hypotheses")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = audit_hypotheses(many, Truth(truth.poses.repeat(9, 1, 1)[:2000]), 100, **QUIET)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert found.about["frames"] == 2000 and grown < 2.5 * poses.numel() * 4
