"Forward kinematics, and text files that are cut off."

import pytest
import torch

from probpose.core.errors import DataFileError, ShapeError
from probpose.data.acclaim import read_amc, read_asf
from probpose.data.bvh import read_bvh
from probpose.data.mocap import forward_kinematics


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forward_kinematics_broadcasts(dtype):
    offsets, rotations = torch.randn(5, 1, 3, 3, dtype=dtype), torch.eye(3, dtype=dtype).expand(4, 3, 3, 3)
    positions, turned = forward_kinematics(offsets, (-1, 0, 1), rotations, torch.zeros(3, dtype=dtype))
    assert positions.shape == (5, 4, 3, 3) and turned.shape == (4, 3, 3, 3) and positions.dtype == dtype
    assert torch.allclose(positions[:, 0, 2], offsets[:, 0].sum(1))


def test_missing_and_binary_files(tmp_path):
    for read in (read_bvh, read_asf):
        with pytest.raises(DataFileError, match="found none"):
            read(tmp_path / "nothing.bvh")
        (tmp_path / "zip.bvh").write_bytes(b"PK\0\0\1\2")
        with pytest.raises(DataFileError, match="binary"):
            read(tmp_path / "zip.bvh")


@pytest.mark.parametrize("name, keep", [("pirouette.amc", 0.6), ("05_11.bvh", 0.5), ("05_11.bvh", 0.01)])
def test_a_real_file_cut_off(cmu_raw, tmp_path, name, keep):
    whole = (cmu_raw / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(DataFileError, match=name):
        read_bvh(tmp_path / name) if name.endswith("bvh") else read_amc(tmp_path / name, cmu_raw / "pirouette.asf")


@pytest.mark.parametrize("parents", [(-1, 0), (1, -1, 0)])
def test_what_is_no_tree_is_refused(parents):
    with pytest.raises(ShapeError, match="expected"):
        forward_kinematics(torch.zeros(3, 3), parents, torch.eye(3).expand(3, 3, 3), torch.zeros(3))
