"""BlazePose on square crops: evidence for models of bodies."""

import math
import sys

import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, NoPersonError, NotFiniteError, ShapeError, UnknownNameError
from probpose.geometry.crops import Crop, crop_around, crop_box
from probpose.geometry.skeletons import BLAZEPOSE_33, COCO_17, MPII_16
from probpose.models.humr.config import FEATURE_WIDTHS
from probpose.vision.blazepose import BlazePose
from probpose.vision.by_name import load_crop_detector
from probpose.vision.crops import WIDTHS, BlazePoseCrops, at_depth
from probpose.vision.images import crop_image, read_image

SIZE = 512


@pytest.fixture(scope="module")
def detector():
    pytest.importorskip("ai_edge_litert")
    return BlazePoseCrops()


@pytest.fixture(scope="module")
def crops(rendered):
    "Crops (2, 256, 256, 3) of the two people, where they lie, and COCO's joints (2, 17, 2) in cells of their maps."
    images, true = rendered
    crop = crop_around(true)
    pictures = [crop_image(image, centre, float(side)) for image, centre, side in zip(images, crop.centre, crop.size)]
    return torch.stack(pictures), crop, crop.to_map(true)


def test_joints_lie_where_they_are(detector, crops):
    pictures, crop, true = crops
    seen = detector.detect(pictures, box=crop_box(crop, (SIZE, SIZE)), crop=crop)
    error = (seen.keypoints - true).norm(dim=-1)
    assert seen.skeleton == "coco_17" and seen.detector == "blazepose" and seen.heatmaps.shape == (2, 17, 64, 64)
    assert error.median() < 1.5 and error.max() < 6 and seen.found.all() and seen.scores.median() > 0.6
    assert torch.equal(seen.scores, seen.heatmaps.amax((-1, -2))) and 0 <= seen.heatmaps.min()
    assert seen.features.shape == (2, detector.feature_width) and seen.mask.shape == (2, 256, 256)
    cells = seen.keypoints[:, 5:].round().long() * 4 + 2  # from the shoulders down
    inside = seen.mask[torch.arange(2)[:, None], cells[..., 1], cells[..., 0]]
    assert inside.float().mean() > 0.8 and 0.05 < seen.mask.float().mean() < 0.5


def test_maps_are_those_of_the_joints_of_the_same_name(detector, crops):
    reader, picture = BlazePose(), crops[0][0]
    people = reader.detect(picture, torch.tensor([[0.0, 0, 256, 256]]))
    (person,), seen = reader.follow(picture, people), detector.detect(picture)
    for k, name in enumerate(COCO_17.joints):
        raw, shown = person.heatmaps[BLAZEPOSE_33.index(name)], seen.heatmaps[0, k]
        cell = (raw == raw.max()).nonzero()[0].flip(0)  # of the region, which may be turned
        place = person.to_image[:, :2] @ ((cell + 0.5) * 4) + person.to_image[:, 2]
        assert (place / 4 - 0.5 - seen.keypoints[0, k]).norm() < 2.5
        if name not in MPII_16.joints:  # not calibrated: only resampled
            assert 0.9 * raw.max() < shown.max() <= raw.max()


def test_a_crop_is_seen_the_same_alone_and_among_others(detector, crops):
    together = detector.look(crops[0])
    for row in (1, 0):
        alone = detector.look(crops[0][row : row + 1])
        for name in ("maps", "features", "missing", "mask", "inner"):
            assert torch.equal(getattr(alone, name)[0], getattr(together, name)[row])


def test_features_are_those_of_one_depth(detector, crops):
    seen = detector.look(crops[0])
    assert torch.equal(seen.features, at_depth(seen.inner, "middle+world")) and torch.equal(
        seen.features, detector.features_of(crops[0])
    )
    assert torch.equal(torch.cat([at_depth(seen.inner, depth) for depth in WIDTHS], 1), seen.inner)
    reader = BlazePose()
    first = reader.detect(crops[0][0], torch.tensor([[0.0, 0, 256, 256]]))
    (person,) = reader.follow(crops[0][0], first)
    assert torch.equal(at_depth(seen.inner, "world")[0].view(33, 3), person.world)  # of the region that fits
    assert (seen.features[0] - seen.features[1]).abs().max() > 1e-3
    with pytest.raises(UnknownNameError, match="middle"):
        at_depth(seen.inner, "deepest")


def test_bytes_floats_and_other_sizes(detector, crops):
    pictures = crops[0]
    seen = detector.detect(pictures)
    floats = detector.detect(pictures.permute(0, 3, 1, 2) / 255.0)
    assert torch.equal(floats.features, seen.features) and torch.equal(floats.heatmaps, seen.heatmaps)
    large = detector.detect(pictures.repeat_interleave(3, 1).repeat_interleave(3, 2))
    assert (large.keypoints - seen.keypoints).norm(dim=-1).median() < 1
    for side in (1, 7, 32):  # pixels
        tiny = detector.detect(pictures[:, :side, :side])
        assert tiny.features.isfinite().all() and tiny.heatmaps.isfinite().all()


def test_sixteen_bits(detector, crops, tmp_path):
    image = pytest.importorskip("PIL.Image")
    grey = crops[0][0].float().mean(-1).round()
    image.fromarray((grey * 257).to(torch.int32).numpy().astype("uint16")).save(tmp_path / "grey.png")
    picture = read_image(tmp_path / "grey.png")
    assert torch.equal(picture, grey.to(torch.uint8)[..., None].expand(-1, -1, 3))
    assert detector.detect(picture).found.sum() >= 15


