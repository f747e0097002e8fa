"""Evidence from pictures: the heatmap detector, detectors of others, files, and how accurate all are."""

import dataclasses
import json
import math
import sys

import numpy as np
import pytest
import torch

from probpose.core.errors import (
    CheckpointError,
    ConfigError,
    DataFileError,
    DegeneratePoseError,
    NoPersonError,
    NotFiniteError,
    ShapeError,
    SkeletonError,
    UnknownNameError,
)
from probpose.core.storage import save_tensors
from probpose.evidence.fitting import fit_gaussians
from probpose.geometry.crops import Crop, crop_around, crop_box
from probpose.geometry.skeletons import COCO_17, MPII_16, POINTS, SMPL_24
from probpose.training.loop import train
from probpose.training.specs import TrainingConfig
from probpose.vision.accuracy import keypoint_pck, mass_calibration
from probpose.vision.detections import ImageDetections
from probpose.vision.hrnet import (
    HeatmapDetector,
    HeatmapDetectorConfig,
    PictureTransform,
    heatmap_targets,
    load_detector,
    mirrored_rotations,
)
from probpose.vision.images import crop_image, read_image
from probpose.vision.saved import SavedHeatmaps, read_crop_keypoints
from probpose.vision.vitpose import VitPoseDetector, square_maps

