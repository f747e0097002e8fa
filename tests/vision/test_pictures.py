"""Targets and disturbances of pictures."""

import torch

from probpose.core.devices import make_generator
from probpose.evidence.fitting import fit_gaussians
from probpose.geometry.skeletons import POINTS, SMPL_24
from probpose.vision.pictures import PictureTransform, heatmap_targets, mirrored_rotations


def test_targets_are_bells_of_height_one():
    xy = torch.tensor([[20.0, 33.0], [10.4, 50.2]])
    fitted = fit_gaussians(heatmap_targets(xy, sigma=2.0))
    assert (
        torch.allclose(fitted.mean, xy, atol=1e-2)
        and torch.allclose(fitted.amplitude, torch.ones(2), atol=1e-3)
        and torch.allclose(fitted.sigma, torch.full((2, 2), 2.0), atol=1e-2)
    )
    assert not heatmap_targets(torch.tensor([[-1.0, 5.0], [5.0, 63.6], [1e6, 1e6]])).any()


def forward_kinematics(rotations, offsets, parents):
    "Joints `(22, 3)` of one body, joint by joint."
    world, places = [rotations[0]], [offsets[0]]
    for j in range(1, len(parents)):
        world.append(world[parents[j]] @ rotations[j])
        places.append(places[parents[j]] + world[parents[j]] @ offsets[j])
    return torch.stack(places)


def test_mirrored_rotations_move_joints_to_their_mirror_images():
    mirror, parents = list(SMPL_24.mirror_order[:22]), SMPL_24.parents[:22]
    offsets = torch.randn(22, 3, generator=make_generator(1))
    flip = torch.tensor([-1.0, 1.0, 1.0])
    offsets = (offsets + offsets[mirror] * flip) / 2  # a body of two equal halves
    rotations = torch.linalg.qr(torch.randn(22, 3, 3, generator=make_generator(2)))[0]
    rotations = rotations * torch.linalg.det(rotations)[:, None, None]
    wanted = forward_kinematics(rotations, offsets, parents)[mirror] * flip
    assert torch.allclose(forward_kinematics(mirrored_rotations(rotations), offsets, parents), wanted, atol=1e-5)
    assert torch.allclose(mirrored_rotations(mirrored_rotations(rotations)), rotations)


def test_mirrored_points_change_sides():
    still = PictureTransform(torch.ones(1), torch.zeros(1, 2), torch.tensor([True]))
    xy = torch.arange(42.0).view(1, 21, 2)
    went = still.keypoints(xy, 64)
    eyes = POINTS.index("left_eye"), POINTS.index("right_eye")
    assert torch.allclose(
        went[0, eyes[0]], torch.tensor([63 - xy[0, eyes[1], 0], xy[0, eyes[1], 1]])
    ) and torch.allclose(went[0, 17:, 0], 63 - xy[0, 17:, 0], atol=1e-4)


def test_key_points_are_counted_in_the_datas_cells():
    "A network of another resolution paints its bell at the same place of the picture."
    still = PictureTransform(torch.ones(1), torch.zeros(1, 2), torch.tensor([False]))
    middle = torch.full((1, 21, 2), 31.5)
    assert torch.allclose(still.keypoints(middle, 128), torch.full((1, 21, 2), 63.5)) and torch.allclose(
        still.keypoints(middle, 64), middle
    )
