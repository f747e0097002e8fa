"Points of whole surfaces are those of the library's shortcut."

import pytest
import torch

from probpose.benchmarks.plain.bodies import PlainBody, random_bodies
from probpose.core.devices import make_generator


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_points_without_a_surface_are_those_of_smplx(body, chunk):
    rotations, betas = random_bodies(5, make_generator(3))
    joints, points = PlainBody(body, chunk).points(rotations, betas)
    assert torch.allclose(joints, body.joints(rotations, betas), atol=1e-5) and torch.allclose(
        points, body.points("coco_17", rotations, betas), atol=1e-5
    )
