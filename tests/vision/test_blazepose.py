"""BlazePose on pictures that the library renders itself."""

import hashlib
import sys
from pathlib import Path

import pytest
import torch

import probpose
from probpose.core.errors import ConfigError, NotFiniteError, ShapeError
from probpose.geometry.conversions import convert
from probpose.geometry.skeletons import BLAZEPOSE_33
from probpose.vision.blazepose import INNER, BlazePose, cut_region, detections_of, read_person, square_regions

SIZE = 512
FOLDER = Path(probpose.__file__).parent / "weights" / "blazepose"


@pytest.fixture(scope="module")
def blazepose():
    pytest.importorskip("ai_edge_litert")
    return BlazePose()


def errors(person, true):
    "Distances (17,) from COCO's joints as a share of the person's longer side."
    found = convert(person.keypoints, "blazepose_33", "coco_17")
    return (found - true).norm(dim=-1) / (true.amax(0) - true.amin(0)).amax()


def test_the_files_are_those_of_the_notice():
    notice = (FOLDER / "NOTICE").read_text()
    for file in sorted(FOLDER.glob("*.tflite")):
        assert f"{file.stat().st_size} bytes, SHA-256 {hashlib.sha256(file.read_bytes()).hexdigest()}" in notice
    assert "Apache License" in (FOLDER / "LICENSE").read_text() and (FOLDER / "README.md").is_file()


def test_a_rendered_person_is_found(blazepose, rendered):
    for image, true in zip(*rendered):
        (person,) = blazepose.detect(image)
        error = errors(person, true)
        assert error.median() < 0.04 and error.max() < 0.1
        assert not person.missing.any() and person.presence > 0.9 and person.scores.median() > 0.7
        assert person.heatmaps.shape == (33, 64, 64) and 0 <= person.heatmaps.min() < person.heatmaps.max() <= 1
        low, high = person.box.view(2, 2)
        assert ((person.keypoints >= low) & (person.keypoints <= high)).all()


def test_the_mask_lies_on_the_person(blazepose, rendered):
    for image in rendered[0]:
        (person,) = blazepose.detect(image)
        shown = (cut_region(image, person.to_image) - cut_region(image, person.to_image)[:4].mean((0, 1))).norm(dim=-1)
        overlap = ((person.mask > 0.5) & (shown > 0.05)).sum() / ((person.mask > 0.5) | (shown > 0.05)).sum()
        assert person.mask.shape == (256, 256) and overlap > 0.7


def test_metres_and_depths_follow_the_picture(blazepose, rendered):
    (person,) = blazepose.detect(rendered[0][0])
    left, right = (BLAZEPOSE_33.index(f"{side}_shoulder") for side in ("left", "right"))
    ankles = person.world[[BLAZEPOSE_33.index(f"{side}_ankle") for side in ("left", "right")], 1]
    assert 0.2 < (person.world[left] - person.world[right]).norm() < 0.5 and (ankles > 0.6).all()
    tall = person.keypoints[:, 1].max() - person.keypoints[:, 1].min()
    assert (person.depth.abs() < tall).all()


@pytest.mark.parametrize("angle", [30.0, -30.0, 90.0])
def test_turned_pictures_give_turned_points(blazepose, rendered, angle):
    image, true = rendered[0][0], rendered[1][0]
    turn = torch.tensor([angle]).deg2rad()
    (region,) = square_regions(torch.tensor([[SIZE / 2, SIZE / 2]]), torch.tensor([1.4 * SIZE]), turn)
    turned = (cut_region(image, region, SIZE) * 255).round().to(torch.uint8)
    inverse = torch.linalg.inv(region[:, :2])
    (person,) = blazepose.detect(turned)
    assert errors(person, (true - region[:, 2]) @ inverse.T * (SIZE / 256)).median() < 0.05
    (upright,) = blazepose.detect(image)
    heights = [each.world[:, 1] - each.world[:, 1].mean() for each in (person, upright)]
    linear = region[:, :2] / region[:, 0].norm()
    back = (person.world[:, :2] @ linear.T)[:, 1]
    assert (back - back.mean() - heights[1]).abs().median() < 0.1


