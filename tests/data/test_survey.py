"What lies at a path, by names and headers alone: nothing is loaded, nothing is run."

import pickle

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from probpose.core.errors import DataFileError, UnknownNameError
from probpose.data.h36m import ACTIONS, TEST_SUBJECTS, TRAIN_SUBJECTS
from probpose.data.h36m_cameras import CAMERAS
from probpose.data.survey import survey_data

SUBJECTS = TRAIN_SUBJECTS + TEST_SUBJECTS


def write(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_npz(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def test_videopose3d(tmp_path):
    poses = {s: {"Walking": np.random.default_rng(0).normal(size=(640, 32, 3)).astype(np.float32)} for s in SUBJECTS}
    np.savez_compressed(tmp_path / "data_3d_h36m.npz", positions_3d=poses)
    survey = survey_data("h36m", tmp_path)
    assert survey.layout == "videopose3d" and not survey.complete and survey.kind == "simulated"
    train = 5 * 640 // 4 * 4  # five people, every fourth frame, four cameras
    assert survey.people["train"] == pytest.approx(train, rel=0.1), "by the size of what is pickled"
    assert survey.memory["train"] == survey.people["train"] * 3500
    survey.people["train"] = 1_500_000
    assert survey.memory["train"] == 1_500_000 * 1500, "what many people take stays in a file"
    write(tmp_path / "cameras.json", b"{}")
    write_npz(tmp_path / "data_2d_h36m_cpn.npz", positions_2d=np.zeros(3))
    survey = survey_data("h36m", tmp_path)
    assert survey.complete and survey.kind == "detected" and len(survey.found) == 2
    report = survey.report()
    for words in ("data_3d_h36m.npz: 2 MB", "those in the files", "train: about", "vision.imar.ro", "MB of memory"):
        assert words in report, report


def test_poseflow(tmp_path):
    rows = np.zeros((1000, 195))
    for split in ("train", "test"):
        write(tmp_path / f"{split}set_h36m.pickle", pickle.dumps({"S9": rows}))
    survey = survey_data("h36m", tmp_path)
    assert survey.layout == "poseflow" and survey.complete and survey.kind == "detected"
    assert survey.people["train"] == pytest.approx(1000, rel=0.05)
    assert survey.people["test"] == pytest.approx(1000 / 16, rel=0.05)
    assert any("h36m_dataset.py" in line for line in survey.useful), "cameras are of use, not needed"
    (tmp_path / "trainset_h36m.pickle").unlink()
    assert "trainset" in survey_data("h36m", tmp_path).missing[0]


def test_h36m_fetch(tmp_path):
    for subject in SUBJECTS[:-1]:
        for action in ACTIONS[1:]:
            path = tmp_path / "processed" / subject / action / "annot.h5"
            path.parent.mkdir(parents=True)
            with h5py.File(path, "w") as file:
                file["frame"] = np.arange(10)
    survey = survey_data("h36m", tmp_path)
    assert survey.missing == ["all takes of S11", "1 of 15 actions"]
    assert survey.people == {"train": 5 * 14 * 10, "test": 14 * 10 * 5 // 64}


def test_cdf(tmp_path):
    cdfwrite = pytest.importorskip("cdflib").cdfwrite
    for subject in SUBJECTS:
        path = tmp_path / subject / "MyPoseFeatures/D3_Positions_mono" / f"Walking.{CAMERAS[0]}.cdf"
        path.parent.mkdir(parents=True)
        file = cdfwrite.CDF(path, cdf_spec={"Compressed": 0})
        about = {"Variable": "Pose", "Data_Type": 44, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": [128, 96]}
        file.write_var(about, var_data=np.zeros((1, 128, 96), np.float32))
        file.close()
    survey = survey_data("h36m", tmp_path)
    assert survey.layout == "cdf" and survey.people == {"train": 5 * 128 // 4, "test": 4}
    assert "14 of 15 actions" in survey.missing and any("cameras" in line for line in survey.missing)
    write(tmp_path / "S1/MyPoseFeatures/D2_Positions/Walking.54138969.cdf")
    assert not any("cameras" in line for line in survey_data("h36m", tmp_path).missing)


def test_mpi_inf_3dhp(tmp_path):
    cells = np.empty((14, 1), dtype=object)
    for k in range(14):
        cells[k, 0] = np.zeros((100, 56))
    path = tmp_path / "S1/Seq1/annot.mat"
    path.parent.mkdir(parents=True)
    savemat(path, {"annot2": cells})
    for take in range(1, 6):
        path = tmp_path / f"mpi_inf_3dhp_test_set/TS{take}/annot_data.mat"
        path.parent.mkdir(parents=True)
        with h5py.File(path, "w") as file:
            file["annot2"] = np.zeros((20, 1, 17, 2))
    survey = survey_data("mpi_inf_3dhp", tmp_path)
    assert survey.people["test"] == 100 and any("TS6" in line for line in survey.missing)
    assert any("S1/Seq2" in line for line in survey.missing) and "camera.calibration" in survey.useful[0]


def test_sequences_of_smpl(tmp_path, monkeypatch):
    write(tmp_path / "pw3d/sequenceFiles/test/a_00.pkl", b"x" * 50_000)
    survey = survey_data("pw3d", tmp_path / "pw3d")
    assert "23 of 24 sequences of test" in survey.missing and "sequenceFiles/train" in survey.missing
    assert survey.people["test"] > 0
    monkeypatch.delenv("PROBPOSE_BODIES", raising=False)
    write(tmp_path / "emdb/P3/27_walk/P3_27_walk_data.pkl", b"x" * 10_000)
    survey = survey_data("emdb", tmp_path / "emdb")
    assert any("SMPL_FEMALE.npz" in line for line in survey.missing) and any("P0" in line for line in survey.missing)
    write(tmp_path / "bodies/SMPL_FEMALE.npz")
    write(tmp_path / "bodies/SMPL_MALE.npz")
    monkeypatch.setenv("PROBPOSE_BODIES", str(tmp_path / "bodies"))
    assert not any("SMPL_" in line for line in survey_data("emdb", tmp_path / "emdb").missing)


def test_archives(tmp_path, monkeypatch, trap):
    monkeypatch.delenv("PROBPOSE_BODIES", raising=False)
    names = np.array(["a"] * 7)
    write_npz(tmp_path / "bedlam/npz_train/a.npz", imgname=names, motion_info=np.array([trap] * 7, dtype=object))
    survey = survey_data("bedlam", tmp_path / "bedlam")
    assert survey.people == {"train": 7} and "files of the split test" in survey.missing
    assert any("SMPLX_NEUTRAL.npz" in line for line in survey.missing)
    write_npz(tmp_path / "amass/ACCAD/one/walk.npz", poses=np.zeros((400, 156)))
    write_npz(tmp_path / "amass/SSM_synced/one/jump.npz", poses=np.zeros((40, 156)))
    survey = survey_data("amass", tmp_path / "amass")
    assert survey.people == {"train": 100, "test": 10} and survey.complete and survey.kind == "postures"
    write_npz(tmp_path / "agora/train_0.npz", imgPath=names)
    write_npz(tmp_path / "agora/validation_0.npz", imgPath=names)
    assert survey_data("agora", tmp_path / "agora").complete


def test_data_frames_have_to_be_converted(tmp_path):
    for split in ("train", "validation"):
        pd.DataFrame({"imgPath": ["a"]}).to_pickle(tmp_path / f"{split}_0.pkl")
    assert "data.agora" in survey_data("agora", tmp_path).missing[0]


def test_damaged_files_and_other_names(tmp_path):
    write(tmp_path / "data_3d_h36m.npz", b"PK nothing")
    with pytest.raises(DataFileError, match="data_3d_h36m.npz"):
        survey_data("h36m", tmp_path)
    with pytest.raises(UnknownNameError, match="amass"):
        survey_data("synthetic", tmp_path)
