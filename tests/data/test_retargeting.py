"The 17 joints of CMU's own files: one take, as Acclaim recorded it and as cgspeed converted it."

import numpy as np
import pytest
import torch

from probpose.data.acclaim import read_amc
from probpose.data.bvh import read_bvh
from probpose.data.retargeting import BVH_LIMBS, to_h36m_17
from probpose.geometry.alignment import align
from probpose.geometry.skeletons import H36M_17


def distance(a, b):
    "Mean joint distance in mm after putting the pelvis of both at the origin."
    return 1000 * ((a - a[:, :1]) - (b - b[:, :1])).norm(dim=-1).mean().item()


@pytest.fixture(scope="module")
def acclaim(cmu_raw):
    return read_amc(cmu_raw / "pirouette.amc", cmu_raw / "pirouette.asf")


@pytest.fixture(scope="module")
def bvh(cmu_raw):
    return read_bvh(cmu_raw / "05_11.bvh")


@pytest.fixture(scope="module")
def clip(cmu_path):
    with np.load(cmu_path / "cmu_h36m17_30hz.npz") as file:
        number = file["clip_name"].tolist().index("05_11")
        subject = file["subjects"].tolist().index("05")
        return torch.from_numpy(file["positions"][file["clip"] == number]), torch.from_numpy(
            file["bone_lengths"][subject]
        )


def test_the_table_of_limbs_is_the_skeleton():
    names = [joint.split("/")[0] for joint in H36M_17.joints]
    assert list(BVH_LIMBS) == names[1:]
    assert [names[parent] for parent in H36M_17.parents[1:]] == [parent for parent, _, _ in BVH_LIMBS.values()]


def test_both_files_are_the_same_take(acclaim, bvh, clip):
    "The BVH has one frame more, the T-pose it begins with; its frame k + 1 is the AMC's frame k."
    assert len(acclaim) == 591 and len(bvh) == 592 and abs(bvh.fps - 120) < 0.1
    assert torch.allclose(acclaim.rotations[5:, 0], bvh.rotations[6:, 0], atol=1e-4), "the roots turn alike"
    original, converted = to_h36m_17(acclaim)[4:], to_h36m_17(bvh, clip[1])[5:]
    assert distance(original, converted) < 25
    assert 1000 * (align(converted, original) - original).norm(dim=-1).mean() < 15
    late = to_h36m_17(bvh, clip[1])[45:]
    assert distance(original[:-40], late) > 100, "a third of a second later it is not"


def test_without_the_subject_s_bones_the_shapes_still_agree(acclaim, bvh):
    original, converted = to_h36m_17(acclaim)[4:], to_h36m_17(bvh)[5:]
    assert 1000 * (align(converted, original) - original).norm(dim=-1).mean() < 30


def test_the_prepared_clip_is_every_fourth_frame(acclaim, bvh, clip):
    positions, lengths = clip
    rebuilt = to_h36m_17(bvh.every(4, start=5), lengths)
    assert rebuilt.shape == positions.shape and (rebuilt - positions).abs().max() < 1e-4, "root path included"
    original = to_h36m_17(acclaim.every(4, start=4))
    assert (
        15 < distance(original, positions) < 25
        and 1000 * (align(positions, original) - original).norm(dim=-1).mean() < 15
    )


def test_bones_of_the_original_are_the_subject_s(acclaim, clip):
    poses = to_h36m_17(acclaim)
    lengths = torch.stack([(poses[:, b] - poses[:, a]).norm(dim=-1).mean() for a, b in H36M_17.bones])
    assert (lengths - clip[1]).abs().max() < 0.006


def test_another_subject(cmu_raw, cmu_path):
    "Trunk directions were calibrated on one subject; on another the conversion stays within two centimetres."
    with np.load(cmu_path / "cmu_h36m17_30hz.npz") as file:
        positions = torch.from_numpy(file["positions"][file["clip"] == file["clip_name"].tolist().index("02_01")])
        lengths = torch.from_numpy(file["bone_lengths"][file["subjects"].tolist().index("02")])
    assert distance(to_h36m_17(read_bvh(cmu_raw / "02_01.bvh").every(4, start=5), lengths), positions) < 20


def test_backflip_turns_over(cmu_raw):
    poses = to_h36m_17(read_amc(cmu_raw / "backflip.amc", cmu_raw / "backflip.asf"))
    upright = poses[:, 8, 1] > poses[:, 0, 1]
    assert upright[0] and upright[-1] and (~upright).sum() > 5 and poses[..., 1].min() > -0.3
