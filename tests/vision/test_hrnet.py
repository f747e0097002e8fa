"""The heatmap detector: training, reading pictures, keeping weights."""

import dataclasses
import math
import sys

import pytest
import torch

from probpose.core.batches import PoseBatch
from probpose.core.devices import make_generator
from probpose.core.errors import (
    CheckpointError,
    ConfigError,
    NotFiniteError,
    ShapeError,
    SkeletonError,
    UnknownNameError,
)
from probpose.core.storage import save_tensors
from probpose.geometry.skeletons import COCO_17, MPII_16, POINTS
from probpose.training.loop import train
from probpose.training.specs import TrainingConfig
from probpose.vision.hrnet import HeatmapDetector, HeatmapDetectorConfig, load_detector


def test_one_step_is_determined_by_its_generator(detector, spots, tiny):
    batch = spots(4).batch(torch.arange(4))
    random = torch.random.get_rng_state()
    losses = [HeatmapDetector(tiny).training_step(batch, generator=make_generator(seed)) for seed in (0, 0, 1)]
    assert torch.equal(losses[0]["loss"], losses[1]["loss"]) and not torch.equal(losses[0]["loss"], losses[2]["loss"])
    assert set(losses[0]) == {"loss", "heatmaps", "auxiliary"} and torch.equal(random, torch.random.get_rng_state())
    assert 0.9 < losses[0]["heatmaps"].item() < 1.1  # nothing is answered yet


