"Motion-capture files: parsers and forward kinematics, against hand-made files and CMU's own."

import math

import numpy as np
import pytest
import torch

from probpose.core.errors import DataFileError, ShapeError, UnknownNameError
from probpose.data.acclaim import read_amc, read_asf
from probpose.data.bvh import read_bvh
from probpose.data.cmu import read_raw
from probpose.data.mocap import forward_kinematics
from probpose.data.retargeting import BVH_LIMBS, to_h36m_17
from probpose.geometry.alignment import align
from probpose.geometry.skeletons import H36M_17

UNIT = 0.0254 / 0.45  # metres, CMU's unit of length

ASF = """:units
  length 0.45
  angle deg
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     name thigh
     direction 0.34202 -0.939693 0
     length 7
     axis 0 0 20 XYZ
     dof rx ry rz
  end
  begin
     name shin
     direction 0.34202 -0.939693 0
     length 8
     axis 0 0 20 XYZ
     dof rx
  end
:hierarchy
  begin
    root thigh
    thigh shin
  end
"""
AMC = ":DEGREES\n1\nroot 1 2 3 10 20 30\nthigh 5 6 7\nshin 40\n2\nroot 1 2 3 0 0 0\nthigh 0 0 0\nshin 0\n"
BVH = """HIERARCHY
ROOT hip
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT knee
  {
    OFFSET 0 -40 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 -40 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.0083333
0 90 0 10 20 30 40 50 60
0 90 0 0 0 0 0 0 0
"""


def write(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def turn(axis, degrees):
    "A rotation matrix, written out."
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def test_acclaim_angles_are_meant_in_the_bone_s_own_frame(tmp_path):
    "Against the definition C R C⁻¹ with R = Rz Ry Rx, multiplied out in NumPy."
    motion = read_amc(write(tmp_path, "leg.amc", AMC), write(tmp_path, "leg.asf", ASF), dtype=torch.float64)
    frame = turn("z", 20)
    root = turn("z", 30) @ turn("y", 20) @ turn("x", 10)
    thigh = root @ frame @ turn("z", 7) @ turn("y", 6) @ turn("x", 5) @ frame.T
    shin = thigh @ frame @ turn("x", 40) @ frame.T
    direction = np.array([0.34202, -0.939693, 0])
    start = UNIT * np.array([1.0, 2, 3])
    knee = start + thigh @ direction * 7 * UNIT
    expected = np.stack([start, knee, knee + shin @ direction * 8 * UNIT])
    assert np.allclose(motion.positions[0].numpy(), expected, atol=1e-9)
    assert np.allclose(motion["shin"][1].numpy(), start + direction * 15 * UNIT, atol=1e-9)


def test_bvh_follows_each_joint_s_own_channel_order(tmp_path):
    motion = read_bvh(write(tmp_path, "leg.bvh", BVH), dtype=torch.float64)
    hip = turn("z", 10) @ turn("y", 20) @ turn("x", 30)
    knee = hip @ turn("z", 40) @ turn("x", 50) @ turn("y", 60)
    at = np.array([0, 0.9, 0]) + hip @ np.array([0, -0.4, 0])
    assert np.allclose(motion["knee"][0].numpy(), at) and np.allclose(
        motion["knee_end"][0].numpy(), at + knee @ np.array([0, -0.4, 0])
    )
    swapped = BVH.replace("3 Zrotation Xrotation Yrotation", "3 Yrotation Xrotation Zrotation")
    knee = hip @ turn("y", 40) @ turn("x", 50) @ turn("z", 60)
    assert np.allclose(
        read_bvh(write(tmp_path, "other.bvh", swapped), dtype=torch.float64)["knee_end"][0].numpy(),
        at + knee @ np.array([0, -0.4, 0]),
    )


def test_position_channels_below_the_root_shift_the_joint(tmp_path):
    text = (
        BVH.replace("CHANNELS 3 Zrotation", "CHANNELS 6 Xposition Yposition Zposition Zrotation")
        .replace("0 90 0 0 0 0 0 0 0", "0 90 0 0 0 0 5 0 0 0 0 0")
        .replace("40 50 60", "0 0 0 40 50 60")
    )
    motion = read_bvh(write(tmp_path, "shifted.bvh", text))
    assert torch.allclose(motion["knee"][1], torch.tensor([0.05, 0.5, 0.0]), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forward_kinematics_broadcasts(dtype):
    offsets, rotations = torch.randn(5, 1, 3, 3, dtype=dtype), torch.eye(3, dtype=dtype).expand(4, 3, 3, 3)
    positions, turned = forward_kinematics(offsets, (-1, 0, 1), rotations, torch.zeros(3, dtype=dtype))
    assert positions.shape == (5, 4, 3, 3) and turned.shape == (4, 3, 3, 3) and positions.dtype == dtype
    assert torch.allclose(positions[:, 0, 2], offsets[:, 0].sum(1))


@pytest.mark.parametrize(
    "text, words",
    [
        ("", [":root", "truncated"]),
        (ASF[:200], ["line", "truncated"]),
        (ASF[: ASF.index("    root thigh")], ["hierarchy", "truncated"]),
        (ASF.replace("length 7", "length seven"), ["line 13", "one number"]),
        (ASF.replace("axis 0 0 20 XYZ", "axis 0 0 20 XYY", 1), ["line 14", "order"]),
        (ASF.replace("     direction 0.34202 -0.939693 0\n     length 8", "     length 8"), ["direction"]),
        (ASF.replace("dof rx ry rz", "dof rx ry rq"), ["line 15", "degrees of freedom"]),
        (ASF.replace("root thigh", "root tail"), ["tail"]),
        (ASF.replace("length 0.45", "length 0"), ["positive"]),
    ],
)
def test_damaged_asf(tmp_path, text, words):
    path = write(tmp_path, "bad.asf", text)
    with pytest.raises(DataFileError) as caught:
        read_asf(path)
    assert "bad.asf" in str(caught.value) and all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    "text, words",
    [
        (AMC[: AMC.rindex("shin")], ["shin", "frame 2", "truncated"]),
        (AMC[:-3], ["line 9", "'shin'"]),
        (AMC.replace("thigh 5 6 7", "thigh 5 6"), ["line 4", "3 finite numbers"]),
        (AMC.replace("thigh 5 6 7", "thigh 5 inf 7"), ["line 4", "finite"]),
        (AMC.replace("thigh 5 6 7", "thorax 5 6 7"), ["line 4", "bone of the skeleton"]),
        (AMC.replace("shin 40", "shin 40\nshin 40"), ["line 6", "once per frame"]),
        (":DEGREES\n", ["frame number", "truncated"]),
        ("root 0 0 0\n", ["line 1", "frame number"]),
    ],
)
def test_damaged_amc(tmp_path, text, words):
    rig = read_asf(write(tmp_path, "leg.asf", ASF))
    path = write(tmp_path, "bad.amc", text)
    with pytest.raises(DataFileError) as caught:
        read_amc(path, rig)
    assert "bad.amc" in str(caught.value) and all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    "text, words",
    [
        (BVH[:100], ["truncated"]),
        (BVH[: BVH.index("MOTION")], ["MOTION", "truncated"]),
        (BVH[: BVH.index("0 90 0 0 0 0")], ["frame 2 of 2", "truncated"]),
        (BVH[:-5], ["line 20", "9 finite numbers"]),
        (BVH + "0 0\n", ["line 21", "2 frames"]),
        (BVH.replace("Frames: 2", "Frames: many"), ["line 17", "Frames:"]),
        (BVH.replace("Frame Time: 0.0083333", "Frame Time: 0"), ["positive"]),
        (BVH.replace("CHANNELS 3 Z", "CHANNELS 2 Z"), ["line 9", "CHANNELS"]),
        (BVH.replace("OFFSET 0 -40 0", "OFFSET 0 -40", 1), ["line 8", "OFFSET"]),
        (BVH.replace("HIERARCHY", "TREE"), ["line 1", "HIERARCHY"]),
        (BVH.replace("40 50 60", "40 nan 60"), ["line 19", "finite"]),
        ("HIERARCHY\n}\n", ["line 2"]),
    ],
)
def test_damaged_bvh(tmp_path, text, words):
    path = write(tmp_path, "bad.bvh", text)
    with pytest.raises(DataFileError) as caught:
        read_bvh(path)
    assert "bad.bvh" in str(caught.value) and all(word in str(caught.value) for word in words), caught.value