TINY = HeatmapDetectorConfig(
    input_size=64,
    stem_width=16,
    head_width=16,
    zoom=0.05,
    colour=0.05,
    noise=0.01,
    blur=0.0,
    erase=0.0,
    mirror=0.5,
    lr=4e-3,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Spots:
    "People of spots: every joint of them has a place, in cells of a map of half the picture's size, and a colour."

    fingerprint = "spots"

    def __init__(self, count=32, size=64, seed=0):
        self.keypoints = 3 + (size / 2 - 7) * torch.rand(count, 21, 2, generator=generator(seed))
        colours = torch.zeros(21, 3)
        colours[0], colours[1], colours[2] = torch.eye(3)  # nose, and two eyes that change places in the mirror
        drawn = heatmap_targets(self.keypoints * 2 + 0.5, size, 3.0)
        self.images = (255 * torch.einsum("njhw,jc->nhwc", drawn, colours).clamp(0, 1)).to(torch.uint8)

    def __len__(self):
        return len(self.images)

    def to(self, device):
        return self

    def batch(self, index):
        return {
            "images": self.images[index],
            "keypoints_true": 2 * self.keypoints[index] + 0.5,
            "rotations": torch.eye(3).expand(len(index), 22, 3, 3),
            "betas": torch.zeros(len(index), 11),
        }


@pytest.fixture(scope="module")
def detector():
    return HeatmapDetector(TINY)


def evidence(count=4, **more):
    return ImageDetections(
        torch.rand(count, 17, 2, generator=generator()) * 63,
        torch.full((count, 17), 0.5),
        features=torch.arange(2.0 * count).view(count, 2),
        box=torch.tensor([0.1, 0, 0.3]).expand(count, 3),
        **more,
    )


# evidence


@pytest.mark.parametrize("index", [slice(1, 3), torch.tensor([1, 2]), torch.tensor([False, True, True, False]), [1, 2]])
def test_indexing_carries_features_and_box(index):
    crop = Crop(torch.arange(8.0).view(4, 2), torch.ones(4))
    part = evidence(crop=crop)[index]
    assert (
        type(part) is ImageDetections
        and part.features.tolist() == [[2, 3], [4, 5]]
        and part.box.shape == (2, 3)
        and part.crop.centre.tolist() == [[2, 3], [4, 5]]
    )


def test_moving_and_fitting_keep_the_class():
    moved = evidence().to("cpu")._mapped(lambda tensor: tensor.double())
    assert (
        moved.features.dtype == torch.float64
        and type(moved.with_gaussians()) is ImageDetections
        and moved.with_gaussians().box is moved.box
    )
    assert evidence()[-1].features.tolist() == [[6, 7]] and evidence().hard.shape == (4,)


def test_from_heatmaps_reads_coco_maps():
    maps = heatmap_targets(torch.full((2, 17, 2), 20.0))
    seen = ImageDetections.from_heatmaps(maps)
    assert (
        type(seen) is ImageDetections
        and seen.skeleton == "coco_17"
        and (seen.keypoints == 20).all()
        and seen.features is None
    )


@pytest.mark.parametrize(
    "change, error, words",
    [
        (dict(features=torch.zeros(3, 2)), ShapeError, "features"),
        (dict(features=torch.zeros(4, 2, 2)), ShapeError, "features"),
        (dict(features=torch.zeros(4, 2, dtype=torch.long)), ShapeError, "floating-point"),
        (dict(features=[1.0]), ShapeError, "list"),
        (dict(features=torch.full((4, 2), math.inf)), NotFiniteError, "features"),
        (dict(box=torch.ones(4, 2)), ShapeError, r"\(4, 3\)"),
        (dict(box=torch.tensor([0.0, 0, -1]).expand(4, 3)), ConfigError, "positive"),
        (dict(box=torch.full((4, 3), math.nan)), NotFiniteError, "box"),
        (dict(skeleton="mpii_16"), ShapeError, "keypoints"),
    ],
)
def test_evidence_that_is_none(change, error, words):
    with pytest.raises(error, match=words):
        dataclasses.replace(evidence(), **change)


# pictures


@pytest.mark.parametrize("mode, colour", [("RGB", (10, 200, 30)), ("L", 90), ("RGBA", (10, 200, 30, 128)), ("P", 3)])
def test_pictures_of_all_kinds_become_rgb(tmp_path, mode, colour):
    from PIL import Image

    file = tmp_path / "a.png"
    Image.new(mode, (7, 5), colour).save(file)
    image = read_image(file)
    assert image.shape == (5, 7, 3) and image.dtype == torch.uint8 and (image == image[0, 0]).all()


def test_pictures_are_turned_upright(tmp_path):
    from PIL import Image

    file, image = tmp_path / "a.jpg", Image.new("RGB", (20, 10))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(file, exif=exif)
    assert read_image(file).shape == (20, 10, 3)


@pytest.mark.parametrize("content", [b"", b"no picture at all", None])
def test_unreadable_pictures(tmp_path, content):
    from PIL import Image

    file = tmp_path / "a.png"
    if content is None:
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(file)
        content = file.read_bytes()[:2000]
    file.write_bytes(content)
    with pytest.raises(DataFileError, match="picture"):
        read_image(file)


def test_a_missing_picture_and_a_folder(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(DataFileError, match="no such file"):
            read_image(path)


def test_crops_and_their_coordinates_agree():
    "A spot of the image appears where `Crop.to_map` says."
    size, at = (300, 240), torch.tensor([[130.3, 90.6]])
    spot = (
        (
            255
            * torch.exp(
                -0.5
                * (
                    ((torch.arange(240.0) + 0.5 - at[0, 1]) / 12)[:, None] ** 2
                    + ((torch.arange(300.0) + 0.5 - at[0, 0]) / 12) ** 2
                )
            )
        )
        .round()
        .to(torch.uint8)
    )
    for side, out in ((200.0, 256), (150.5, 64)):
        crop = Crop(torch.tensor([110.0, 100.0]), torch.tensor(side), out)
        picture = crop_image(spot[..., None].expand(*reversed(size), 3), crop.centre, side, out)[..., 0].float()
        middle = torch.stack([(picture.sum(axis) * torch.arange(float(out))).sum() / picture.sum() for axis in (0, 1)])
        assert (middle - crop.to_map(at)[0]).abs().max() < 0.15


def test_outside_is_black():
    crop = crop_image(torch.full((50, 50, 3), 200, dtype=torch.uint8), (50, 25), 50, 50)
    assert (crop[:, :25] == 200).all() and not crop[:, 25:].any()


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        (((200, 20), 40), ConfigError, "outside the image"),
        (((20, 20), 0), ConfigError, "positive side"),
        (((20, 20), -3), ConfigError, "positive side"),
        (((math.nan, 20), 40), NotFiniteError, "centre"),
        (((20, 20, 20), 40), ShapeError, "centre"),
        (((20, 20), 40, 0), ConfigError, "out"),
    ],
)
def test_crops_that_are_none(arguments, error, words):
    with pytest.raises(error, match=words):
        crop_image(torch.zeros(50, 50, 3, dtype=torch.uint8), *arguments)


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(50, 50, dtype=torch.uint8),
        torch.zeros(50, 50, 4, dtype=torch.uint8),
        torch.zeros(50, 50, 3),
        np.zeros((5, 5, 3), np.uint8),
    ],
)
def test_crops_of_what_is_no_image(image):
    with pytest.raises(ShapeError, match="image"):
        crop_image(image, (20, 20), 10)


