"""Crops: there and back, and what is refused."""

import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, DegeneratePoseError, NotFiniteError, ShapeError
from probpose.geometry.conversions import rest_pose
from probpose.geometry.crops import crop_around

PERSON = rest_pose("h36m_17")


def cloud(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=make_generator(seed), dtype=dtype)


def test_crop_round_trip_and_cell_centres():
    keypoints = 400 + 60 * cloud(4, 16, 2)
    crop = crop_around(keypoints, margin=1.5, map_size=48)
    assert torch.allclose(crop.from_map(crop.to_map(keypoints)), keypoints, atol=1e-3)
    corners = torch.stack(
        [crop.centre - crop.size[:, None] / 2, crop.centre, crop.centre + crop.size[:, None] / 2], dim=-2
    )
    assert torch.allclose(crop.to_map(corners), torch.tensor([-0.5, 23.5, 47.5])[:, None].expand(4, 3, 2), atol=1e-3)
    inside = crop.to_map(keypoints)
    assert torch.allclose((inside.amax(-2) - inside.amin(-2)).amax(-1), torch.full((4,), 48 / 1.5), atol=1e-3)
    assert (
        torch.allclose(crop[2].to_map(keypoints[2]), inside[2]) and crop.to(torch.float64).size.dtype == torch.float64
    )


@pytest.mark.parametrize(
    ("keypoints", "error"),
    [
        (torch.ones(3, 16, 2), DegeneratePoseError),
        (torch.full((16, 2), float("nan")), NotFiniteError),
        (torch.ones(16, 3), ShapeError),
        (None, ShapeError),
    ],
)
def test_crop_refuses(keypoints, error):
    with pytest.raises(error):
        crop_around(keypoints)


def test_crop_refuses_bad_settings():
    for wrong in (dict(margin=0.0), dict(map_size=0), dict(margin=float("nan"))):
        with pytest.raises(ConfigError):
            crop_around(PERSON[:, :2], **wrong)
