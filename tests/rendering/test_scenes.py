"""Random scenes."""

import math

import pytest
import torch

from probpose.core.errors import ConfigError, NotFiniteError
from probpose.geometry.crops import Crop, box_numbers
from probpose.rendering.scenes import SceneConfig

pytest.importorskip("warp")


def test_drawing_touches_no_global_random_numbers(body, photograph):
    torch.manual_seed(5)
    first, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    photograph(body, 3)
    assert torch.equal(torch.rand(3), first) and torch.get_num_threads() == threads


def test_boxes():
    crop = Crop(torch.tensor([[640.0, 512.0], [100.0, 900.0]]), torch.tensor([200.0, 400.0]))
    numbers = box_numbers(crop, torch.tensor([1000.0, 500.0]))
    assert torch.allclose(numbers, torch.tensor([[0.0, 0.0, 0.2], [-1.08, 0.776, 0.8]]))
    for focal in (0.0, -3.0):
        with pytest.raises(ConfigError, match="focal"):
            box_numbers(crop, focal)
    with pytest.raises(NotFiniteError):
        box_numbers(crop, math.nan)
    with pytest.raises(ConfigError, match="outside the image"):
        box_numbers(Crop(torch.tensor([-400.0, 0.0]), torch.tensor(100.0)), 1000.0)
    with pytest.raises(ConfigError, match="positive side"):
        box_numbers(Crop(torch.tensor([4.0, 0.0]), torch.tensor(-1.0)), 1000.0)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(focal=(0.0, 10.0)),
        dict(focal=(math.nan, 10.0)),
        dict(distance=(4.0, 3.0)),
        dict(cut=-0.1),
        dict(others=()),
        dict(others=(0.5, 0.6)),
        dict(others=(1.0,) + (0.0,) * 8),
        dict(margin=0.0),
        dict(noise=-1.0),
        dict(image_size=(0, 5)),
    ],
)
def test_settings_that_make_no_scene(wrong):
    with pytest.raises(ConfigError, match="expected"):
        SceneConfig(**wrong)