def test_box_numbers_are_cliffs():
    points = torch.tensor([[400.0, 100.0], [500.0, 300.0]])
    assert torch.allclose(crop_box(points, (640, 480)), torch.tensor([130.0, -40.0, 250.0]) / 800)
    assert torch.allclose(crop_box(points, (640, 480), 1000.0), torch.tensor([0.13, -0.04, 0.25]))
    assert torch.equal(crop_box(crop_around(points), (640, 480)), crop_box(points, (640, 480))) and crop_box(
        points.expand(3, 2, 2), (640, 480)
    ).shape == (3, 3)
    for focal in (0.0, -5.0):
        with pytest.raises(ConfigError, match="focal"):
            crop_box(points, (640, 480), focal)
    with pytest.raises(ConfigError, match="outside the image"):
        crop_box(points + 2000, (640, 480))
    with pytest.raises(DegeneratePoseError):
        crop_box(points[:1].expand(2, 2), (640, 480))


# the network


def test_targets_are_bells_of_height_one():
    xy = torch.tensor([[20.0, 33.0], [10.4, 50.2]])
    fitted = fit_gaussians(heatmap_targets(xy, sigma=2.0))
    assert (
        torch.allclose(fitted.mean, xy, atol=1e-2)
        and torch.allclose(fitted.amplitude, torch.ones(2), atol=1e-3)
        and torch.allclose(fitted.sigma, torch.full((2, 2), 2.0), atol=1e-2)
    )
    assert not heatmap_targets(torch.tensor([[-1.0, 5.0], [5.0, 63.6], [1e6, 1e6]])).any()


def forward_kinematics(rotations, offsets, parents):
    "Joints `(22, 3)` of one body, joint by joint."
    world, places = [rotations[0]], [offsets[0]]
    for j in range(1, len(parents)):
        world.append(world[parents[j]] @ rotations[j])
        places.append(places[parents[j]] + world[parents[j]] @ offsets[j])
    return torch.stack(places)


def test_mirrored_rotations_move_joints_to_their_mirror_images():
    mirror, parents = list(SMPL_24.mirror_order[:22]), SMPL_24.parents[:22]
    offsets = torch.randn(22, 3, generator=generator(1))
    flip = torch.tensor([-1.0, 1.0, 1.0])
    offsets = (offsets + offsets[mirror] * flip) / 2  # a body of two equal halves
    rotations = torch.linalg.qr(torch.randn(22, 3, 3, generator=generator(2)))[0]
    rotations = rotations * torch.linalg.det(rotations)[:, None, None]
    wanted = forward_kinematics(rotations, offsets, parents)[mirror] * flip
    assert torch.allclose(forward_kinematics(mirrored_rotations(rotations), offsets, parents), wanted, atol=1e-5)
    assert torch.allclose(mirrored_rotations(mirrored_rotations(rotations)), rotations)


def test_mirrored_points_change_sides():
    still = PictureTransform(torch.ones(1), torch.zeros(1, 2), torch.tensor([True]))
    xy = torch.arange(42.0).view(1, 21, 2)
    went = still.keypoints(xy, 64)
    eyes = POINTS.index("left_eye"), POINTS.index("right_eye")
    assert torch.allclose(
        went[0, eyes[0]], torch.tensor([63 - xy[0, eyes[1], 0], xy[0, eyes[1], 1]])
    ) and torch.allclose(went[0, 17:, 0], 63 - xy[0, 17:, 0], atol=1e-4)


def test_one_step_is_determined_by_its_generator(detector):
    batch = Spots(4).batch(torch.arange(4))
    random = torch.random.get_rng_state()
    losses = [HeatmapDetector(TINY).training_step(batch, generator=generator(seed)) for seed in (0, 0, 1)]
    assert torch.equal(losses[0]["loss"], losses[1]["loss"]) and not torch.equal(losses[0]["loss"], losses[2]["loss"])
    assert set(losses[0]) == {"loss", "heatmaps", "auxiliary"} and torch.equal(random, torch.random.get_rng_state())
    assert 0.9 < losses[0]["heatmaps"].item() < 1.1  # nothing is answered yet


