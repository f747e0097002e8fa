"""Whether modes face the way people do: trained on people who turn to every side and whose facing is uncertain."""

import roma
import torch

from probpose.bodies.body import load_body
from probpose.core.batches import PoseBatch
from probpose.core.devices import make_generator
from probpose.evidence.gaussians import Gaussians, render_gaussians
from probpose.geometry.crops import map_pixels
from probpose.models.humr.config import HuMRConfig
from probpose.models.humr.model import HuMR
from probpose.models.humr.networks import project_to_crop
from probpose.studies.humr import measure_facing
from probpose.training.loop import train
from probpose.training.specs import TrainingConfig


def turned_people(body, evidence, people, seed):
    "Upright people; image features tell the direction of the pelvis with an error of 0.7."
    g = make_generator(seed)
    rotations = roma.rotvec_to_rotmat(0.15 * torch.randn(people, 22, 3, generator=g))
    azimuth = 2 * torch.pi * torch.rand(people, generator=g)
    turn = roma.rotvec_to_rotmat(azimuth[:, None] * torch.tensor([0.0, 1.0, 0.0]))
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ turn @ rotations[:, 0]
    betas, box = torch.zeros(people, 11), torch.tensor([[0.0, 0.0, 0.3]]).expand(people, 3)
    places = body.points("coco_17", rotations, betas)
    truth = map_pixels(project_to_crop(places, torch.tensor([[0.9, 0.0, 0.0]]).expand(people, 3), box))
    told = rotations[:, 0, [0, 2], 2] + 0.7 * torch.randn(people, 2, generator=g)
    score, wide = torch.full((people, 17), 0.9), (4 * torch.eye(2)).expand(people, 17, 2, 2)
    seen = evidence(
        truth + torch.randn(people, 17, 2, generator=g),
        score,
        render_gaussians(Gaussians(score, truth, wide, score > 0, score), 64),
        skeleton="coco_17",
        features=torch.cat([told, torch.zeros(people, 238)], 1),
        box=box,
    )
    poses = body.points("h36m_17", rotations, betas)
    return PoseBatch(seen, poses - poses[:, :1], truth, rotations=rotations, betas=betas)


def test_modes_face_the_way_people_do_because_they_are_told_the_rotations(toy):
    body, data = load_body("open"), toy()
    evidence = type(data.rows.detections)
    data.rows, data.fingerprint = turned_people(body, evidence, 400, 0), "turned people"
    others = turned_people(body, evidence, 300, 1)
    shares = {}
    for weight in (0.0, HuMRConfig.for_tier("laptop").weight_mode):
        small = dict(hidden=48, pose_hidden=64, pose_features=32, blocks=4)
        config = HuMRConfig.for_tier("smoke", random_supervision="none", weight_mask=0.0, weight_mode=weight, **small)
        model = train(HuMR(config, body), data, TrainingConfig(iterations=200, batch_size=32, progress=False)).trained
        facing = measure_facing(model.mode_hypothesis(others.detections).rotations[0], others.rotations)
        shares[weight] = {key: float(values[~values.isnan()].mean()) for key, values in facing.items()}
    without, told = shares.values()
    truth = told["faces_right", "truth"]
    assert 40 < truth < 60 and abs(told["faces_right", "mode"] - truth) < 20
    assert told["facing_agreement", "mode"] > 75
    assert without["facing_agreement", "mode"] < 65  # the projected mode alone turns everybody to one side
