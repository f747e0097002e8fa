"""Shipped weights load, whatever was moved: same state-dict keys, same class, same answers to a fixed input.

The snapshot was made before the library was refiled into rooms; it changes only with the weights themselves.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import probpose
from probpose.core.devices import make_generator
from probpose.geometry.conversions import rest_pose
from probpose.models.scoring import load_scorer
from probpose.vision.detections import ImageDetections
from probpose.vision.hrnet import load_detector

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = json.loads((Path(__file__).parent / "snapshots/weights.json").read_text())
DETECTOR = "probpose/weights/detector"
SCORER = "probpose/weights/scorer"
EVERY = 7  # of the sampled numbers one in seven was kept
ANKLES_TO_WRISTS = [
    [(410, 560), (405, 455), (415, 350), (470, 350), (475, 455), (480, 560), (442, 350), (441, 262)],
    [(440, 190), (441, 120), (330, 300), (345, 250), (395, 195), (487, 195), (535, 250), (570, 310)],
]


def two_people() -> probpose.Detections:
    "Key points of two people in MPII's order, with a joint in doubt each."
    xy = torch.tensor(ANKLES_TO_WRISTS).float().flatten(0, 1)[None]
    xy = torch.cat([xy, xy * 0.5 + torch.tensor([100.0, 40.0]) + torch.arange(16)[None, :, None] * 2.0])
    scores = torch.ones(2, 16)
    scores[0, 10], scores[1, 3] = 0.1, 0.4
    return probpose.Detections.from_keypoints(xy, scores)


def two_crops(width: int) -> ImageDetections:
    "Key points, features of a given width and boxes of two crops."
    keypoints = torch.rand(2, 17, 2, generator=make_generator(0)) * 40 + 12
    features = torch.randn(2, width, generator=make_generator(1))
    box = torch.tensor([[0.0, 0.1, 0.4], [0.1, 0.0, 0.5]])
    crops = ImageDetections(keypoints, torch.full((2, 17), 0.9), None, skeleton="coco_17", map_size=64)
    return replace(crops, features=features, box=box)


def same(found: torch.Tensor, kept: list[float]) -> bool:
    return torch.allclose(found.flatten()[::EVERY].double(), torch.tensor(kept).double(), rtol=1e-3, atol=2e-4)


def stored_shapes(file: Path) -> dict[str, list[int]]:
    with safe_open(file, "pt") as content:
        return {name: list(content.get_slice(name).get_shape()) for name in sorted(content.keys())}


def test_all_shipped_weights_are_in_the_snapshot():
    folders = [*ROOT.glob("probpose/weights/*/*.safetensors"), *ROOT.glob("book/weights/*/*.safetensors")]
    assert {str(file.parent.relative_to(ROOT)) for file in folders} == set(SNAPSHOT)


@pytest.mark.parametrize("folder", sorted(set(SNAPSHOT) - {DETECTOR, SCORER}))
def test_a_shipped_model_answers_as_before(folder):
    kept = SNAPSHOT[folder]
    assert stored_shapes(ROOT / folder / "model.safetensors") == kept["stored"]
    model = probpose.load(ROOT / folder)
    assert type(model).__name__ == kept["class"]
    detections = two_crops(model.config.features) if kept["class"] in ("HuMR", "ProHMR") else two_people()
    assert same(model.mode(detections), kept["mode"])
    assert same(model.sample(detections, 3, make_generator(5)), kept["sample"])
    if "log_prob" in kept:
        density = model.log_prob(model.sample(detections, 2, make_generator(6)), detections)
        assert density.flatten().tolist() == pytest.approx(kept["log_prob"], rel=1e-3, abs=0.05)


def test_the_shipped_detector_answers_as_before():
    kept, detector = SNAPSHOT[DETECTOR], load_detector()
    assert stored_shapes(ROOT / DETECTOR / "detector.safetensors") == kept["stored"]
    size = detector.config.input_size
    found = detector.detect(torch.rand(1, 3, size, size, generator=make_generator(2)))
    assert same(found.scores, kept["scores"]) and same(found.features, kept["features"])


def test_the_shipped_scorer_answers_as_before():
    kept = SNAPSHOT[SCORER]
    assert stored_shapes(ROOT / SCORER / "scorer.safetensors") == kept["stored"]
    hypotheses = rest_pose("h36m_17") + 0.05 * torch.randn(7, 2, 17, 3, generator=make_generator(3))
    found = load_scorer(ROOT / SCORER).score(hypotheses, two_people())
    assert found.flatten().tolist() == pytest.approx(kept["scores"], rel=1e-3, abs=1e-2)
