"""What a detector says of rendered people, kept and handed on."""

import dataclasses

import pytest
import torch

from probpose.core.errors import ConfigError, DegeneratePoseError, NoPersonError, UnknownNameError
from probpose.data import detected
from probpose.data.detected import DetectedImages, detect_all, load_detected, load_rendered
from probpose.data.joined import JoinedPoses
from probpose.data.rendered import unpack_mask
from probpose.geometry.conversions import convert
from probpose.geometry.skeletons import H36M_17, MPII_16
from probpose.models.diffpose.config import diffpose_config
from probpose.models.diffpose.model import DiffPose
from probpose.models.humr.config import HuMRConfig
from probpose.models.humr.model import HuMR
from probpose.vision.crops import BlazePoseCrops
from probpose.vision.detections import CropAnswers
from probpose.vision.hrnet import HeatmapDetector, HeatmapDetectorConfig

pytest.importorskip("warp")


@pytest.fixture(scope="module")
def detector():
    return HeatmapDetector()


@pytest.fixture(scope="module")
def seen(detector, tmp_path_factory) -> DetectedImages:
    return detect_all(load_rendered("synthetic", "test", 5), detector, cache=False)


def test_images_of_several_worlds_are_one_to_learn_from(seen):
    both = JoinedPoses((seen[:2], seen[2:]))
    rows = torch.tensor([4, 0, 2, 1])
    joined, plain = both.batch(rows), seen.batch(rows)
    assert len(both) == 5 and joined.detections.heatmaps is not None
    for name in ("poses", "rotations", "betas", "keypoints_true", "masks", "object_occlusion"):
        assert torch.equal(getattr(joined, name), getattr(plain, name))
    for name in ("keypoints", "scores", "heatmaps", "features", "box"):
        assert torch.equal(getattr(joined.detections, name), getattr(plain.detections, name))
    assert both.batch(rows, heatmaps=False).detections.heatmaps is None
    model = HuMR(HuMRConfig.for_tier("smoke"))
    one, other = model.prepare(both), model.prepare(seen)
    assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in ("pose2d", "image", "pose6d", "kept"))
    assert one.fingerprint != other.fingerprint != JoinedPoses((seen[2:], seen[:2])).fingerprint


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


@pytest.fixture(scope="module")
def photographic():
    pytest.importorskip("ai_edge_litert")
    return BlazePoseCrops(threads=1)


def same(one: DetectedImages, other: DetectedImages) -> bool:
    names = ("maps", "features", "missing", "seen", "inner")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def test_blazepose_tells_more_and_is_kept(photographic, monkeypatch):
    rendered = load_rendered("synthetic", "test", 3)
    fresh, first = detect_all(rendered, photographic, cache=False), detect_all(rendered, photographic)
    direct = photographic.detect(rendered.images, box=rendered.box)
    monkeypatch.setattr(BlazePoseCrops, "look", lambda *_: pytest.fail("looked again"))
    again = detect_all(rendered, photographic)
    assert same(fresh, first) and same(first, again) and again.source == "blazepose" and again.maps.shape[1] == 17
    evidence = again.detections()
    assert (evidence.heatmaps - direct.heatmaps).abs().max() <= 0.5 / 255 + 1e-6
    assert evidence.detector == "blazepose" and torch.equal(evidence.features, direct.features)
    assert torch.equal(evidence.missing, direct.missing) and torch.equal(evidence.mask, direct.mask)
    assert (evidence.keypoints - direct.keypoints).norm(dim=-1).median() < 1 and torch.equal(evidence.box, rendered.box)
    part = again[[2, 0]]
    assert torch.equal(part.detections().mask, direct.mask[[2, 0]]) and torch.equal(part.inner, again.inner[[2, 0]])
    assert again.fingerprint not in (detect_all(rendered, HeatmapDetector(), cache=False).fingerprint, part.fingerprint)
    with pytest.raises(ConfigError, match="load_photographed"):
        again.poses_seen()


def test_the_mask_is_the_persons(photographic):
    rendered = load_rendered("synthetic", "test", 3)
    seen, true = detect_all(rendered, photographic).detections().mask, rendered.batch(torch.arange(3)).person
    overlap = (seen & true).flatten(1).sum(1) / (seen | true).flatten(1).sum(1)
    assert overlap.median() > 0.6


