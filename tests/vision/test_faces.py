"Faces in pictures: found where they are, and gone afterwards."

import pytest
import torch

from probpose.core.errors import ConfigError, ShapeError
from probpose.geometry.skeletons import COCO_17
from probpose.vision.blazepose import BlazePose
from probpose.vision.faces import blur_background, blur_faces, face_circles
from probpose.vision.people import SeenPerson

FACE = [COCO_17.index(name) for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear")]


def detail(image, inside):
    "Mean difference of neighbouring pixels within a part of a picture."
    steps = (image[:, 1:].float() - image[:, :-1].float()).abs().mean(-1)
    return float(steps[inside[:, 1:] & inside[:, :-1]].mean())


def disc(shape, circle):
    rows, columns = torch.arange(shape[0]) + 0.5 - circle[1], torch.arange(shape[1]) + 0.5 - circle[0]
    return (rows[:, None].square() + columns.square()).sqrt() <= circle[2]


def test_a_face_is_found_and_loses_its_detail(rendered):
    pytest.importorskip("ai_edge_litert")
    images, joints = rendered
    finder = BlazePose()
    for image, true in zip(images, joints):
        people = finder.detect(image)
        circle = face_circles(people)[0]
        assert ((true[FACE] - circle[:2]).norm(dim=-1) < 0.8 * circle[2]).all(), "with a margin"
        head = disc(image.shape, circle)
        grain = torch.randint(-40, 41, image.shape, generator=torch.Generator().manual_seed(0))
        noisy = (image.int() + grain).clamp(0, 255).to(torch.uint8)
        shown = blur_faces(noisy, people)
        assert detail(shown, head) < 0.1 * detail(noisy, head)
        assert torch.equal(shown[~head], noisy[~head]) and detail(noisy, head) > 10
        assert (shown[head].float().mean(0) - noisy[head].float().mean(0)).abs().max() < 25, "colours stay"


def test_two_faces_with_the_same_means_look_the_same():
    "Nothing but sixteen colours is left, so that nothing can be sharpened again."
    points = torch.full((17, 2), torch.nan)
    points[:5] = torch.tensor([[64.0, 64], [60, 60], [68, 60], [50, 64], [78, 64]])
    person = SeenPerson(points, torch.ones(17), torch.tensor([30.0, 40, 100, 128]))
    circle = face_circles([person], "coco_17")[0]
    face = torch.randint(60, 190, (128, 128, 1), generator=torch.Generator().manual_seed(1)).expand(-1, -1, 3)
    ripple = torch.tensor([30, -30]).repeat(64)[None, :, None] * disc(face.shape, circle)[..., None]
    first, second = (blur_faces((face + sign * ripple).to(torch.uint8), [person], "coco_17") for sign in (1, -1))
    inside = disc(face.shape, circle)
    assert (first.int() - second.int()).abs()[inside].max() <= 6


def test_who_turns_away_is_covered_by_the_shoulders():
    points = torch.full((17, 2), torch.nan)
    points[5:7] = torch.tensor([[40.0, 60], [80, 60]])
    person = SeenPerson(points, torch.ones(17), torch.tensor([30.0, 30, 90, 180]))
    x, y, radius = face_circles([person], "coco_17")[0].tolist()
    assert (x, y) == (60, 60) and radius >= 36 and disc((200, 100), (x, y, radius))[30, 60]
    unknown = SeenPerson(torch.full((17, 2), torch.nan), torch.zeros(17), person.box)
    assert disc((200, 100), face_circles([unknown], "coco_17")[0])[31:179, 31:89].all(), "all of the box"


def test_faces_at_the_edge_and_none_at_all():
    picture = torch.randint(0, 256, (40, 30, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    points = torch.full((17, 2), torch.nan)
    points[:3] = torch.tensor([[1.0, 1], [0.5, 0.5], [2, 0.5]])
    person = SeenPerson(points, torch.ones(17), torch.tensor([0.0, 0, 20, 30]))
    before = picture.clone()
    assert not torch.equal(blur_faces(picture, [person], "coco_17")[:2, :2], picture[:2, :2])
    assert torch.equal(blur_faces(picture, []), picture) and torch.equal(picture, before)


@pytest.mark.parametrize("margin", [0.5, float("nan")])
def test_too_small_a_margin_is_refused(margin):
    with pytest.raises(ConfigError, match="at least 1"):
        blur_faces(torch.zeros(8, 8, 3, dtype=torch.uint8), [], margin=margin)


def test_what_is_no_picture_or_mask_is_refused():
    picture = torch.zeros(8, 8, 3, dtype=torch.uint8)
    with pytest.raises(ShapeError, match="image"):
        blur_faces(picture.float(), [])
    for mask in (torch.zeros(8, 8), torch.zeros(4, 8, dtype=torch.bool)):
        with pytest.raises(ShapeError, match="mask"):
            blur_background(picture, mask)
    with pytest.raises(ConfigError, match="cells"):
        blur_background(picture, torch.zeros(8, 8, dtype=torch.bool), cells=0)


def test_only_what_is_masked_keeps_detail():
    picture = torch.randint(0, 256, (64, 96, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    mask = torch.zeros(64, 96, dtype=torch.bool)
    mask[10:40, 20:60] = True
    shown = blur_background(picture, mask)
    assert torch.equal(shown[mask], picture[mask]) and detail(shown, ~mask) < 0.1 * detail(picture, ~mask)
