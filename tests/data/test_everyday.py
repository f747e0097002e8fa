"Everyday postures: low, on floors, in every camera's view, and apart from the benchmark's people."

import pytest
import torch

from probpose.data import load
from probpose.data.activities import ACTIVITIES
from probpose.data.cameras import CameraConfig
from probpose.data.everyday import EVERYDAY
from probpose.data.synthetic import draw_people


@pytest.fixture(scope="module")
def frames():
    return draw_people("test", 0, recipes=EVERYDAY)


def test_the_family_holds_what_the_others_lack(frames):
    assert set(frames.action) == set(EVERYDAY) and len(set(EVERYDAY) - set(ACTIVITIES)) >= 7
    counts = [int((frames.action == name).sum()) for name in EVERYDAY]
    assert max(counts) - min(counts) <= 0.05 * max(counts)


def test_nobody_sinks_and_those_who_sit_are_low(frames):
    assert (frames.poses[..., 1].amin(1) > 0.079).all()
    pelvis = frames.poses[:, 0, 1]
    for name, most in (("sit_on_floor", 0.3), ("sit_cross_legged", 0.45), ("recline", 0.4), ("crouch", 0.6)):
        assert pelvis[torch.from_numpy(frames.action == name)].median() < most, name
    assert pelvis[torch.from_numpy(frames.action == "stand")].median() > 0.8


def test_bones_keep_their_length(frames):
    from probpose.geometry.skeletons import H36M_17

    lengths = torch.stack([frames.poses[:, c] - frames.poses[:, p] for p, c in H36M_17.bones], 1).norm(dim=-1)
    for who in set(frames.subject):
        own = lengths[torch.from_numpy(frames.subject == who)]
        assert (own.amax(0) - own.amin(0)).max() < 1e-4


def test_photographed_from_below_and_from_above():
    cameras = CameraConfig(focal=(700.0, 700.0), distance=(3.2, 0.4), nearest=2.2, elevation="everyday")
    data = load("everyday", split="test", size=300, cameras=cameras)
    down = torch.rad2deg(torch.asin(data.camera.rotation[:, 2, 1]))  # how far the optical axis points up
    assert down.min() < -45 and down.max() > 15 and data.detections.keypoints.isfinite().all()
    assert data.fingerprint != load("everyday", split="test", size=300).fingerprint
    assert data.fingerprint != load("synthetic", split="test", size=300, cameras=cameras).fingerprint
