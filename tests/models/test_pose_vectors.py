"""Vectors of poses."""

import torch

from probpose.models.pose_vectors import pose_to_vector, vector_to_pose


def test_pose_vectors_are_coordinate_major_and_invert():
    pose = torch.randn(5, 17, 3)
    pose[:, 0] = (pose[:, 1] + pose[:, 4]) / 2
    vector = pose_to_vector(pose)
    centred = pose[:, 1:] - pose[:, 1:].mean(1, keepdim=True)
    assert torch.allclose(vector[:, :16], centred[..., 0]) and torch.allclose(vector[:, 16:32], -centred[..., 1])
    assert torch.allclose(vector_to_pose(vector), pose - pose[:, :1], atol=1e-5)
