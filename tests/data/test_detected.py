"""What a detector says of rendered people, kept and handed on."""

import dataclasses

import pytest
import torch

from probpose.core.errors import ConfigError, UnknownNameError
from probpose.data.detected import DetectedImages, detect_all, load_rendered
from probpose.data.rendered import unpack_mask
from probpose.geometry.conversions import convert
from probpose.geometry.skeletons import H36M_17, MPII_16
from probpose.models.diffpose.config import diffpose_config
from probpose.models.diffpose.model import DiffPose
from probpose.models.humr.config import HuMRConfig
from probpose.models.humr.model import HuMR
from probpose.vision.hrnet import HeatmapDetector, HeatmapDetectorConfig

pytest.importorskip("warp")


@pytest.fixture(scope="module")
def detector():
    return HeatmapDetector()


@pytest.fixture(scope="module")
def seen(detector, tmp_path_factory) -> DetectedImages:
    return detect_all(load_rendered("synthetic", "test", 5), detector, cache=False)


def test_splits_and_seeds_differ():
    one, other = load_rendered("synthetic", "train", 3), load_rendered("synthetic", "test", 3)
    assert one.fingerprint != other.fingerprint and not set(one.subject) & set(other.subject)
    assert load_rendered("synthetic", "test", 3).fingerprint == other.fingerprint
    assert load_rendered("synthetic", "test", 3, seed=1).fingerprint != other.fingerprint


def test_the_answer_is_kept_and_belongs_to_the_weights(detector, monkeypatch):
    rendered = load_rendered("synthetic", "test", 5)
    first = detect_all(rendered, detector)
    monkeypatch.setattr(HeatmapDetector, "read", lambda *a: pytest.fail("looked again"))
    again = detect_all(rendered, detector)
    assert torch.equal(first.maps, again.maps) and torch.equal(first.features, again.features)
    with torch.no_grad():
        next(detector.parameters()).add_(1e-3)
    with pytest.raises(pytest.fail.Exception):
        detect_all(rendered, detector)
    with torch.no_grad():
        next(detector.parameters()).sub_(1e-3)


def test_rows(seen):
    part = seen[torch.tensor([3, 0])]
    assert (
        torch.equal(part.maps, seen.maps[[3, 0]])
        and torch.equal(part.rendered.betas, seen.rendered.betas[[3, 0]])
        and len(part.action) == 2
    )
    batch, single = seen.batch(torch.tensor([2])), seen.detections(2)
    assert torch.equal(batch.detections.heatmaps, single.heatmaps)
    assert torch.equal(batch.masks, unpack_mask(seen.rendered.mask[[2]])) and batch.masks.any()
    assert seen.batch(torch.tensor([2]), heatmaps=False).detections.heatmaps is None


def test_mpii_joints_are_those_of_the_body(seen):
    poses = seen.poses_seen()
    image = poses.camera.project(poses.poses + poses.root[:, None])
    assert (poses.crop.to_map(convert(image, H36M_17, MPII_16)) - poses.keypoints_true).abs().max() < 0.05


def test_models_of_poses_and_of_bodies_take_it(seen):
    lit = DetectedImages(
        seen.rendered,
        (seen.maps.float() * 0 + torch.randint(0, 255, seen.maps.shape, generator=torch.Generator().manual_seed(0))).to(
            torch.uint8
        ),
        seen.features,
    )
    poses = lit.poses_seen()
    diffpose = DiffPose(diffpose_config("smoke"))
    assert diffpose.sample(poses.batch(torch.arange(2), heatmaps=True).detections, 2).shape == (2, 2, 17, 3)
    humr = HuMR(HuMRConfig.for_tier("smoke"))
    loss = humr.training_step(lit.batch(torch.arange(3)), generator=torch.Generator().manual_seed(0))["loss"]
    assert torch.isfinite(loss) and humr.hypotheses(lit.detections(), 3).points().shape == (3, 5, 17, 3)
    assert len(humr.prepare(lit)) == 5


def test_bad_arguments(detector):
    with pytest.raises(UnknownNameError, match="synthetic"):
        load_rendered("coco", "test", 3)
    with pytest.raises(ConfigError, match="size"):
        load_rendered("synthetic", "test", 0)
    with pytest.raises(ConfigError, match="chunk"):
        detect_all(load_rendered("synthetic", "test", 3), detector, chunk=0, cache=False)


def test_maps_of_another_size_are_refused():
    with pytest.raises(ConfigError, match="64 cells"):
        detect_all(
            load_rendered("synthetic", "test", 3), HeatmapDetector(HeatmapDetectorConfig(input_size=64)), cache=False
        )


def test_other_pictures_are_looked_at_anew(detector):
    data = load_rendered("synthetic", "test", 3)
    first, darker = (detect_all(part, detector) for part in (data, dataclasses.replace(data, images=data.images // 3)))
    assert not torch.equal(first.maps, darker.maps)
