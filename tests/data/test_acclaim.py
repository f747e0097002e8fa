"ASF and AMC files, against the definition and damaged."

import numpy as np
import pytest
import torch

from probpose.core.errors import DataFileError, UnknownNameError
from probpose.data.acclaim import read_amc, read_asf
from probpose.data.retargeting import to_h36m_17

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


def write(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def test_acclaim_angles_are_meant_in_the_bone_s_own_frame(tmp_path, turn):
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


def test_a_skeleton_with_other_names_is_refused(tmp_path):
    motion = read_amc(write(tmp_path, "leg.amc", AMC), write(tmp_path, "leg.asf", ASF))
    with pytest.raises(UnknownNameError, match="rhipjoint"):
        to_h36m_17(motion)


def test_a_unit_that_is_not_declared_is_said(tmp_path):
    silent = ASF.replace("  length 0.45\n", "")
    with pytest.warns(UserWarning, match="silent.asf.*inches"):
        rig = read_asf(write(tmp_path, "silent.asf", silent))
    assert torch.allclose(rig.offsets, 0.45 * read_asf(write(tmp_path, "leg.asf", ASF)).offsets)
    with pytest.warns(UserWarning, match="inches"):
        read_amc(write(tmp_path, "leg.amc", AMC), write(tmp_path, "none.asf", ASF[ASF.index(":root") :]))


@pytest.mark.parametrize(
    "text, words",
    [
        (ASF.replace("dof rx ry rz", "dof rx ry rz l"), ["line 15", "degrees of freedom"]),
        (ASF.replace("orientation 0 0 0", "orientation 0 90 0"), ["line 8", "turned root frame"]),
    ],
)
def test_what_is_not_supported_is_refused_by_line(tmp_path, text, words):
    with pytest.raises(DataFileError) as caught:
        read_asf(write(tmp_path, "other.asf", text))
    assert all(word in str(caught.value) for word in words), caught.value