def test_gradients_reach_every_weight(spots, tiny, detector):
    detector = HeatmapDetector(tiny)
    detector.training_step(spots(4).batch(torch.arange(4)), generator=make_generator(0))["loss"].backward()
    assert [name for name, p in detector.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_joints_outside_count_as_nothing(spots, tiny, detector):
    detector, batch = HeatmapDetector(dataclasses.replace(tiny, auxiliary=0.0)), spots(4).batch(torch.arange(4))
    outside = PoseBatch(images=batch.images, keypoints_true=batch.keypoints_true + 1e4)
    losses = detector.training_step(outside, generator=make_generator(0))
    assert detector.auxiliary is None and set(losses) == {"loss", "heatmaps"} and losses["loss"] < 0.2


def test_training_finds_the_spots(tmp_path, spots, tiny, detector):
    data, detector = spots(48), HeatmapDetector(dataclasses.replace(tiny, auxiliary=0.05))
    result = train(
        detector,
        data,
        TrainingConfig(iterations=40, batch_size=8, device="cpu", log_every=10, progress=False),
        tmp_path / "run",
    )
    fresh = spots(16, seed=5)
    seen = detector.detect(fresh.images, skeleton="coco_17")
    nose = (seen.keypoints[:, 0] - fresh.keypoints[:, 0]).norm(dim=-1)
    assert nose.median() < 3 and seen.scores[:, 0].mean() > 2 * seen.scores[:, 5:].mean()
    assert result.log["main/heatmaps"].iloc[-1] < 0.95


def test_reading_is_independent_of_mode_chunks_and_form(detector, spots, tiny):
    images = spots(5).images
    detector.train()
    seen = detector.detect(images, box=torch.ones(5, 3), chunk=2)
    assert (
        detector.training
        and not seen.heatmaps.requires_grad
        and seen.heatmaps.shape == (5, 17, 32, 32)
        and seen.map_size == 32
        and seen.box.shape == (5, 3)
    )
    detector.eval()
    floats = images.permute(0, 3, 1, 2) / 255.0
    assert torch.allclose(detector.maps(floats), detector.maps(images), atol=1e-5) and torch.allclose(
        detector.features_of(images), seen.features, atol=1e-5
    )
    assert seen.features.shape == (5, detector.feature_width) and detector.detect(images[0]).keypoints.shape == (
        1,
        17,
        2,
    )
    maps = detector.maps(images)
    assert maps.min() >= 0 and maps.max() <= 1 and not ((maps > 0) & (maps < tiny.floor)).any()
    large = images.repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert torch.allclose(detector.maps(large), maps, atol=1e-5)


def test_mpii_is_the_same_maps_in_another_order(detector, spots):
    images = spots(2).images
    maps, seen = detector.maps(images), detector.detect(images, skeleton="mpii_16")
    for k, name in enumerate(MPII_16.joints):
        assert torch.allclose(seen.heatmaps[:, k], maps[:, POINTS.index(name)], atol=1e-6)
    assert POINTS[:17] == COCO_17.joints
    with pytest.raises(SkeletonError, match="h36m_17"):
        detector.detect(images, skeleton="h36m_17")


@pytest.mark.parametrize(
    "images, error, words",
    [
        (torch.zeros(2, 64, 48, 3, dtype=torch.uint8), ShapeError, "square"),
        (torch.zeros(2, 100, 100, 3, dtype=torch.uint8), ShapeError, "multiple of 64"),
        (torch.zeros(2, 3, 64, 64, dtype=torch.uint8), ShapeError, "square"),
        (torch.zeros(2, 64, 64, 3), ShapeError, "square"),
        (torch.zeros(2, 3, 64, 64, dtype=torch.long), ShapeError, "int64"),
        (torch.full((1, 3, 64, 64), 255.0), ConfigError, "divide by 255"),
        (torch.full((1, 3, 64, 64), math.nan), NotFiniteError, "images"),
        ("a.png", ShapeError, "str"),
        (torch.zeros(64, dtype=torch.uint8), ShapeError, "square"),
    ],
)
def test_images_that_are_none(detector, images, error, words):
    with pytest.raises(error, match=words):
        detector.detect(images)


@pytest.mark.parametrize(
    "change",
    [
        dict(input_size=70),
        dict(sigma=0.0),
        dict(lr=-1.0),
        dict(blocks=0),
        dict(mirror=1.5),
        dict(auxiliary=-1),
        dict(floor=2),
        dict(zoom=math.nan),
        dict(stem_width=2.5),
    ],
)
def test_settings_outside_their_range(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        HeatmapDetectorConfig(**change)


def test_an_unknown_architecture():
    with pytest.raises(UnknownNameError, match="hrnet_w18_small"):
        HeatmapDetector(HeatmapDetectorConfig(architecture="resnet50"))


def test_without_timm(monkeypatch, tiny):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match="timm.*pip install"):
        HeatmapDetector(tiny)


def test_the_default_is_small(detector):
    detector = HeatmapDetector()
    assert sum(value.numel() for value in detector.inference_state().values()) < 3e6
    assert detector.config.map_size == 64 and detector.detect(
        torch.zeros(1, 256, 256, 3, dtype=torch.uint8)
    ).heatmaps.shape == (1, 17, 64, 64)


def test_saved_weights_give_the_same_maps(detector, tmp_path, spots, tiny):
    images = spots(3).images
    assert (
        load_detector(detector.save_pretrained(tmp_path / "exact", compact=False))
        .maps(images)
        .equal(detector.maps(images))
    )
    small = load_detector(detector.save_pretrained(tmp_path / "small", card="# Card"))
    assert (
        torch.allclose(small.maps(images), detector.maps(images), atol=2e-2)
        and small.config == tiny
        and not small.training
    )
    assert (tmp_path / "small" / "README.md").read_text() == "# Card"
    assert (tmp_path / "small" / "detector.safetensors").stat().st_size < 0.6 * (
        tmp_path / "exact" / "detector.safetensors"
    ).stat().st_size


def test_weights_that_are_none(detector, tmp_path):
    with pytest.raises(UnknownNameError, match="detector.safetensors"):
        load_detector(tmp_path)
    file = detector.save_pretrained(tmp_path) / "detector.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError):
        load_detector(tmp_path)
    for about in ({}, {"config": {"architecture": "hrnet_w18_small"}}, {"config": {"blocks": 3}}):
        save_tensors(file, {"a": torch.zeros(1)}, about)
        with pytest.raises(CheckpointError):
            load_detector(tmp_path)