def test_missing_and_binary_files(tmp_path):
    for read in (read_bvh, read_asf):
        with pytest.raises(DataFileError, match="found none"):
            read(tmp_path / "nothing.bvh")
        (tmp_path / "zip.bvh").write_bytes(b"PK\0\0\1\2")
        with pytest.raises(DataFileError, match="binary"):
            read(tmp_path / "zip.bvh")


def test_a_skeleton_with_other_names_is_refused(tmp_path):
    motion = read_amc(write(tmp_path, "leg.amc", AMC), write(tmp_path, "leg.asf", ASF))
    with pytest.raises(UnknownNameError, match="rhipjoint"):
        to_h36m_17(motion)
    with pytest.raises(ShapeError):
        forward_kinematics(torch.zeros(3, 3), (-1, 0), torch.eye(3).expand(2, 3, 3), torch.zeros(3))


def test_the_table_of_limbs_is_the_skeleton():
    names = [joint.split("/")[0] for joint in H36M_17.joints]
    assert list(BVH_LIMBS) == names[1:]
    assert [names[parent] for parent in H36M_17.parents[1:]] == [parent for parent, _, _ in BVH_LIMBS.values()]


# CMU's own files: one take, as Acclaim recorded it and as cgspeed converted it


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


def test_a_folder_of_raw_files(cmu_raw):
    frames = read_raw(cmu_raw)
    assert set(frames.clip) == {"02_01", "05_11", "backflip", "pirouette"} and len(frames) == 85 + 147 + 62 + 148
    assert dict(zip(frames.clip, frames.action)) == {
        "02_01": "walk",
        "05_11": "dance",
        "backflip": "acrobatics",
        "pirouette": "dance",
    }
    assert set(frames.subject) == {"02", "05", "backflip", "pirouette"}


@pytest.mark.parametrize("name, keep", [("pirouette.amc", 0.6), ("05_11.bvh", 0.5), ("05_11.bvh", 0.01)])
def test_a_real_file_cut_off(cmu_raw, tmp_path, name, keep):
    whole = (cmu_raw / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(DataFileError, match=name):
        read_bvh(tmp_path / name) if name.endswith("bvh") else read_amc(tmp_path / name, cmu_raw / "pirouette.asf")