def test_gradients_reach_every_weight():
    detector = HeatmapDetector(TINY)
    detector.training_step(Spots(4).batch(torch.arange(4)), generator=generator())["loss"].backward()
    assert [name for name, p in detector.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_joints_outside_count_as_nothing():
    detector, batch = HeatmapDetector(dataclasses.replace(TINY, auxiliary=0.0)), Spots(4).batch(torch.arange(4))
    batch["keypoints_true"] = batch["keypoints_true"] + 1e4
    losses = detector.training_step({name: batch[name] for name in ("images", "keypoints_true")}, generator=generator())
    assert detector.auxiliary is None and set(losses) == {"loss", "heatmaps"} and losses["loss"] < 0.2


def test_training_finds_the_spots(tmp_path):
    data, detector = Spots(48), HeatmapDetector(dataclasses.replace(TINY, auxiliary=0.05))
    result = train(
        detector,
        data,
        TrainingConfig(iterations=40, batch_size=8, device="cpu", log_every=10, progress=False),
        tmp_path / "run",
    )
    fresh = Spots(16, seed=5)
    seen = detector.detect(fresh.images, skeleton="coco_17")
    nose = (seen.keypoints[:, 0] - fresh.keypoints[:, 0]).norm(dim=-1)
    assert nose.median() < 3 and seen.scores[:, 0].mean() > 2 * seen.scores[:, 5:].mean()
    assert result.log["main/heatmaps"].iloc[-1] < 0.95


def test_reading_is_independent_of_mode_chunks_and_form(detector):
    images = Spots(5).images
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
    assert maps.min() >= 0 and maps.max() <= 1 and not ((maps > 0) & (maps < TINY.floor)).any()
    large = images.repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert torch.allclose(detector.maps(large), maps, atol=1e-5)


def test_mpii_is_the_same_maps_in_another_order(detector):
    images = Spots(2).images
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


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match="timm.*pip install"):
        HeatmapDetector(TINY)


def test_the_default_is_small():
    detector = HeatmapDetector()
    assert sum(value.numel() for value in detector.inference_state().values()) < 3e6
    assert detector.config.map_size == 64 and detector.detect(
        torch.zeros(1, 256, 256, 3, dtype=torch.uint8)
    ).heatmaps.shape == (1, 17, 64, 64)


# weights


