"""HuMR: cameras, masks and the density of rotations."""

import math

import pytest
import roma
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ShapeError
from probpose.geometry.crops import crop_coordinates
from probpose.geometry.rotations import pack_rotations, unpack_rotations
from probpose.models.humr.networks import DIM, RotationFlow, full_translation, inside_mask, pack_masks, project_to_crop


@pytest.mark.parametrize("kind", ["affine", "additive"])
def test_density_is_that_of_the_change_of_variables(kind):
    torch.manual_seed(0)
    flow, condition, z = (
        RotationFlow(5, 2, 12, kind=kind).double(),
        torch.randn(1, 5).double(),
        torch.randn(1, 1, DIM).double(),
    )
    with torch.no_grad():
        vector = flow.draw(z, condition)
        density = flow.log_prob(vector[0], condition)
    jacobian = torch.autograd.functional.jacobian(lambda v: flow.draw(v[None, None], condition)[0, 0], z[0, 0])
    base = -0.5 * (z.square().sum() + DIM * math.log(2 * math.pi))
    assert torch.allclose(density, base - torch.linalg.slogdet(jacobian).logabsdet, atol=1e-8)
    assert kind == "affine" or torch.allclose(torch.linalg.slogdet(jacobian).logabsdet, flow.log_scale.sum(), atol=1e-8)


def test_density_of_a_density_integrates_over_samples():
    "The mean of log p over samples is the entropy, which the Jacobian gives as well."
    torch.manual_seed(0)
    flow, condition = RotationFlow(5, 2, 12), torch.randn(2, 5)
    z = torch.randn(4, 2, DIM)
    with torch.no_grad():
        vectors = flow.draw(z, condition)
        together = flow.log_prob(vectors, condition)
        apart = torch.stack([flow.log_prob(v, condition) for v in vectors])
    assert torch.allclose(together, apart, atol=1e-3)


def test_six_numbers_and_back():
    turns = roma.rotvec_to_rotmat(torch.randn(3, 22, 3, generator=make_generator(1)))
    assert torch.allclose(unpack_rotations(pack_rotations(turns)), turns, atol=1e-6)
    assert torch.equal(pack_rotations(turns)[0, 6:9], turns[0, 1, :, 0]) and torch.equal(
        pack_rotations(turns)[0, 9:12], turns[0, 1, :, 1]
    )
    slope = torch.autograd.functional.jacobian(lambda v: unpack_rotations(v).sum(), torch.zeros(DIM))
    assert slope.isfinite().all(), "even of nothing"


def test_the_camera_is_that_of_the_full_image():
    g = make_generator(3)
    focal, image = 900.0, torch.tensor([1280.0, 720.0])
    centre, side = torch.tensor([[300.0, 500.0]]), torch.tensor([[260.0]])
    box = torch.cat([(centre - image / 2) / focal, side / focal], 1)
    camera, points = torch.tensor([[0.7, 0.1, -0.2]]), 0.5 * torch.randn(1, 6, 3, generator=g)
    place = points + full_translation(camera, box)[:, None]
    pixels = focal * place[..., :2] / place[..., 2:] + image / 2
    assert torch.allclose(project_to_crop(points, camera, box), (pixels - centre) / (side / 2), atol=1e-4)
    assert torch.allclose(full_translation(camera, box)[0, 2], 2 * focal / (0.7 * side[0, 0]))
    assert torch.allclose(crop_coordinates(torch.tensor([31.5, -0.5])), torch.tensor([0.0, -1.0]))


def test_no_projection_is_infinite():
    behind = project_to_crop(
        torch.full((1, 4, 3), -50.0), torch.tensor([[-2.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.3]])
    )
    assert behind.isfinite().all()


@pytest.mark.parametrize("grid", [64, 128, 256])
def test_masks_as_bits(grid):
    g = make_generator(4)
    masks = torch.rand(3, 256, 256, generator=g) > 0.999
    packed = pack_masks(masks, grid, 0)
    assert packed.shape == (3, grid * grid // 8) and packed.dtype == torch.uint8
    where = 2.4 * torch.rand(50, 3, 7, 2, generator=g) - 1.2
    step = 256 // grid
    cells = masks.unflatten(1, (grid, step)).unflatten(3, (grid, step)).any(4).any(2)
    x, y = ((where + 1) * grid / 2).long().clamp(0, grid - 1).unbind(-1)
    wanted = torch.stack([cells[b][y[:, b], x[:, b]] for b in range(3)], 1)
    assert torch.equal(inside_mask(where, packed), wanted)
    assert (inside_mask(where, pack_masks(masks, grid, 2)) >= wanted).all()
    with pytest.raises(ShapeError, match="mask_grid"):
        pack_masks(masks[:, :32, :32], grid)
