"""ElePose: projections, virtual views and the sign of the elevation."""

import torch

from probpose.data.planar import camera_elevations
from probpose.geometry.rotations import axis_rotation
from probpose.models.elepose.lifter import project_pose, unproject_pose, virtual_rotation


def test_sign_of_the_elevation(people):
    "Turning a pose by minus the camera's elevation makes gravity point along the image's y axis again."
    gravity = -people.camera.rotation[:, :, 1]
    righted = (axis_rotation("x", -camera_elevations(people).deg2rad()) @ gravity[..., None])[..., 0]
    assert righted[:, 2].abs().max() < 1e-5 and (righted[:, 1] > 0.99).all(), "only the roll is left"


def test_virtual_rotation_is_three_rotations():
    a, b, c = torch.randn(3, 9, dtype=torch.float64)
    assert torch.allclose(
        virtual_rotation(a, b, c), axis_rotation("x", c) @ axis_rotation("y", b) @ axis_rotation("x", a)
    )
    assert virtual_rotation(a, b[:1], torch.randn(4, 1, dtype=torch.float64)).shape == (4, 9, 3, 3)


def test_projection_inverts_unprojection_and_never_comes_near():
    x, offsets = 0.05 * torch.randn(4, 17, 2), torch.randn(4, 17)
    x[:, 0], offsets[:, 0], offsets[0, 3] = 0, 0, -40.0
    pose = unproject_pose(x, offsets)
    assert (
        torch.allclose(project_pose(pose)[1:], x[1:], atol=1e-5)
        and pose[0, 3, 2] == 1 - 10
        and pose[:, 0].abs().max() == 0
    )


def test_mirror_ambiguity_leaves_the_loss_alone_for_a_distant_camera(people):
    "Depths and elevations of the other sign, and azimuths of the other sign, give the same views."
    pose, angle, azimuth = people.poses[:8] * 1e-3, torch.randn(8), torch.randn(8)
    flip = torch.tensor([1.0, 1.0, -1.0])
    one = project_pose(pose @ virtual_rotation(angle, azimuth, -angle).mT)
    other = project_pose((pose * flip) @ virtual_rotation(-angle, -azimuth, angle).mT)
    assert torch.allclose(one, other, atol=1e-6)
