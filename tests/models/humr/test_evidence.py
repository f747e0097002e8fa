"""HuMR: what is read off detections and batches, and what is refused."""

from dataclasses import replace

import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, DegeneratePoseError, NotFiniteError, ShapeError
from probpose.evidence.detections import Detections
from probpose.models.humr.config import HuMRConfig
from probpose.models.humr.evidence import condition_parts, pool_samples
from probpose.models.humr.model import HuMR
from probpose.vision.detections import ImageDetections


def test_a_pool_never_holds_a_discarded_value():
    maps = torch.zeros(1, 17, 64, 64)
    maps[0, :, 10:20, 10:20], maps[0, 0] = 0.04, 0.0
    maps[0, 1:, 30, 40], maps[0, 1:, 31, 40] = 0.6, 0.3
    pool = pool_samples(maps, 200, 0.05, make_generator(0))
    assert (pool["values"][0, :, 0] == 0).all() and (pool["values"][0, :, 1:] >= 0.05 * 255).all()
    share = (pool["pixels"][0, 1:, 1:, 1] == 30).float().mean()
    assert (pool["pixels"][0, 0, 1:] == torch.tensor([40, 30])).all() and abs(float(share) - 2 / 3) < 0.05


@pytest.mark.parametrize(
    "changes, error, words",
    [
        (dict(features=None), ConfigError, "use_features=False"),
        (dict(features=torch.zeros(5, 720)), ShapeError, "features=720"),
        (dict(features=torch.full((5, 240), float("nan"))), NotFiniteError, "features"),
        (dict(box=None), ConfigError, "use_box=False"),
        (dict(box=torch.zeros(5, 3)), ConfigError, "focal length"),
        (dict(box=torch.full((5, 3), float("inf"))), NotFiniteError, "box"),
        (dict(box=torch.ones(5, 4)), ShapeError, "box"),
        (dict(scores=torch.zeros(5, 17)), DegeneratePoseError, "person"),
    ],
)
def test_bad_detections(detections, changes, error, words, humr):
    model = humr()
    for call in (lambda d: model.sample(d, 2), lambda d: model.hypotheses(d, 2), model.mode):
        with pytest.raises(error, match=words):
            call(replace(detections, **changes))


def test_other_joint_sets_and_missing_maps(batch, detections, humr):
    with pytest.raises(ShapeError, match="coco_17"):
        humr().mode(Detections.from_keypoints(torch.rand(2, 16, 2) * 100))
    for model, call in (
        (humr(), lambda m, d: m.training_step(replace(batch, detections=d))),
        (humr(condition_embedding=True), lambda m, d: m.mode(d)),
    ):
        with pytest.raises(ConfigError, match="heatmaps"):
            call(model, replace(detections, heatmaps=None))


def test_bad_batches(batch, humr):
    model = humr()
    with pytest.raises(ConfigError, match="mask without a pixel"):
        model.features(replace(batch, masks=torch.zeros_like(batch.masks)))
    with pytest.raises(ShapeError, match="keypoints_true"):
        model.features(replace(batch, keypoints_true=batch.keypoints_true[:, :16]))
    with pytest.raises(ShapeError, match="rotations"):
        model.features(replace(batch, rotations=batch.rotations[:, :21]))
    with pytest.raises(NotFiniteError, match="keypoints_true"):
        model.features(replace(batch, keypoints_true=batch.keypoints_true * float("nan")))
    with pytest.raises(ConfigError, match="box"):
        humr(use_box=False).features(replace(batch, detections=replace(batch.detections, box=None)))
    with pytest.raises(ShapeError, match="rotations"):
        model.rotation_log_prob(batch.rotations[:2], batch.detections)
    with pytest.raises(ConfigError, match="whole number"):
        model.hypotheses(batch.detections, 0)


def as_images(detections, **changes):
    names = ("keypoints", "scores", "heatmaps", "skeleton", "features", "box")
    return ImageDetections(**{name: getattr(detections, name) for name in names} | changes)


def test_a_missing_joint_takes_no_part(batch, detections, humr):
    model, missing = humr(), torch.zeros(5, 17, dtype=torch.bool)
    missing[:, [9, 15]] = True
    elsewhere = torch.where(missing[..., None], torch.tensor([3.0, 60.0]), detections.keypoints)
    maps = detections.heatmaps.masked_fill(missing[..., None, None], 0.0)
    given = [as_images(detections, keypoints=xy, missing=missing) for xy in (detections.keypoints, elsewhere)]
    first, second = (model.hypotheses(each, 3, make_generator(0)) for each in given)
    assert torch.equal(first.rotations, second.rotations)
    whole = model.hypotheses(as_images(detections), 3, make_generator(0))
    assert not torch.equal(first.rotations, whole.rotations)
    pose2d = condition_parts(given[0], model.config)["pose2d"].view(5, 17, 3)
    assert (pose2d[missing] == 0).all() and (pose2d[~missing][:, 2] > 0).all()
    features = model.features(replace(batch, detections=replace(given[1], heatmaps=maps)))
    assert torch.equal(features["pose2d"].view(5, 17, 3), pose2d) and (features["values"][:, :, 9] == 0).all()
    assert model.training_step(features, generator=make_generator(1))["loss"].isfinite()


def test_nothing_changes_for_people_who_are_whole(detections, humr):
    model = humr()
    nobody_lost = as_images(detections, missing=torch.zeros(5, 17, dtype=torch.bool))
    assert torch.equal(model.mode(nobody_lost), model.mode(as_images(detections)))
    assert torch.equal(model.mode(nobody_lost), model.mode(detections)), "evidence that names no detector is taken"


def test_evidence_of_another_detector_is_refused(batch, detections, humr, tmp_path):
    model = humr()
    for name, taken in (("", True), ("open", True), ("blazepose", False)):
        seen = as_images(detections, detector=name)
        for call in (lambda d: model.hypotheses(d, 2), lambda d: model.features(replace(batch, detections=d))):
            if taken:
                call(seen)
            else:
                with pytest.raises(ConfigError, match="expected those of the detector 'open'.*'blazepose'"):
                    call(seen)
    blind = humr(use_features=False)
    assert blind.mode(as_images(detections, detector="blazepose")).isfinite().all(), "it reads no features"
    saved = HuMR(HuMRConfig.for_tier("smoke", detector="blazepose")).save_pretrained(tmp_path)
    assert HuMR.from_pretrained(saved).config.detector == "blazepose"


def test_weights_that_name_no_detector_are_the_open_ones(tmp_path):
    from probpose.core.storage import load_tensors, save_tensors

    file = HuMR(HuMRConfig.for_tier("smoke")).save_pretrained(tmp_path) / "model.safetensors"
    tensors, about = load_tensors(file)
    del about["config"]["detector"]
    save_tensors(file, tensors, about)
    assert HuMR.from_pretrained(tmp_path).config.detector == "open"
