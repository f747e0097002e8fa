"""The condition of DiffPose: points of heatmaps, channels, positions, the ResNet."""

import torch

from probpose.models.diffpose.condition import draw_points, relative_positions, resnet18, soft_histogram
from probpose.models.diffpose.config import diffpose_config


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_channels_lose_no_mode_and_nothing_outside_leaks_in():
    far = torch.tensor([[[[5.0, -7.0]], [[-1.6, 1.6]]]])
    assert soft_histogram(far, torch.ones(1, 2, 1), 32).abs().max() == 0
    for k in (2, 3, 32, 64):
        x = torch.linspace(-1.3, 1.3, 501, dtype=torch.float64)
        fast = soft_histogram(
            x.view(501, 1, 1, 1).expand(-1, -1, -1, 2), torch.ones(501, 1, 1, dtype=torch.float64), k
        )[:, 0]
        offset = x[:, None] - torch.linspace(-1, 1, k, dtype=torch.float64)
        wanted = torch.where(offset.abs() < 4 / k, torch.cos(torch.pi * offset * k / 8).square(), 0.0)
        assert torch.allclose(fast, torch.cat([wanted, wanted], 1)), k


def test_points_follow_the_map(seen):
    maps = seen.detections.heatmaps[:1]
    pixels, values = draw_points(maps, 20_000, generator())
    counts = torch.zeros(64, 64).index_put_(
        (pixels[0, 1:, 15, 1].long(), pixels[0, 1:, 15, 0].long()), torch.ones(20_000), accumulate=True
    )
    wanted = maps[0, 15] / maps[0, 15].sum()
    assert (counts / 20_000 - wanted).abs().sum() < 0.1
    assert torch.equal(values[0, 5], maps[0, torch.arange(16), pixels[0, 5, :, 1].long(), pixels[0, 5, :, 0].long()])


def test_positions_ignore_where_the_person_stands_unless_told(seen):
    config = diffpose_config("smoke")
    pixels, values = draw_points(seen.detections.heatmaps, 5, generator())
    assert torch.allclose(
        relative_positions(pixels, values, config), relative_positions(pixels + 2, values, config), atol=1e-5
    )
    from dataclasses import replace

    on_map = replace(config, positions="map")
    assert not torch.allclose(
        relative_positions(pixels, values, on_map), relative_positions(pixels + 2, values, on_map), atol=1e-3
    )


def test_resnet_18_has_eighteen_layers():
    kinds = [type(m).__name__ for m in resnet18(3, 1000).modules()]
    shortcuts = 3
    assert kinds.count("Conv2d") - shortcuts + kinds.count("Linear") == 18
