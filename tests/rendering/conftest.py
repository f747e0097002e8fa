"""A body, its renderer, and random pictures of it."""

import pytest
import roma
import torch

from probpose.bodies.body import load_body
from probpose.rendering.renderer import Renderer
from probpose.rendering.scenes import SceneConfig, Solids, random_scene, random_view


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def renderer(body):
    return Renderer(body, 96, "cpu")


@pytest.fixture(scope="session")
def photograph():
    def make(body, seed, config=SceneConfig()):
        "A scene, the vertices and the joints of its people, arms hanging."
        g = torch.Generator().manual_seed(seed)
        view = random_view(config, g)
        rotations = roma.rotvec_to_rotmat(0.2 * torch.randn(config.people, 22, 3, generator=g))
        for joint, angle in ((16, -1.2), (17, 1.2)):
            rotations[:, joint] = roma.euler_to_rotmat("z", torch.tensor([angle])) @ rotations[:, joint]
        rotations[:, 0] = view @ roma.euler_to_rotmat("y", 6 * torch.rand(config.people, 1, generator=g))
        betas = torch.randn(config.people, body.num_betas, generator=g)
        joints = body.points("coco_17", rotations, betas)
        scene = random_scene(joints, view, config, g)
        n = scene.people
        return (
            scene,
            body.vertices(rotations[:n], betas[:n]) + scene.translations[:, None],
            joints[:n] + scene.translations[:, None],
        )

    return make


@pytest.fixture(scope="session")
def solid():
    def make(tube, centre, half, turn=None):
        turn = torch.eye(3) if turn is None else turn
        return Solids(torch.tensor([tube]), torch.tensor([centre]), turn[None], torch.tensor([half]), torch.ones(1, 3))

    return make
