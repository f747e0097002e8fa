"BVH files, against the definition and damaged."

import numpy as np
import pytest
import torch

from probpose.core.errors import DataFileError
from probpose.data.bvh import read_bvh

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


def test_bvh_follows_each_joint_s_own_channel_order(tmp_path, turn):
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


@pytest.mark.parametrize(
    "written",
    [
        b"\xef\xbb\xbf" + BVH.encode(),
        BVH.replace("\n", "\r\n").encode(),
        BVH.replace("\n", "\r").encode(),
        BVH.encode("utf-16"),
        BVH.replace("knee", "Kn\xf6chel\x85").encode("latin-1"),
        BVH.replace("End Site", "End site").encode(),
        BVH.replace("End Site", "end site").replace("MOTION", "Motion").replace("OFFSET", "Offset").encode(),
    ],
    ids=["bom", "crlf", "cr", "utf-16", "cp1252", "end site", "case"],
)
def test_spellings_of_the_same_file(tmp_path, written):
    (tmp_path / "other.bvh").write_bytes(written)
    expected = read_bvh(write(tmp_path, "leg.bvh", BVH)).positions
    assert torch.equal(read_bvh(tmp_path / "other.bvh").positions, expected)


def test_end_without_site_is_refused(tmp_path):
    with pytest.raises(DataFileError, match="End Site"):
        read_bvh(write(tmp_path, "end.bvh", BVH.replace("End Site", "End")))