class Counting(HeatmapDetector):
    "Answers with what it has counted so far, and may stop working."

    def __init__(self, most=10**9, copies=None):
        super().__init__(HeatmapDetectorConfig(auxiliary=0.0))
        self.most, self.looked, self.copies = most, [], copies

    @property
    def fingerprint(self):
        return "counting"

    def look(self, images):
        if len(self.looked) == self.most:
            raise KeyboardInterrupt
        self.looked.append(len(images))
        return CropAnswers(torch.full((len(images), 17, 64, 64), images[0, 0, 0, 0] / 255), images.float().mean((1, 2)))

    def twins(self, count):
        return [self] if self.copies is None else self.copies[:count]


def test_an_interrupted_look_goes_on_with_what_is_left(monkeypatch, tmp_path):
    rendered = load_rendered("synthetic", "test", 5)
    monkeypatch.setattr(detected, "_SHARD", 2)
    monkeypatch.setenv("PROBPOSE_CACHE", str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        detect_all(rendered, Counting(2), workers=1)
    rest = Counting()
    whole = detect_all(rendered, rest, workers=1)
    assert rest.looked == [1] and torch.allclose(whole.features, rendered.images.float().mean((1, 2)))
    assert torch.equal(whole.maps[:, 0, 0, 0], rendered.images[[0, 0, 2, 2, 4], 0, 0, 0])
    (damaged,) = tmp_path.glob("detected/*/shard-00002.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:100])
    mended = Counting()
    assert torch.equal(detect_all(rendered, mended, workers=1).maps, whole.maps) and mended.looked == [1]


def test_twins_share_the_work(monkeypatch):
    monkeypatch.setattr(detected, "_SHARD", 2)
    rendered = load_rendered("synthetic", "test", 5)
    copies = [Counting(), Counting()]
    shared = detect_all(rendered, Counting(copies=copies), workers=2, cache=False)
    alone = detect_all(rendered, Counting(), workers=1, cache=False)
    assert torch.equal(shared.maps, alone.maps) and sum(map(sum, (copy.looked for copy in copies))) == 5
    with pytest.raises(ConfigError, match="workers"):
        detect_all(rendered, Counting(), workers=-1)


def test_twins_of_blazepose_give_the_same(photographic, monkeypatch):
    monkeypatch.setattr(detected, "_SHARD", 2)
    rendered = load_rendered("synthetic", "test", 3)
    shared = detect_all(rendered, photographic, cache=False, workers=2)
    assert same(shared, detect_all(rendered, photographic, cache=False, workers=1))


def test_whoever_is_not_found_is_left_out_of_tests_alone(monkeypatch):
    class Blind(Counting):
        def look(self, images):
            answers = super().look(images)
            answers.maps[0] = 0
            return answers

    monkeypatch.setattr(detected, "load_crop_detector", lambda name: Blind())
    test, train = (load_detected("synthetic", split, 3, detector="blind") for split in ("test", "train"))
    assert len(test) == 2 and len(train) == 3 and train.found.tolist() == [False, True, True]
    assert torch.equal(test.rendered.betas, load_rendered("synthetic", "test", 3).betas[1:])
    humr = HuMR(HuMRConfig.for_tier("smoke", features=3))
    assert humr.prepare(train).tensors["kept"].tolist()[0] is False
    with pytest.raises(DegeneratePoseError, match="crop 0"):
        humr.mode(train.detections())
    with pytest.raises(DegeneratePoseError, match="nobody"):
        humr.prepare(train[:1])
    monkeypatch.setattr(
        Counting, "look", lambda self, images: CropAnswers(torch.zeros(len(images), 17, 64, 64), images)
    )
    monkeypatch.setattr(Blind, "fingerprint", "blind")
    with pytest.raises(NoPersonError, match="people whom open finds, got 3 pictures"):
        load_detected("synthetic", "test", 3, detector="blind")


def test_models_refuse_the_evidence_of_another_detector(photographic):
    data = detect_all(load_rendered("synthetic", "test", 3), photographic)
    own = HuMR(HuMRConfig.for_tier("smoke", detector="blazepose"))
    loss = own.training_step(data.batch(torch.arange(3)), generator=torch.Generator().manual_seed(0))["loss"]
    assert loss.isfinite() and own.hypotheses(data.detections(), 2).points().shape == (2, 3, 17, 3)
    for settings in ({}, {"features": data.features.shape[1]}):
        other = HuMR(HuMRConfig.for_tier("smoke", **settings))
        for call in (other.mode, lambda _: other.prepare(data)):
            with pytest.raises(ConfigError, match="'open'.*'blazepose'"):
                call(data.detections())
    with pytest.raises(UnknownNameError, match="blazepose"):
        load_detected("synthetic", "test", 3, detector="vitpose")
