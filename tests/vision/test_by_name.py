"Detectors of heatmaps as detectors of people."

import pytest
import torch

from probpose.core.errors import ConfigError, UnknownNameError
from probpose.evidence.gaussians import Gaussians, render_gaussians
from probpose.geometry.crops import Crop
from probpose.vision.by_name import SavedPeople, VitPosePeople, load_people_detector
from probpose.vision.detections import image_detections
from probpose.vision.saved import SavedHeatmaps

BOXES = torch.tensor([[100.0, 50, 200, 250], [300.0, 60, 380, 240]])
IMAGE = torch.full((300, 400, 3), 128, dtype=torch.uint8)


def maps_of(joints, boxes=BOXES):
    "Heatmaps (B, 17, 64, 64) of joints (B, 17, 2) in pixels of the image, and their crops."
    crop = Crop((boxes[:, :2] + boxes[:, 2:]) / 2, 1.25 * (boxes[:, 2:] - boxes[:, :2]).amax(1))
    shape = joints.shape[:2]
    spread = torch.eye(2).expand(*shape, 2, 2) * 4
    bells = Gaussians(torch.full(shape, 0.7), crop.to_map(joints), spread, torch.ones(shape).bool(), torch.zeros(shape))
    return render_gaussians(bells, 64), crop


@pytest.fixture
def joints():
    generator = torch.Generator().manual_seed(0)
    return BOXES[:, None, :2] + torch.rand(2, 17, 2, generator=generator) * (BOXES[:, None, 2:] - BOXES[:, None, :2])


class FakeVitPose:
    "Draws maps of known joints instead of looking."

    def __init__(self, joints):
        self.joints, self.seen = joints, None

    def detect(self, images, crop):
        self.seen = images.shape
        maps, _ = maps_of(self.joints)
        return image_detections(maps, maps.amax((-1, -2)), None, None, crop, "coco_17")


def test_vitpose_on_given_boxes(joints):
    fake = FakeVitPose(joints)
    detector = VitPosePeople(fake)
    people = detector.detect(IMAGE, BOXES)
    assert fake.seen == (2, 256, 256, 3) and detector.detect(IMAGE, BOXES[:0]) == []
    for person, true, box in zip(people, joints, BOXES):
        assert (person.keypoints - true).norm(dim=-1).median() < 0.5 and torch.equal(person.box, box)
        assert ((person.scores - 0.7).abs() < 0.05).all()
    assert detector.evidence(people).skeleton == "mpii_16" and detector.twins(4) == [detector]


def test_vitpose_where_blazepose_finds_people(rendered):
    pytest.importorskip("ai_edge_litert")
    seen = VitPosePeople(FakeVitPose(torch.full((1, 17, 2), 200.0)))
    seen.vitpose.detect = lambda images, crop: image_detections(
        torch.rand(len(images), 17, 64, 64), None, None, None, crop, "coco_17"
    )
    assert len(seen.detect(rendered[0][0])) == 1 and seen.detect(IMAGE) == []


def test_joints_outside_of_the_picture_are_missing(joints):
    joints[1, 3] = torch.tensor([430.0, 100.0])
    people = VitPosePeople(FakeVitPose(joints)).detect(IMAGE, BOXES)
    assert people[1].missing.nonzero()[:, 0].tolist() == [3] and people[1].keypoints[3].isnan().all()


def test_saved_maps_go_with_rows_in_order(joints, tmp_path):
    import numpy as np

    np.save(tmp_path / "maps.npy", maps_of(joints)[0].numpy())
    detector = SavedPeople(SavedHeatmaps(tmp_path / "maps.npy"))
    found = [detector.detect(IMAGE, BOXES[row : row + 1])[0] for row in range(2)]
    for person, true in zip(found, joints):
        assert (person.keypoints - true).norm(dim=-1).median() < 0.5
    for wrong in (None, BOXES):
        with pytest.raises(ConfigError, match="maps"):
            detector.detect(IMAGE, wrong)
    for count, ordered, words in ((None, True, "--boxes"), (3, True, "as many"), (2, False, "order")):
        with pytest.raises(ConfigError, match=words):
            detector.check_boxes(count, ordered)
    detector.check_boxes(2, True)


@pytest.mark.parametrize("name", ["", "saved", "blazepose:x", "hrnet"])
def test_names_that_are_none(name):
    with pytest.raises(UnknownNameError, match="vitpose:FOLDER"):
        load_people_detector(name)