def test_mirrored_pictures_exchange_left_and_right(blazepose, rendered):
    for image in rendered[0]:
        (person,), (mirrored,) = blazepose.detect(image), blazepose.detect(image.flip(1))
        back = mirrored.keypoints[list(BLAZEPOSE_33.mirror_order)] * torch.tensor([-1.0, 1]) + torch.tensor([SIZE, 0.0])
        assert ((back - person.keypoints).norm(dim=-1) / SIZE).median() < 0.02


def test_two_people_side_by_side(blazepose, rendered):
    images, true = rendered
    both = torch.cat([images[0][:, 100:-100], images[1][:, 100:-100]], 1)
    people = sorted(blazepose.detect(both), key=lambda person: float(person.box[0]))
    assert len(people) == 2
    for number, person in enumerate(people):
        assert errors(person, true[number] - torch.tensor([100.0 - number * (SIZE - 200), 0])).median() < 0.05
    assert len(BlazePose(most=1).detect(both)) == 1


def test_further_levels_find_small_people(blazepose, rendered):
    images, true = rendered
    (region,) = square_regions(torch.tensor([[SIZE / 2, SIZE / 2]]), torch.tensor([float(SIZE)]))
    small = (cut_region(images[1], region, 160) * 255).round().to(torch.uint8)
    scene = images[0][:, :1, :1].expand(SIZE, SIZE + 200, 3).clone()
    scene[:, :SIZE], scene[200:360, SIZE + 20 : SIZE + 180] = images[0], small
    low, high = torch.tensor([SIZE + 20.0, 200]), 160 / SIZE
    assert len(blazepose.detect(scene)) == 1
    people = BlazePose(levels=2).detect(scene)
    for joints in (true[0], true[1] * high + low):
        assert min(float(errors(person, joints).median()) for person in people) < 0.05


def test_nobody(blazepose):
    for size in ((300, 200), (1, 1), (2, 700)):
        grey = torch.full((*size, 3), 128, dtype=torch.uint8)
        assert blazepose.detect(grey) == [] and blazepose.find_people(grey).shape == (0, 2, 3)
    with pytest.raises(ConfigError, match="at least one"):
        detections_of([])


def test_boxes_take_the_place_of_the_search(blazepose, rendered):
    image, true = rendered[0][0], rendered[1][0]
    box = torch.cat([true.amin(0) - 10, true.amax(0) + 10])
    (person,) = blazepose.detect(image, box[None])
    assert errors(person, true).median() < 0.04 and torch.equal(person.box, box)
    people = blazepose.detect(image, torch.stack([torch.tensor([0.0, 0, 40, 40]), box.round()]).long())
    assert people[0].presence < 0.5 < people[1].presence
    assert blazepose.detect(image, torch.zeros(0, 4)) == []


@pytest.mark.parametrize(
    "boxes, error, words",
    [
        ([[0.0, 0, float("nan"), 10]], NotFiniteError, "boxes"),
        ([[0.0, 0, 10]], ShapeError, "corners"),
        ([0.0, 0, 10, 10], ShapeError, "corners"),
        ([[30.0, 0, 10, 10]], ConfigError, "x0 < x1"),
        ([[900.0, 0, 1000, 10]], ConfigError, "touch the image"),
    ],
)
def test_boxes_that_are_none(blazepose, boxes, error, words):
    with pytest.raises(error, match=words):
        blazepose.detect(torch.zeros(64, 64, 3, dtype=torch.uint8), torch.tensor(boxes))


@pytest.mark.parametrize(
    "image", [torch.zeros(64, 64, 3), torch.zeros(64, 64, dtype=torch.uint8), torch.zeros(0, 64, 3, dtype=torch.uint8)]
)
def test_what_is_no_picture(blazepose, image):
    for ask in (blazepose.detect, blazepose.find_people):
        with pytest.raises(ShapeError, match="image"):
            ask(image)


def test_without_litert(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ConfigError, match=r"probpose\[photo\]"):
        BlazePose()


