"""The packaged detector and the packaged HuMR together: from pixels to bodies."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import probpose
from probpose.cli.app import app
from probpose.core.devices import make_generator
from probpose.data.detected import detect_all, load_rendered
from probpose.geometry.skeletons import COCO_17
from probpose.metrics.pose import mpjpe
from probpose.vision.by_name import load_crop_detector

pytest.importorskip("warp")


@pytest.fixture(scope="module")
def pictures():
    return load_rendered("synthetic", "test", 24)


@pytest.fixture(scope="module")
def evidence(pictures):
    return detect_all(pictures, load_crop_detector("blazepose"), cache=False).detections(torch.arange(24))


@pytest.fixture(scope="module")
def answer(evidence):
    return probpose.load("humr").hypotheses(evidence, 30, make_generator(0))


def test_hypotheses_belong_to_their_picture(answer, pictures):
    poses = answer.points("h36m_17")
    poses = poses - poses[:, :, :1]
    own, other = (mpjpe(poses, truth).amin(0).mean() for truth in (pictures.poses, pictures.poses.roll(1, 0)))
    assert own < 0.85 * other


def test_the_mode_projects_near_the_visible_joints(answer, pictures):
    far = (answer.to_map()[0] - pictures.keypoints_true[:, :17]).norm(dim=-1)[pictures.visible[:, :17]]
    assert far.median() < 64 / 12


def test_hypotheses_spread_where_the_detector_doubts(answer, evidence):
    joints = answer.points("coco_17") - answer.points("joints")[:, :, :1]
    limbs = torch.tensor(COCO_17.both_sides("elbow", "wrist", "knee", "ankle"))
    spread, scores = (joints - joints.mean(0)).norm(dim=-1).mean(0)[:, limbs], evidence.scores[:, limbs]
    assert spread[scores < 0.3].mean() > 1.3 * spread[scores > 0.5].mean()


def test_a_picture_becomes_meshes_with_what_is_packaged(pictures, tmp_path):
    pytest.importorskip("PIL.Image").fromarray(pictures.images[0].numpy()).save(tmp_path / "picture.png")
    done = CliRunner().invoke(
        app,
        [
            "mesh",
            str(tmp_path / "picture.png"),
            "--out",
            str(tmp_path / "bodies"),
            "--hypotheses",
            "3",
            "--device",
            "cpu",
        ],
    )
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "bodies/person_00.npz") as file:
        assert (
            file["rotations"].shape == (3, 22, 3, 3)
            and np.isfinite(file["log_prob"]).all()
            and file["translation"][..., 2].min() > 0
        )
    assert (tmp_path / "bodies/bodies.glb").stat().st_size > 1e5
