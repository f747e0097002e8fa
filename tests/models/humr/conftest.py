"""A body of sticks, toy batches of it, and small models that read them."""

from dataclasses import dataclass

import pytest
import roma
import torch
from torch import Tensor, nn

from probpose.core.batches import PoseBatch
from probpose.core.devices import make_generator
from probpose.evidence.detections import Detections
from probpose.evidence.gaussians import Gaussians, render_gaussians
from probpose.geometry.crops import map_pixels
from probpose.models.humr.config import HuMRConfig
from probpose.models.humr.model import HuMR
from probpose.models.humr.networks import project_to_crop
from probpose.models.humr.prohmr import ProHMR, ProHMRConfig

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)


class Sticks(nn.Module):
    "A body of 22 joints with the interface of `bodies.body.Body`: points are mixtures of joints, shape is one length."

    def __init__(self):
        super().__init__()
        g = make_generator(7)
        self.register_buffer(
            "offsets", 0.25 * torch.randn(22, 3, generator=g) * (torch.arange(22) > 0)[:, None], persistent=False
        )
        mix = (20 * torch.rand(2, 17, 22, generator=g)).softmax(-1)
        self.register_buffer("mix", mix, persistent=False)

    def joints(self, rotations, betas):
        turns, places = [rotations[..., 0, :, :]], [torch.zeros_like(rotations[..., 0, :, 0])]
        for j in range(1, 22):
            above = PARENTS[j]
            length = 1 + 0.05 * betas[..., :1]
            places.append(places[above] + (turns[above] @ (self.offsets[j] * length)[..., None])[..., 0])
            turns.append(turns[above] @ rotations[..., j, :, :])
        return torch.stack(places, -2)

    def points(self, name, rotations, betas):
        return self.mix[("coco_17", "h36m_17").index(name)] @ self.joints(rotations, betas)


@dataclass(frozen=True, eq=False)
class Evidence(Detections):
    features: Tensor | None = None
    box: Tensor | None = None


def make_batch(people=5, seed=0, features=240):
    g, body = make_generator(seed), Sticks()
    rotations = roma.rotvec_to_rotmat(0.3 * torch.randn(people, 22, 3, generator=g))
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ rotations[:, 0]
    betas = 0.5 * torch.randn(people, 11, generator=g)
    box = torch.cat([0.2 * torch.randn(people, 2, generator=g), 0.3 + 0.2 * torch.rand(people, 1, generator=g)], 1)
    camera = torch.tensor([[0.9, 0.0, 0.0]]).expand(people, 3)
    truth = project_to_crop(body.points("coco_17", rotations, betas), camera, box)
    peak = torch.rand(people, 17, generator=g)
    maps = render_gaussians(
        Gaussians(peak, map_pixels(truth), (9.0 * torch.eye(2)).expand(people, 17, 2, 2), peak > 0, peak), 64
    )
    index = maps.flatten(2).argmax(-1)
    xy = torch.stack([index % 64, index // 64], -1).float()
    evidence = Evidence(
        xy,
        maps.amax((-2, -1)).clamp(max=1),
        maps,
        skeleton="coco_17",
        features=torch.rand(people, features, generator=g),
        box=box,
    )
    masks = torch.zeros(people, 256, 256, dtype=torch.bool)
    masks[:, 100:150, 100:150] = True
    poses = body.points("h36m_17", rotations, betas)
    return PoseBatch(
        evidence,
        poses - poses[:, :1],
        map_pixels(truth),
        rotations=rotations,
        betas=betas,
        masks=masks,
        object_occlusion=torch.arange(people) == 1,
    )


class Toy:
    "A data set of toy batches."

    def __init__(self, people=24):
        self.rows, self.fingerprint = make_batch(people), f"toy {people}"

    def __len__(self):
        return len(self.rows.poses)

    def to(self, device):
        return self

    def batch(self, index):
        return self.rows[index]


def make_humr(**changes):
    return HuMR(HuMRConfig.for_tier("smoke", **changes), Sticks()).eval()


MODELS = {
    "humr": make_humr,
    "humr_pose_only": lambda: make_humr(use_features=False, use_box=False),
    "humr_embedding": lambda: make_humr(condition_embedding=True, random_supervision="none", weight_mask=0.0),
    "humr_any": lambda: make_humr(mask_targets="any", random_supervision="visible"),
    "prohmr": lambda: ProHMR(ProHMRConfig.for_tier("smoke"), Sticks()).eval(),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.fixture(scope="module")
def batch():
    return make_batch()


@pytest.fixture(scope="module")
def detections(batch):
    return batch.detections


@pytest.fixture(scope="session")
def humr():
    return make_humr


@pytest.fixture(scope="session")
def toy():
    return Toy


@pytest.fixture(scope="session")
def sticks():
    return Sticks
