"People keep their numbers from frame to frame."

import pytest
import torch

from probpose.core.errors import ConfigError
from probpose.vision.people import PeopleDetector, SeenPerson
from probpose.vision.tracking import BoxTracker, PeopleTracker


def box(x, y=0.0, width=50.0, height=100.0):
    return torch.tensor([x, y, x + width, y + height])


def test_the_best_overlap_over_all_people_together():
    "Alone, the first person would take the other's number."
    tracker = BoxTracker(0.1)
    assert tracker.number(torch.stack([box(0), box(40)])) == [0, 1]
    assert tracker.number(torch.stack([box(25), box(60)])) == [0, 1]
    assert tracker.number(torch.stack([box(62), box(27)])) == [1, 0]


def test_a_gap_is_allowed_and_a_longer_absence_is_not():
    for away, number in ((0, 0), (3, 0), (4, 1)):
        tracker = BoxTracker(gap=3)
        tracker.number(box(0)[None])
        for _ in range(away):
            assert tracker.number(torch.zeros(0, 4)) == []
        assert tracker.number(box(5)[None]) == [number], away


def test_who_stands_elsewhere_is_somebody_else():
    tracker = BoxTracker()
    assert [tracker.number(box(x)[None])[0] for x in (0, 10, 300, 15)] == [0, 0, 1, 0]


@pytest.mark.parametrize("settings", [{"least_overlap": 0.0}, {"least_overlap": 2}, {"gap": -1}])
def test_settings_that_are_none(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        BoxTracker(**settings)


class Script(PeopleDetector):
    "Sees what is written: boxes of each frame for a search, and how many of them it can follow."

    skeleton = "coco_17"

    def __init__(self, frames, followed):
        self.frames, self.followed, self.calls = frames, followed, []

    def see(self, image, kind):
        self.calls.append(kind)
        boxes = self.frames[int(image[0, 0, 0])]
        boxes = boxes[: self.followed] if kind == "follow" else boxes
        return [SeenPerson(torch.zeros(17, 2), torch.ones(17), one) for one in boxes]

    def detect(self, image, boxes=None):
        return self.see(image, "search") if boxes is None else self.see(image, "boxes")

    def follow(self, image, people):
        return self.see(image, "follow")

    def evidence(self, people, heatmaps=False):
        pytest.fail("a tracker asks for no evidence")

    def twins(self, count):
        return [self]


def run(detector, every, boxes=None):
    tracker = PeopleTracker(detector, every)
    pictures = (torch.full((2, 2, 3), k, dtype=torch.uint8) for k in range(len(detector.frames)))
    return [tracker.see(picture, boxes)[1] for picture in pictures]


def test_people_are_searched_for_now_and_then_and_when_somebody_is_lost():
    alone = Script([[box(0)]] * 9, 1)
    assert run(alone, 4) == [[0]] * 9
    assert alone.calls == (["search"] + ["follow"] * 3) * 2 + ["search"]
    lost = Script([[box(0), box(200)]] * 3, 1)
    assert run(lost, 4) == [[0, 1]] * 3 and lost.calls == ["search", "follow", "search", "follow", "search"]
    nobody = Script([[]] * 3, 0)
    assert run(nobody, 4) == [[]] * 3 and nobody.calls == ["search"] * 3
    given = Script([[box(0)]] * 3, 1)
    assert run(given, 4, box(0)[None]) == [[0]] * 3 and given.calls == ["boxes"] * 3
