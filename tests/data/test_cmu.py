"The CMU files, and what is wrong with files."

import shutil

import numpy as np
import pytest
import torch

from probpose.core.errors import DataFileError
from probpose.data import load
from probpose.data.cmu import FAMILIES, TEST_SUBJECTS, TRAIN_SUBJECTS, action_family, cmu_frames, read_npz, read_raw
from probpose.geometry.skeletons import H36M_17

FILE = "cmu_h36m17_30hz.npz"


@pytest.fixture(scope="module")
def everything(cmu_path):
    return cmu_frames("all", cmu_path)


def test_cmu_counts(everything, cmu_path):
    assert (
        len(everything) == 35_657
        and len(set(everything.subject)) == 13
        and set(everything.subject) == {*TRAIN_SUBJECTS, *TEST_SUBJECTS}
    )
    train, test = cmu_frames("train", cmu_path), cmu_frames("test", cmu_path / FILE)
    assert (
        len(train) + len(test) == len(everything)
        and set(train.subject) == set(TRAIN_SUBJECTS)
        and set(test.subject) == set(TEST_SUBJECTS)
    )


def test_every_cmu_description_has_a_family(cmu_path):
    with np.load(cmu_path / FILE) as file:
        texts = set(file["clip_action"].tolist())
    families = {text: action_family(text, strict=True) for text in texts}
    assert len(texts) == 61 and set(families.values()) <= set(FAMILIES) and len(set(families.values())) >= 12
    assert all(family == "dance" for text, family in families.items() if text.startswith("dance")) and all(
        family == "basketball" for text, family in families.items() if text.startswith("basketball")
    )


def test_cmu_bones_and_axes(everything, cmu_path):
    with np.load(cmu_path / FILE) as file:
        table = dict(zip(file["subjects"].tolist(), torch.from_numpy(file["bone_lengths"])))
        assert file["bones"].tolist() == [list(bone) for bone in H36M_17.bones]
    for subject, lengths in table.items():
        own = everything.poses[torch.from_numpy(everything.subject == subject)]
        measured = torch.stack([(own[:, b] - own[:, a]).norm(dim=-1) for a, b in H36M_17.bones], 1)
        assert (measured - lengths).abs().max() < 2e-3
    walking = everything.poses[torch.from_numpy(everything.action == "walk")]
    assert (walking[:, 10, 1] > walking[:, 0, 1]).all() and (walking[:, 0, 1] > walking[:, 3, 1]).all(), "y is up"


def test_cmu_data_set(cmu_path):
    train, test = (load("cmu", split=split, size=800, path=cmu_path) for split in ("train", "test"))
    assert set(train.subject) == set(TRAIN_SUBJECTS) and set(test.subject) == set(TEST_SUBJECTS) and train.name == "cmu"
    error = 1000 * (test.poses - train.poses.mean(0)).norm(dim=-1).mean()
    assert 203 < error < 223, f"the mean pose is {error:.0f} mm off on the test subjects"
    for split in (train, test):
        uncertain = (split.detections.gaussians.sigma > 2.1).any(-1).any(-1).float().mean()
        assert 0.07 < split.hard.float().mean() < 0.17 and 0.4 < uncertain < 0.65


def test_cmu_through_the_environment(cmu_path, monkeypatch):
    for value in (cmu_path, cmu_path / FILE):
        monkeypatch.setenv("PROBPOSE_CMU", str(value))
        assert len(load("cmu", size=50)) == 50


def test_cmu_from_raw_files(cmu_raw):
    raw = load("cmu", split="train", size=100, path=cmu_raw)
    assert len(raw) == 100 and set(raw.subject) == {"02", "05"} and set(raw.action) == {"walk", "dance"}
    with pytest.raises(DataFileError, match="test subjects"):
        load("cmu", split="test", path=cmu_raw)


@pytest.mark.parametrize("keep", [0, 1000, 0.5, 0.99])
def test_cmu_file_cut_off(cmu_path, tmp_path, keep):
    whole = (cmu_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(DataFileError, match="truncated"):
        load("cmu", path=tmp_path)


def test_another_npz_is_recognised(cmu_path, tmp_path):
    shutil.copy(cmu_path / "cmu_daz_localrot_30hz.npz", tmp_path / FILE)
    with pytest.raises(DataFileError, match="missing"):
        load("cmu", path=tmp_path)


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / FILE, positions=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataFileError):
        read_npz(tmp_path / FILE)


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