def test_joints_outside_the_crop_are_missing(detector, crops):
    pictures, _, true = crops
    hips, knees = (4 * float(true[0, rows, 1].mean()) for rows in ([11, 12], [13, 14]))
    cut = int(hips + knees) // 4 * 2  # an even number of rows
    seen = detector.detect(pictures[0, :cut, 128 - cut // 2 : 128 + cut // 2])
    assert seen.missing[0, 15:].all() and seen.missing[0, 13:].sum() >= 3 and not seen.missing[0, :11].any()
    lost = seen.missing[0]
    assert (seen.scores[0, lost] == 0).all() and (seen.keypoints[0, lost] == 31.5).all()
    assert seen.heatmaps[0, lost].abs().max() == 0 and (seen.scores[0, ~lost] > 0).all()


def test_people_are_found_in_a_picture(detector, rendered):
    images, true = rendered
    both = torch.cat([images[0][:, 100:-100], images[1][:, 100:-100]], 1)
    joints = torch.stack([true[0] - torch.tensor([100.0, 0]), true[1] + torch.tensor([SIZE - 300.0, 0])])
    seen = detector.find(both, focal=700.0)
    order = seen.crop.centre[:, 0].argsort()
    places = seen.crop.from_map(seen.keypoints)[order]
    side = (joints.amax(1) - joints.amin(1)).amax(-1)
    assert len(seen) == 2 and ((places - joints).norm(dim=-1).median(1).values < 0.04 * side).all()
    assert torch.allclose(seen.box, crop_box(seen.crop, (both.shape[1], both.shape[0]), 700.0))
    assert seen.features.shape == (2, detector.feature_width) and seen.mask.shape == (2, 256, 256)


def test_given_squares_take_the_place_of_the_search(detector, crops, rendered, monkeypatch):
    monkeypatch.setattr(BlazePose, "find_people", lambda *_: pytest.fail("searched"))
    pictures, crop, _ = crops
    seen, direct = detector.find(rendered[0][0], crop[:1]), detector.detect(pictures[:1])
    assert torch.equal(seen.heatmaps, direct.heatmaps) and torch.equal(seen.features, direct.features)
    assert seen.box[0, 2] == pytest.approx(float(crop.size[0]) / math.hypot(SIZE, SIZE))
    with pytest.raises(ConfigError, match="outside the image"):
        detector.find(rendered[0][0], Crop(torch.tensor([[5000.0, 0]]), torch.tensor([100.0])))
    with pytest.raises(ConfigError, match="focal"):
        detector.find(rendered[0][0], crop[:1], focal=0.0)


def test_nobody(detector, crops):
    assert detector.look(crops[0]).sure.all()
    grey = torch.full((300, 200, 3), 128, dtype=torch.uint8)
    with pytest.raises(NoPersonError, match="200×300"):
        detector.find(grey)
    with pytest.raises(NoPersonError, match="nobody"):
        detector.find(grey, Crop(torch.tensor([[100.0, 150]]), torch.tensor([100.0])))
    seen = detector.detect(grey[:200])
    assert not detector.look(grey[:200]).sure.any() and (seen.scores < 0.5).all() and seen.features.isfinite().all()


def test_beyond_the_edge_of_the_image_is_missing(detector, rendered):
    image, true = rendered[0][0], rendered[1][0]
    cut = int((true[[11, 12], 1].mean() + true[[13, 14], 1].mean()) / 2)
    found = detector.find(image[:cut])
    given = detector.find(image[:cut], crop_around(true[None]))
    for seen in (found, given):
        assert len(seen) == 1 and seen.missing[0, 13:].all() and not seen.missing[0, :11].any()
        places = seen.crop.from_map(seen.keypoints)[0, ~seen.missing[0]]
        assert places[:, 1].max() < cut and torch.equal(seen.heatmaps.amax((-1, -2)) == 0, seen.missing)


@pytest.mark.parametrize(
    "images, error, words",
    [
        (torch.zeros(2, 64, 48, 3, dtype=torch.uint8), ShapeError, "square"),
        (torch.zeros(2, 3, 64, 64, dtype=torch.uint8), ShapeError, "square"),
        (torch.zeros(0, 64, 64, 3, dtype=torch.uint8), ShapeError, "at least one"),
        (torch.zeros(2, 64, 64, 3, dtype=torch.int16), ShapeError, "int16"),
        (torch.full((1, 3, 64, 64), 255.0), ConfigError, "divide by 255"),
        (torch.full((1, 3, 64, 64), math.nan), NotFiniteError, "images"),
        ("a.png", ShapeError, "str"),
    ],
)
def test_images_that_are_none(detector, images, error, words):
    with pytest.raises(error, match=words):
        detector.detect(images)
    with pytest.raises(UnknownNameError, match="coco_17"):
        detector.detect(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), skeleton="mpii_16")


def test_by_name(detector, monkeypatch):
    assert {name: load_crop_detector(name).feature_width for name in FEATURE_WIDTHS} == FEATURE_WIDTHS
    assert load_crop_detector("blazepose").fingerprint == detector.fingerprint == detector.twins(1)[0].fingerprint
    assert detector.to("cpu") is detector
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ConfigError, match=r"probpose\[photo\]"):
        load_crop_detector("blazepose")


def test_noise_is_seen_without_harm(detector):
    noise = torch.randint(0, 256, (2, 64, 64, 3), generator=make_generator(0)).to(torch.uint8)
    seen = detector.detect(noise)
    assert seen.heatmaps.isfinite().all() and (seen.scores[seen.missing] == 0).all()