def test_saved_weights_give_the_same_maps(detector, tmp_path):
    images = Spots(3).images
    assert (
        load_detector(detector.save_pretrained(tmp_path / "exact", compact=False))
        .maps(images)
        .equal(detector.maps(images))
    )
    small = load_detector(detector.save_pretrained(tmp_path / "small", card="# Card"))
    assert (
        torch.allclose(small.maps(images), detector.maps(images), atol=2e-2)
        and small.config == TINY
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


# ViTPose


@pytest.fixture(scope="module")
def vitpose(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = transformers.VitPoseBackboneConfig(
            image_size=[256, 192], hidden_size=16, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=2
        )
        model = transformers.VitPoseForPoseEstimation(
            transformers.VitPoseConfig(backbone_config=backbone, num_labels=17)
        )
    folder = tmp_path_factory.mktemp("vitpose")
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("whole", [False, True])
def test_vitpose_gives_square_maps(vitpose, detector, whole):
    images = torch.randint(0, 256, (3, 256, 256, 3), dtype=torch.uint8, generator=generator())
    seen = VitPoseDetector(vitpose, features=detector, whole=whole, device="cpu").detect(
        images, box=torch.ones(3, 3), chunk=2
    )
    assert (
        seen.heatmaps.shape == (3, 17, 64, 64)
        and seen.skeleton == "coco_17"
        and seen.features.shape == (3, detector.feature_width)
        and seen.box is not None
    )
    if not whole:
        assert not seen.heatmaps[..., :7].any() and not seen.heatmaps[..., 57:].any()
    assert VitPoseDetector(vitpose, device="cpu").detect(images[0]).features is None


def test_vitpose_without_weights_or_package(vitpose, tmp_path, monkeypatch):
    for weights in (tmp_path / "none", tmp_path, "nobody/no-such-weights"):
        with pytest.raises(ConfigError, match="nothing is downloaded"):
            VitPoseDetector(weights)
    (tmp_path / "config.json").write_text((vitpose / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="ViTPose"):
        VitPoseDetector(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match="pip install"):
        VitPoseDetector(vitpose)
    with pytest.raises(UnknownNameError):
        VitPoseDetector.detect(object(), torch.zeros(1, 256, 256, 3, dtype=torch.uint8), skeleton="mpii_16")


# files


def people(count=3, width=48):
    return heatmap_targets(4 + (width - 9) * torch.rand(count, 17, 2, generator=generator()), 64)[..., :width]


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors", "single"])
@pytest.mark.parametrize("width", [48, 64])
def test_saved_maps_come_back(tmp_path, kind, width):
    from safetensors.torch import save_file

    maps, file = people(width=width), tmp_path / f"maps.{'npy' if kind == 'single' else kind}"
    if kind == "npz":
        np.savez(file, heatmaps=maps.numpy(), box=np.ones((3, 3)))
    elif kind == "safetensors":
        save_file({"heatmaps": maps.contiguous(), "box": torch.ones(3, 3)}, file)
    else:
        np.save(file, (maps[0] if kind == "single" else maps).numpy())
    saved = SavedHeatmaps(file)
    seen, pad = saved.detect(), (64 - width) // 2
    assert len(saved) == len(seen) == (1 if kind == "single" else 3) and (seen.box is not None) == (
        kind in ("npz", "safetensors")
    )
    assert (
        torch.allclose(seen.heatmaps[..., pad : 64 - pad], maps[: len(seen)], atol=1e-6)
        and not seen.heatmaps[..., :pad].any()
    )
    assert torch.allclose(seen.scores, maps[: len(seen)].amax((-1, -2)))


def test_saved_maps_with_features(tmp_path, detector):
    np.save(tmp_path / "maps.npy", people().numpy())
    saved = SavedHeatmaps(tmp_path / "maps.npy", features=detector)
    images = Spots(3).images
    assert torch.allclose(saved.detect(images, box=torch.ones(3, 3)).features, detector.features_of(images), atol=1e-5)
    with pytest.raises(ConfigError, match="one picture"):
        saved.detect(images[:2])


@pytest.mark.parametrize(
    "maps, error, words",
    [
        (people() * 0, NoPersonError, "an image without a person"),
        (torch.cat([people(2), people(1) * 0]), NoPersonError, "index 2"),
        (people()[:, :16], ShapeError, "17"),
        (people()[0, 0], ShapeError, "17"),
        (people() - 0.5, ConfigError, "negative"),
        (people() * 200, ConfigError, "divide"),
        ((people() * 255).to(torch.uint8), ShapeError, "255"),
        (torch.where(people() > 0.9, math.nan, people()), NotFiniteError, "heatmaps"),
        (people().mT.contiguous(), ShapeError, "axes"),
    ],
)
def test_saved_maps_that_are_none(tmp_path, maps, error, words):
    np.save(tmp_path / "maps.npy", maps.numpy())
    with pytest.raises(error, match=words):
        SavedHeatmaps(tmp_path / "maps.npy")


def test_slightly_negative_maps_are_clamped(tmp_path):
    np.save(tmp_path / "maps.npy", (people() - 1e-3).numpy())
    assert SavedHeatmaps(tmp_path / "maps.npy").maps.min() == 0


@pytest.mark.parametrize(
    "name", ["none.npy", "maps.txt", "bad.npy", "bad.npz", "bad.safetensors", "pickle.npy", "names.npz", "half.npz"]
)
def test_files_that_cannot_be_read(tmp_path, name):
    file = tmp_path / name
    if name == "maps.txt" or name.startswith("bad"):
        file.write_bytes(b"this is text")
    elif name == "pickle.npy":
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif name == "names.npz":
        np.savez(file, a=np.zeros(3), b=np.zeros(3))
    elif name == "half.npz":
        np.savez(file, heatmaps=people().numpy())
        file.write_bytes(file.read_bytes()[:5000])
    for reader in (SavedHeatmaps, read_crop_keypoints):
        with pytest.raises(DataFileError, match=str(file)):
            reader(file)


def rows(count=None, scores=True):
    xy = 100 + 80 * torch.rand(*((count,) if count else ()), 17, 2, generator=generator())
    return torch.cat([xy, torch.full_like(xy[..., :1], 0.7)], -1) if scores else xy


@pytest.mark.parametrize("write", ["rows", "npy", "flat", "record", "people", "no scores"])
def test_key_points_of_files(tmp_path, write):
    points = rows(scores=write != "no scores")
    content = {
        "rows": points.tolist(),
        "no scores": points.tolist(),
        "flat": points.flatten().tolist(),
        "record": {"keypoints": points.flatten().tolist(), "image_id": 3},
        "people": [{"keypoints": points.tolist()}] * 2,
    }
    file = tmp_path / ("points.npy" if write == "npy" else "points.json")
    np.save(file, points.numpy()) if write == "npy" else file.write_text(json.dumps(content[write]))
    seen = read_crop_keypoints(file, (400, 300), 500.0)
    assert len(seen) == (2 if write == "people" else 1) and seen.skeleton == "coco_17"
    assert torch.allclose(seen.crop.from_map(seen.keypoints)[0], points[:, :2], atol=1e-3)
    assert torch.allclose(seen.scores, torch.tensor(1.0 if write == "no scores" else 0.7)) and torch.allclose(
        seen.box[0], crop_box(points[:, :2], (400, 300), 500.0)
    )


def test_key_points_of_a_given_crop(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps(rows(2).tolist()))
    crop = Crop(torch.tensor([140.0, 140.0]), torch.tensor(128.0))
    seen = read_crop_keypoints(tmp_path / "p.json", (400, 300), crop=crop)
    assert torch.allclose(seen.keypoints, (rows(2)[..., :2] - 140) / 2 + 31.5, atol=1e-3) and seen.box.shape == (2, 3)


@pytest.mark.parametrize(
    "content, error, words",
    [
        ("{", DataFileError, "JSON"),
        ("3", ShapeError, "COCO-17"),
        ("[]", ShapeError, "COCO-17"),
        ('{"a": 1}', DataFileError, "keypoints"),
        ("[[1, 2], [3]]", DataFileError, "rows"),
        (json.dumps(rows()[:16].tolist()), ShapeError, "COCO-17"),
        (json.dumps((rows() * torch.tensor([1, 1, 2.5])).tolist()), ConfigError, "visibility"),
        (json.dumps((rows() * 0 + 1).tolist()), DegeneratePoseError, "coincide"),
        ("[" + ", ".join(["[NaN, 1, 1]"] * 17) + "]", NotFiniteError, "key points"),
        ('{"keypoints": null}', ShapeError, "COCO-17"),
    ],
)
def test_key_points_that_are_none(tmp_path, content, error, words):
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(error, match=words):
        read_crop_keypoints(tmp_path / "p.json")


# judgement


def test_pck_counts_by_joint_and_visibility():
    truth = torch.full((4, 17, 2), 30.0)
    found = truth + torch.tensor([3.5, 0.0])
    found[:, 0] = truth[:, 0] + 20
    truth[3] = 200.0  # outside the crop
    visible = torch.ones(4, 17, dtype=torch.bool)
    visible[0] = False
    table = keypoint_pck(ImageDetections(found, torch.ones(4, 17)), truth, visible, (0.05, 0.1)).set_index(
        ["subset", "joint", "threshold"]
    )
    assert table["count"]["all", "all", 0.05] == 51 and table["count"]["hidden", "nose", 0.1] == 1
    assert (
        table.pck["all", "nose", 0.1] == 0
        and table.pck["visible", "left_hip", 0.1] == 1
        and table.pck["all", "left_hip", 0.05] == 0
    )
    assert table.pck["all", "all", 0.1] == pytest.approx(16 / 17)


@pytest.mark.parametrize("width, sign", [(3.0, 0), (6.0, 1), (1.5, -1)])
def test_calibration_of_bells(width, sign):
    source = generator(2)
    centre = 20 + 24 * torch.rand(40, 17, 2, generator=source)
    truth = centre + 3 * torch.randn(centre.shape, generator=source)
    table = mass_calibration(heatmap_targets(centre, sigma=width), truth)
    gap = (table.observed - table.level).mean()
    assert abs(gap) < 0.03 if sign == 0 else sign * gap > 0.15
    assert (table.error < 0.04).all() == (sign == 0) and table.observed.is_monotonic_increasing


def test_a_sure_detector_is_calibrated_only_up_to_its_bell():
    truth = 20 + 24 * torch.rand(10, 17, 2, generator=generator())
    maps = heatmap_targets(truth, sigma=2.0)
    assert mass_calibration(maps, truth).error[0] > 0.3 and mass_calibration(maps, truth, sigma=2.0).error[0] < 0.01


def test_equal_heights_are_entered_together():
    "A flat map knows nothing: whatever the truth, a region of half the mass holds it half the time."
    truth = torch.zeros(1, 3, 2)
    table = mass_calibration(torch.ones(1, 3, 64, 64), truth)
    assert table.error[0] < 1e-5
    nothing = mass_calibration(torch.zeros(1, 3, 64, 64), truth)
    assert nothing["count"][0] == 0 and nothing.observed.isna().all()


def test_truth_where_the_map_is_zero_is_never_inside():
    maps = torch.zeros(1, 1, 64, 64)
    maps[..., 10, 10] = 1.0
    assert (mass_calibration(maps, torch.tensor([[[40.0, 40.0]]])).observed == 0).all()
    assert torch.allclose(
        torch.tensor(mass_calibration(maps, torch.tensor([[[10.0, 10.0]]])).observed.to_numpy()),
        torch.linspace(0.05, 0.95, 19).double(),
        atol=1e-6,
    )


@pytest.mark.parametrize(
    "change, error, words",
    [
        (dict(maps=torch.ones(2, 3, 64, 48)), ShapeError, "maps"),
        (dict(truth=torch.ones(2, 4, 2)), ShapeError, "truth"),
        (dict(truth=torch.full((2, 3, 2), math.nan)), NotFiniteError, "truth"),
        (dict(maps=torch.full((2, 3, 64, 64), math.nan)), NotFiniteError, "maps"),
        (dict(visible=torch.ones(2, 4, dtype=torch.bool)), ShapeError, "visible"),
        (dict(visible=torch.ones(2, 3)), ShapeError, "booleans"),
        (dict(levels=[0.5, 1.5]), ConfigError, "levels"),
        (dict(levels=[]), ConfigError, "levels"),
    ],
)
def test_calibration_of_what_is_none(change, error, words):
    with pytest.raises(error, match=words):
        mass_calibration(**(dict(maps=torch.ones(2, 3, 64, 64), truth=torch.ones(2, 3, 2)) | change))


def test_portraits_are_padded_where_they_belong():
    maps = torch.rand(2, 17, 64, 48, generator=generator())
    assert torch.equal(square_maps(maps)[..., 8:56], maps) and torch.allclose(
        square_maps(maps.repeat_interleave(2, -1).repeat_interleave(2, -2)).sum((-1, -2)), maps.sum((-1, -2)), rtol=1e-2
    )


@pytest.mark.parametrize(
    "arrays, error, words",
    [
        (
            dict(heatmaps=np.full((1, 17, 64, 64), 2.4e-4, np.float32), box=np.zeros((1, 3), np.float32)),
            ConfigError,
            "sum to one",
        ),
        (
            dict(heatmaps=np.full((2, 17, 64, 64), 0.5, np.float32), box=np.zeros((3,), np.float32)),
            ShapeError,
            "one for each",
        ),
    ],
)
def test_saved_maps_that_lost_something(tmp_path, arrays, error, words):
    np.savez(tmp_path / "maps.npz", **arrays)
    with pytest.raises(error, match=words):
        SavedHeatmaps(tmp_path / "maps.npz")


def test_key_points_are_counted_in_the_datas_cells():
    "A network of another resolution paints its bell at the same place of the picture."
    still = PictureTransform(torch.ones(1), torch.zeros(1, 2), torch.tensor([False]))
    middle = torch.full((1, 21, 2), 31.5)
    assert torch.allclose(still.keypoints(middle, 128), torch.full((1, 21, 2), 63.5)) and torch.allclose(
        still.keypoints(middle, 64), middle
    )
