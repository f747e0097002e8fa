"""Pages of bodies."""

import pytest
import torch

from probpose.core.errors import ConfigError, DiskError
from probpose.geometry.conversions import rest_pose
from probpose.geometry.crops import Crop, crop_box
from probpose.models.bodies import predict_bodies
from probpose.models.humr.config import HuMRConfig
from probpose.models.humr.model import HuMR
from probpose.plots.bodies import BodiesView, bodies_figure, overlay_bodies, write_bodies_page
from probpose.vision.detections import ImageDetections

pytest.importorskip("warp")
pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def people():
    model = HuMR(HuMRConfig.for_tier("smoke", use_features=False))
    crop = Crop(torch.tensor([[40.0, 40], [90.0, 40]]), torch.tensor([60.0, 60.0]))
    places = (31.5 + 22 * rest_pose("coco_17")[:, :2]).expand(2, 17, 2)
    seen = ImageDetections(places, torch.ones(2, 17), crop=crop, box=crop_box(crop, (120, 80)))
    return predict_bodies(model, seen, 3)


@pytest.fixture
def image():
    return torch.full((80, 120, 3), 99, dtype=torch.uint8)


def test_who_is_near_hides_who_is_far(people, image):
    body, near = people[0].bodies.body, people[0].vertices()[0]
    far = near * 1.5
    first, second = (overlay_bodies(image, body, surfaces) for surfaces in ([near, far], [far, near]))
    drawn = (overlay_bodies(image, body, [near]) != 99).any(-1)
    blue, orange = (pictures[drawn].float().mean(0) for pictures in (first, second))
    assert blue[2] > blue[0] and orange[0] > orange[2], "the colour of the near one, whichever place it has in the list"


def test_a_focal_length_changes_nothing_but_the_size(people, image):
    body, one = people[0].bodies.body, people[0].vertices()[0]
    wide, narrow = ((overlay_bodies(image, body, [one], focal) != 99).any(-1).sum() for focal in (60.0, 120.0))
    assert narrow > 2 * wide > 0


def test_a_figure_shows_everybody(people, image):
    fig = bodies_figure(image, people)
    meshes = [trace for trace in fig.data if trace.type == "mesh3d"]
    assert [mesh.opacity for mesh in meshes] == [1.0, 0.12, 0.12] * 2
    assert {mesh.name for mesh in meshes} == {"person 0", "person 1", "hypotheses"}
    stars = [trace for trace in fig.data if trace.name == "seen joints" and trace.x is not None and len(trace.x) > 1]
    assert sum(len(trace.x) for trace in stars) == 34


def test_pages_that_cannot_be(people, image, tmp_path):
    with pytest.raises(ConfigError, match="at least one"):
        bodies_figure(image, [])
    with pytest.raises(ConfigError, match=r"\.html"):
        write_bodies_page(tmp_path / "x.pdf", [], "t")
    with pytest.raises(DiskError, match="folder"):
        write_bodies_page(tmp_path / "none" / "x.html", [BodiesView("a", image, people)], "t")