def test_settings_that_are_none():
    for settings in ({"least_score": 1.5}, {"most": 0}, {"levels": 0}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            BlazePose(**settings)


def test_what_is_cut_off_is_missing(blazepose, rendered):
    image, true = rendered[0][0], rendered[1][0]
    cut = image[: int(true[[13, 14], 1].min() + true[[11, 12], 1].max()) // 2]
    (person,) = blazepose.detect(cut)
    legs = [BLAZEPOSE_33.index(f"{side}_{part}") for side in ("left", "right") for part in ("knee", "ankle", "heel")]
    trunk = [BLAZEPOSE_33.index(f"{side}_{part}") for side in ("left", "right") for part in ("shoulder", "hip")]
    assert person.missing[legs].all() and person.keypoints[legs].isnan().all() and not person.missing[trunk].any()
    for heatmaps in (False, True):
        found = detections_of([person], heatmaps)
        assert found.missing[0, [0, 1, 4, 5]].all() and found.missing.sum() == 4


def test_joints_beyond_the_edge_are_missing():
    joints = torch.zeros(39, 5)
    joints[:, :2], joints[:, 3:] = 128.0, 9.0
    joints[0, 0], joints[1, 1], joints[2, 4], joints[3, 3] = -1.0, 300.0, -1.0, -1.0
    (region,) = square_regions(torch.tensor([[50.0, 40.0]]), torch.tensor([100.0]))
    maps = torch.zeros(64, 64, 39), torch.zeros(256, 256)
    person = read_person(joints, torch.zeros(39, 3), *maps, 1.0, region, (100, 80))
    assert person.missing.nonzero()[:, 0].tolist() == [0, 1, 2] and 0.2 < person.scores[3] < 0.3
    assert person.keypoints[3].tolist() == [50, 40]


def test_evidence_by_both_roads(blazepose, rendered):
    images, true = rendered
    people = [blazepose.detect(image)[0] for image in images]
    points, maps = detections_of(people), detections_of(people, heatmaps=True)
    assert points.skeleton == maps.skeleton == "mpii_16" and points.heatmaps is None
    assert maps.heatmaps.shape == (2, 16, 64, 64) and torch.equal(points.crop.size, maps.crop.size)
    assert (points.keypoints - maps.keypoints).norm(dim=-1).median() < 1.5
    limbs = list(range(6)) + list(range(10, 16))
    seen = maps.crop.to_map(convert(true, "coco_17", "mpii_16", approximate=True))
    assert (maps.with_gaussians().gaussians.mean - seen).norm(dim=-1)[:, limbs].median() < 2.5
    model = probpose.load("poseflow")
    for found in (points, maps):
        assert model.sample(found, 3).isfinite().all()


def test_people_are_followed_without_a_search(blazepose, rendered, monkeypatch):
    (person,) = blazepose.detect(rendered[0][0])
    moved = rendered[0][0].roll(12, 1)
    monkeypatch.setattr(BlazePose, "find_people", lambda *_: pytest.fail("searched"))
    (followed,) = blazepose.follow(moved, [person])
    assert errors(followed, rendered[1][0] + torch.tensor([12.0, 0])).median() < 0.03
    assert blazepose.follow(torch.full_like(moved, 128), [person]) == blazepose.follow(moved, []) == []


def test_evidence_of_several_people_is_that_of_each(blazepose, rendered):
    people = [blazepose.detect(image)[0] for image in rendered[0]]
    whole = blazepose.evidence(people, heatmaps=True)
    for row, person in enumerate(people):
        assert (whole.heatmaps[row] - detections_of([person], True).heatmaps[0]).abs().max() < 1e-4


def test_twins_give_the_same(blazepose, rendered):
    for twin in blazepose.twins(2):
        (mine,), (other,) = blazepose.detect(rendered[0][0]), twin.detect(rendered[0][0])
        assert (mine.keypoints - other.keypoints).abs().nan_to_num().max() < 0.05


def test_large_pictures(blazepose, rendered):
    image, true = rendered[0][0], rendered[1][0]
    large = image.repeat_interleave(8, 0).repeat_interleave(8, 1)
    (person,) = blazepose.detect(large)
    assert errors(person, true * 8).median() < 0.04


def test_features_only_where_asked_for(blazepose, rendered):
    asked = BlazePose(features=True)
    for image in rendered[0]:
        (plain,), (told,) = blazepose.detect(image), asked.detect(image)
        assert plain.features is None and told.features.shape == (sum(width for _, width in INNER.values()),)
        assert torch.equal(plain.keypoints, told.keypoints) and torch.equal(plain.heatmaps, told.heatmaps)
    alone = asked.twins(1)[0].detect(rendered[0][1])[0].features
    assert torch.allclose(alone, told.features, atol=1e-4) and told.features.isfinite().all()
