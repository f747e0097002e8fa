"Rays and projected triangles give the same picture."

import pytest
import torch

from probpose.benchmarks.plain.rendering import pictures_gap, render_pictures
from probpose.core.errors import UnknownNameError


def test_rays_and_projected_triangles_give_the_same_picture(body):
    plain, fast = (render_pictures((0, 3), side, 64) for side in ("plain", "fast"))
    assert pictures_gap(plain, fast) < 5e-3
    assert all(torch.equal(plain[name], fast[name]) for name in ("poses", "box", "keypoints_true"))
    for name in ("images", "mask", "person"):
        assert pictures_gap(plain, fast | {name: fast[name].flip(1)}) > 0.05, name
    with pytest.raises(UnknownNameError):
        render_pictures((0, 1), "slow", 64)
