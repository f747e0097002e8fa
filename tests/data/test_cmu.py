"The CMU files, and what is wrong with files."

import math
import shutil

import numpy as np
import pytest
import torch

from probpose.core.errors import ConfigError, DataFileError
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


NODES = {  # MotionBuilder's names: parent and offset in centimetres
    "Hips": (None, (0, 0, 0)),
    "Spine": ("Hips", (0, 25, 0)),
    "Neck": ("Spine", (0, 26, 0)),
    "Head": ("Neck", (0, 10, 0)),
}
for side, sign in (("Right", -1), ("Left", 1)):
    NODES |= {
        f"{side}Shoulder": ("Spine", (4 * sign, 20, 0)),
        f"{side}Arm": (f"{side}Shoulder", (13 * sign, 0, 0)),
        f"{side}ForeArm": (f"{side}Arm", (28 * sign, 0, 0)),
        f"{side}Hand": (f"{side}ForeArm", (25 * sign, 0, 0)),
        f"{side}UpLeg": ("Hips", (9 * sign, -5, 0)),
        f"{side}Leg": (f"{side}UpLeg", (0, -41, 0)),
        f"{side}Foot": (f"{side}Leg", (0, -42, 0)),
    }


def write_take(path, frames, rate, factor=1.0):
    "A BVH in which a person moves ahead and bends the knees."

    def block(name):
        children = "".join(block(child) for child, (parent, _) in NODES.items() if parent == name)
        offset = " ".join(str(factor * x) for x in NODES[name][1])
        move = "3" if NODES[name][0] else "6 Xposition Yposition Zposition"
        end = "" if children else f"End Site\n{{\nOFFSET 0 {12 * factor} 0\n}}\n"
        kind = "JOINT" if NODES[name][0] else "ROOT"
        head = f"{kind} {name}\n{{\nOFFSET {offset}\nCHANNELS {move} Zrotation Xrotation Yrotation\n"
        return f"{head}{children}{end}}}\n"

    tree = block("Hips")
    names = [line.split()[1] for line in tree.splitlines() if line.split()[0] in ("ROOT", "JOINT")]
    rows = []
    for frame in range(frames):
        time = frame / rate
        angles = [(0, 40 * math.sin(2 * time), 0) if name.endswith("Leg") else (0, 0, 0) for name in names]
        place = f"0 {95 * factor} {100 * factor * time}"
        rows.append(place + "".join(f" {x:.6f}" for angle in angles for x in angle))
    path.write_text(f"HIERARCHY\n{tree}MOTION\nFrames: {frames}\nFrame Time: {1 / rate:.8f}\n" + "\n".join(rows) + "\n")


def test_the_same_motion_at_any_rate_gives_the_same_frames(tmp_path):
    found = {}
    for rate in (30, 120, 60, 50):
        (tmp_path / str(rate)).mkdir()
        write_take(tmp_path / str(rate) / "06_01.bvh", 2 * rate + 1, rate)
        found[rate] = read_raw(tmp_path / str(rate)).poses
    assert found[30].shape == (61, 17, 3)
    assert all(torch.allclose(found[rate], found[30], atol=1e-5) for rate in (60, 120))
    assert torch.allclose(found[50], found[30], atol=1e-3), "between frames the path is a line"


def test_short_takes_are_counted_and_named(tmp_path):
    blended = {"Hips": "hip", "Neck": "neck", "Head": "head", "Spine": "chest"}
    for side in ("Right", "Left"):
        parts = {"Arm": "Shldr", "ForeArm": "ForeArm", "Hand": "Hand", "UpLeg": "Thigh", "Leg": "Shin", "Foot": "Foot"}
        blended |= {side + part: side[0].lower() + own for part, own in parts.items()}

    def write(name, frames):
        write_take(tmp_path / name, frames, 120)
        text = (tmp_path / name).read_text()
        text = text.replace(" 0.0 -41.0 0.0", " 0 -36.8199 0.73152").replace(
            " 0.0 -42.0 0.0", " 0.73152 -45.1104 -5.12064"
        )
        lines = [" ".join(blended.get(word, word) for word in line.split()) for line in text.splitlines()]
        (tmp_path / name).write_text("\n".join(lines))

    write("06_01.bvh", 4)
    write("06_02.bvh", 5)
    with pytest.raises(DataFileError, match=r"2 of 2 takes.*06_01.bvh \(4 frames.*06_02"):
        read_raw(tmp_path)
    write("06_03.bvh", 14)
    with pytest.warns(UserWarning, match=r"2 of 3 takes.*06_01.bvh.*06_02.bvh"):
        frames = read_raw(tmp_path)
    assert len(frames) == 3 and set(frames.clip) == {"06_03"}


@pytest.mark.parametrize(
    "factor, unit", [(0.01, "metres"), (10, "millimetres"), (1 / 2.54, "inches"), (0.45 / 2.54, "CMU's units")]
)
def test_a_body_of_impossible_size_is_refused_with_its_unit(tmp_path, factor, unit):
    write_take(tmp_path / "06_01.bvh", 9, 30, factor)
    with pytest.raises(DataFileError, match=f"06_01.*(likely|or) {unit}"):
        read_raw(tmp_path)


def test_files_in_other_units_are_read_by_their_scale(tmp_path):
    for folder in ("metres", "centimetres"):
        (tmp_path / folder).mkdir()
    write_take(tmp_path / "metres" / "06_01.bvh", 40, 30, 0.01)
    write_take(tmp_path / "centimetres" / "06_01.bvh", 40, 30)
    in_metres, wanted = read_raw(tmp_path / "metres", scale=1.0), read_raw(tmp_path / "centimetres")
    assert torch.allclose(in_metres.poses, wanted.poses, atol=1e-3)
    whole = load("cmu", "test", path=tmp_path / "metres", scale=1.0, cache=False)
    assert len(whole) == len(wanted)
    with pytest.raises(DataFileError, match="scale=1"):
        load("cmu", "test", path=tmp_path / "metres", cache=False)
    for scale in (0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="metres per unit"):
            read_raw(tmp_path / "metres", scale=scale)


def test_a_scale_goes_before_the_units_of_a_skeleton(cmu_raw, tmp_path):
    for file in cmu_raw.rglob("*.a?[fc]"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    wanted = read_raw(tmp_path)
    assert torch.allclose(read_raw(tmp_path, scale=0.0254 / 0.45).poses, wanted.poses, atol=1e-5)
