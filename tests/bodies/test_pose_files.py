"Poses in files, each read back by a reader that knows nothing of the writer."

import base64
import csv
import dataclasses
import json
import os
import struct

import numpy as np
import pandas as pd
import pytest
import torch

from probpose.bodies.pose_files import POSE_SUFFIXES, check_output, read_poses, write_poses
from probpose.bodies.tracks import PoseRecords
from probpose.core.errors import ConfigError, DataFileError, DiskError
from probpose.data.bvh import read_bvh
from probpose.data.retargeting import to_h36m_17
from probpose.geometry.skeletons import H36M_17

NAMES = [name.split("/")[0] for name in H36M_17.joints]
LENGTHS = [0.13, 0.44, 0.42, 0.13, 0.44, 0.42, 0.24, 0.25, 0.11, 0.12, 0.15, 0.29, 0.25, 0.15, 0.29, 0.25]  # metres


def wander(frames, seed=0):
    "Poses (frames, 17, 3) whose bones have constant lengths, in smoothly changing directions, in camera axes."
    generator = torch.Generator().manual_seed(seed)
    start, speed = (torch.randn(1, 16, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    time = torch.arange(frames, dtype=torch.float64)[:, None, None]
    limbs = torch.nn.functional.normalize(start + 0.2 * time * speed, dim=-1)
    poses = [torch.stack([0.01 * time[:, 0, 0], 0 * time[:, 0, 0], 3 + 0 * time[:, 0, 0]], -1)]
    for k, parent in enumerate(H36M_17.parents[1:]):
        poses.append(poses[parent] + LENGTHS[k] * limbs[:, k])
    return torch.stack(poses, 1).float()


def upright(poses):
    "Camera axes to y up, in NumPy."
    return np.asarray(poses, dtype=np.float64) * [1, -1, -1]


@pytest.fixture
def clip():
    return PoseRecords(wander(40), fps=25.0, model="poseflow")


@pytest.fixture
def crowd():
    "Two people, one of whom is absent in two frames and comes a frame later."
    frame, person = np.array([0, 1, 1, 2, 4, 4, 5]), np.array([8, 8, 9, 8, 8, 9, 8])
    modes, g = torch.cat([wander(4), wander(3, 1)]), torch.Generator().manual_seed(2)
    return PoseRecords(
        modes,
        poses=torch.randn(5, 7, 17, 3, generator=g),
        log_prob=torch.randn(5, 7, generator=g),
        radii=torch.rand(7, 17, 2, generator=g),
        frame=frame,
        person=person,
        image=np.array([f"{k}.png" for k in frame]),
        fps=50.0,
        model="diffpose",
        seed=3,
        more={"reprojection": torch.rand(7, generator=g)},
    )


def axis_turn(axis, degrees):
    "A rotation matrix, written out."
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array(
        {
            "X": [[1, 0, 0], [0, c, -s], [0, s, c]],
            "Y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
            "Z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
        }[axis]
    )


def play_bvh(path):
    "Positions of all nodes by name, in file units; a parser and forward kinematics that are as plain as can be."
    head, motion = path.read_text().split("MOTION")
    nodes, open_nodes = [], []
    for line in head.splitlines():
        words = line.split()
        if words[0] in ("ROOT", "JOINT", "End"):
            parent = open_nodes[-1] if open_nodes else None
            name = words[1] if words[0] != "End" else f"end of {nodes[parent]['name']}"
            nodes.append({"name": name, "parent": parent, "channels": []})
        elif words[0] == "{":
            open_nodes.append(len(nodes) - 1)
        elif words[0] == "}":
            open_nodes.pop()
        elif words[0] == "OFFSET":
            nodes[-1]["offset"] = np.array(words[1:], float)
        elif words[0] == "CHANNELS":
            nodes[-1]["channels"] = words[2:]
    assert not open_nodes
    lines = motion.strip().splitlines()
    count, step = int(lines[0].split()[1]), float(lines[1].split()[2])
    assert len(lines) == 2 + count
    found = {node["name"]: [] for node in nodes}
    for line in lines[2:]:
        numbers = iter(map(float, line.split()))
        placed = []
        for node in nodes:
            turn, place = np.eye(3), node["offset"].copy()
            for channel in node["channels"]:
                value = next(numbers)
                if channel.endswith("position"):
                    place["XYZ".index(channel[0])] += value
                else:
                    turn = turn @ axis_turn(channel[0], value)
            if node["parent"] is not None:
                above, base = placed[node["parent"]]
                turn, place = above @ turn, base + above @ place
            placed.append((turn, place))
            found[node["name"]].append(place)
        assert next(numbers, None) is None
    return {name: np.array(path) for name, path in found.items()}, step


def test_bvh_of_constant_bones_gives_every_joint_back(clip, tmp_path):
    assert write_poses(tmp_path / "walk.bvh", clip) == []
    found, step = play_bvh(tmp_path / "walk.bvh")
    expected = upright(clip.mode)
    joints = {name: "Head" if name == "Neck" else "end of Head" if name == "Head" else name for name in NAMES}
    for k, name in enumerate(NAMES):
        assert np.abs(0.01 * found[joints[name]] - expected[:, k]).max() < 1e-4, name
    assert step == pytest.approx(0.04)


def test_bvh_comes_back_through_the_library_s_own_reader(clip, tmp_path):
    write_poses(tmp_path / "walk.bvh", clip)
    motion = read_bvh(tmp_path / "walk.bvh")
    assert motion.fps == pytest.approx(25) and len(motion) == 40
    expected = torch.from_numpy(upright(clip.mode)).float()
    expected[:, 0] = 0.5 * (expected[:, 1] + expected[:, 4])  # where the reader takes the middle of hips and shoulders
    expected[:, 8] = 0.5 * (expected[:, 11] + expected[:, 14])
    assert (to_h36m_17(motion) - expected).abs().max() < 1e-4


def test_angles_of_a_bvh_do_not_jump(tmp_path):
    poses = wander(60)
    turns = torch.from_numpy(np.stack([axis_turn("Y", 12.0 * k) for k in range(60)])).float()
    write_poses(tmp_path / "spin.bvh", PoseRecords((poses[:1] - poses[:1, :1]) @ turns.mT, fps=30.0))
    rows = (tmp_path / "spin.bvh").read_text().split("Frame Time:")[1].splitlines()[1:]
    root = np.array([row.split()[3:6] for row in rows], float)
    assert np.abs(np.diff(root, axis=0)).max() < 180


def test_bones_that_vary_are_said(tmp_path):
    remarks = write_poses(tmp_path / "a.bvh", PoseRecords(torch.cat([wander(3), 1.1 * wander(2)]), fps=30.0))
    assert len(remarks) == 1 and "median length" in remarks[0]
    found, _ = play_bvh(tmp_path / "a.bvh")
    assert np.linalg.norm(found["RKnee"] - found["RHip"], axis=-1) == pytest.approx([44] * 5, abs=1e-3)


def test_bvh_of_poses_without_extent_is_finite(tmp_path):
    write_poses(tmp_path / "a.bvh", PoseRecords(torch.zeros(2, 17, 3)))
    assert all(np.isfinite(path).all() for path in play_bvh(tmp_path / "a.bvh")[0].values())


def read_trc(path):
    "Markers by name, the header's numbers, times."
    lines = path.read_text().split("\n")
    header = dict(zip(lines[1].split("\t"), lines[2].split("\t")))
    markers = [name for name in lines[3].split("\t")[2:] if name]
    table = pd.read_csv(path, sep="\t", skiprows=4, header=0, skip_blank_lines=True).dropna(axis=1, how="all")
    assert lines[0].split("\t") == ["PathFileType", "4", "(X/Y/Z)", path.name] and lines[5] == ""
    assert list(table.columns[2:5]) == ["X1", "Y1", "Z1"] and len(table) == int(header["NumFrames"])
    values = table.iloc[:, 2:].to_numpy().reshape(len(table), len(markers), 3)
    return dict(zip(markers, values.swapaxes(0, 1))), header, table.iloc[:, 1].to_numpy()


def test_trc(clip, tmp_path):
    assert write_poses(tmp_path / "walk.trc", clip) == []
    markers, header, times = read_trc(tmp_path / "walk.trc")
    assert header["Units"] == "m" and float(header["DataRate"]) == 25 and header["NumMarkers"] == "17"
    assert list(markers) == NAMES and np.allclose(np.diff(times), 0.04)
    for k, name in enumerate(NAMES):
        assert np.array_equal(markers[name], upright(clip.mode)[:, k])


def test_gaps_are_interpolated_and_said(crowd, tmp_path):
    remarks = write_poses(tmp_path / "two.trc", crowd)
    assert remarks == [
        "person 8: 1 of 6 frames interpolated",
        "person 9: 2 of 4 frames interpolated",
        "person 9: stands still in 2 of 6 frames",
    ]
    markers, _, _ = read_trc(tmp_path / "two.trc")
    own = upright(crowd.mode[crowd.person == 8])
    expected = np.stack([own[0], own[1], own[2], 0.5 * (own[2] + own[3]), own[3], own[4]])
    assert len(markers) == 34 and np.allclose(markers["person8_RWrist"], expected[:, 16])
    other = upright(crowd.mode[crowd.person == 9])
    assert np.allclose(markers["person9_Hip"][[0, 1, 4, 5]], other[[0, 0, 1, 1], 0])


def load_gltf(path):
    "The document and its buffer."
    raw = path.read_bytes()
    if path.suffix == ".gltf":
        document = json.loads(raw)
        return document, base64.b64decode(document["buffers"][0]["uri"].split(",")[1])
    magic, version, total = struct.unpack("<4sII", raw[:12])
    assert (magic, version, total) == (b"glTF", 2, len(raw))
    length, kind = struct.unpack("<I4s", raw[12:20])
    document, at = json.loads(raw[20 : 20 + length]), 20 + length
    size, second = struct.unpack("<I4s", raw[at : at + 8])
    assert (kind, second) == (b"JSON", b"BIN\0") and at + 8 + size == total and length % 4 == size % 4 == 0
    return document, raw[at + 8 :]


def array_of(document, data, number):
    accessor = document["accessors"][number]
    view = document["bufferViews"][accessor["bufferView"]]
    columns = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
    kind = {5126: "<f4", 5123: "<u2"}[accessor["componentType"]]
    count = accessor["count"] * columns
    assert view["byteOffset"] % 4 == 0 and view["byteLength"] == count * np.dtype(kind).itemsize
    values = np.frombuffer(data, kind, count, view["byteOffset"]).reshape(-1, columns)
    if "min" in accessor:
        assert np.array_equal(values.min(0), accessor["min"]) and np.array_equal(values.max(0), accessor["max"])
    return values


def matrix_of(node):
    "The local 4×4 matrix of a node's translation, rotation and scale."
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = turn * node.get("scale", (1, 1, 1)), node.get("translation", (0, 0, 0))
    return whole


def pose_gltf(document, data, key):
    "World matrices of all nodes of the first person at a keyframe, by name."
    nodes = [dict(node) for node in document["nodes"]]
    for channel in document["animations"][0]["channels"]:
        sampler = document["animations"][0]["samplers"][channel["sampler"]]
        values = array_of(document, data, sampler["output"])
        assert len(values) == len(array_of(document, data, sampler["input"]))
        nodes[channel["target"]["node"]][channel["target"]["path"]] = values[key].astype(np.float64)
    found = {}

    def walk(number, above):
        whole = above @ matrix_of(nodes[number])
        found[nodes[number]["name"]] = whole
        for child in nodes[number].get("children", ()):
            walk(child, whole)

    walk(document["scenes"][0]["nodes"][0], np.eye(4))
    return found


@pytest.mark.parametrize("suffix", [".gltf", ".glb"])
def test_gltf(clip, tmp_path, suffix):
    assert write_poses(tmp_path / f"walk{suffix}", clip) == []
    document, data = load_gltf(tmp_path / f"walk{suffix}")
    assert len(data) == document["buffers"][0]["byteLength"]
    times = array_of(document, data, document["animations"][0]["samplers"][0]["input"])[:, 0]
    assert np.allclose(times, np.arange(40) / 25) and document["asset"]["extras"]["model"] == "poseflow"
    for key in (0, 17, 39):
        found = pose_gltf(document, data, key)
        expected = upright(clip.mode)[key]
        for k, name in enumerate(NAMES):
            assert np.allclose(found[name][:3, 3], expected[k], atol=1e-6)
        for a, b in H36M_17.bones:
            ends = found[f"{NAMES[a]} to {NAMES[b]}"] @ np.array([[0, 0, 0, 1], [0, 1, 0, 1]]).T
            assert np.allclose(ends[:3].T, expected[[a, b]], atol=1e-6), "sticks reach from joint to joint"


def test_gltf_shapes_are_closed_and_face_outward(clip, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    write_poses(tmp_path / "walk.glb", clip)
    scene = trimesh.load_scene(tmp_path / "walk.glb")
    assert len(scene.geometry) == 6 and all(mesh.is_watertight and mesh.volume > 0 for mesh in scene.geometry.values())
    assert np.abs(scene.bounds).max() < 10


def test_npz_holds_everything_under_the_name_that_was_asked_for(crowd, tmp_path):
    write_poses(tmp_path / "result.npz", crowd)
    assert [path.name for path in tmp_path.iterdir()] == ["result.npz"]
    with np.load(tmp_path / "result.npz", allow_pickle=False) as file:
        for name in ("mode", "poses", "log_prob", "radii"):
            assert np.array_equal(file[name], getattr(crowd, name).numpy())
        for name in ("frame", "person", "image"):
            assert np.array_equal(file[name], getattr(crowd, name))
        assert np.array_equal(file["reprojection"], crowd.more["reprojection"])
        assert (str(file["units"]), str(file["model"]), int(file["seed"]), float(file["fps"])) == (
            "metres",
            "diffpose",
            3,
            50.0,
        )
        assert file["joints"].tolist() == list(H36M_17.joints) and "y down" in str(file["axes"])


def test_json_and_csv_give_the_same_bits(crowd, tmp_path):
    write_poses(tmp_path / "a.json", crowd)
    write_poses(tmp_path / "a.csv", crowd)
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["joints"] == list(H36M_17.joints) and document["units"] == "metres"
    rows = document["rows"]
    assert np.array_equal(np.array([row["mode"] for row in rows], np.float32), crowd.mode)
    assert np.array_equal(np.array([row["poses"] for row in rows], np.float32).swapaxes(0, 1), crowd.poses)
    assert [(row["frame"], row["person"], row["image"]) for row in rows][2] == (1, 9, "1.png")
    table = pd.read_csv(tmp_path / "a.csv", dtype={"hypothesis": str})
    modes = table[table.hypothesis == "mode"]
    assert np.array_equal(modes[["x", "y", "z"]].to_numpy(np.float32).reshape(7, 17, 3), crowd.mode)
    assert np.array_equal(modes[["radius_50", "radius_90"]].to_numpy(np.float32).reshape(7, 17, 2), crowd.radii)
    drawn = table[table.hypothesis != "mode"]
    assert np.array_equal(drawn[["x", "y", "z"]].to_numpy(np.float32).reshape(5, 7, 17, 3), crowd.poses)
    assert drawn.radius_50.isna().all() and set(table.joint) == set(H36M_17.joints)
    assert not table.duplicated(["frame", "person", "hypothesis", "joint"]).any()


def test_the_smallest_table(tmp_path):
    write_poses(tmp_path / "a.csv", PoseRecords(wander(1)))
    with open(tmp_path / "a.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 17 and list(rows[0]) == ["frame", "person", "hypothesis", "joint", "x", "y", "z"]


def test_what_is_not_finite_is_null_in_json(tmp_path):
    records = PoseRecords(wander(2), wander(2)[None], torch.tensor([[float("-inf"), 1.0]]))
    write_poses(tmp_path / "a.json", records)
    assert [row["log_prob"] for row in json.loads((tmp_path / "a.json").read_text())["rows"]] == [[None], [1.0]]


@pytest.mark.parametrize("suffix", POSE_SUFFIXES)
def test_one_frame(tmp_path, suffix):
    assert write_poses(tmp_path / f"a{suffix}", PoseRecords(wander(1))) == []


def test_one_person_of_several(crowd, tmp_path):
    remarks = write_poses(tmp_path / "a.bvh", crowd)
    assert remarks[0] == "person 8 alone, since the format holds one; left out: 9"
    remarks = write_poses(tmp_path / "b.bvh", crowd, person=9)
    assert remarks[0] == "person 9: 2 of 4 frames interpolated"
    found, _ = play_bvh(tmp_path / "b.bvh")
    assert np.allclose(0.01 * found["Hip"][[0, 3]], upright(crowd.mode[crowd.person == 9])[:, 0], atol=1e-6)
    with pytest.raises(ConfigError, match="8, 9"):
        write_poses(tmp_path / "c.trc", crowd, person=1)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.npz.gz", ".npz"])
def test_an_ending_that_is_not_known(tmp_path, name):
    with pytest.raises(ConfigError, match=".npz"):
        check_output(tmp_path / name)
    with pytest.raises(ConfigError):
        write_poses(tmp_path / name, PoseRecords(wander(1)))
    assert not list(tmp_path.iterdir())


def test_places_that_take_no_file(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "folder.npz", tmp_path / "none" / "a.npz", tmp_path / "file" / "a.npz"):
        with pytest.raises(DiskError, match="expected"):
            check_output(path)
    with pytest.raises(DiskError):
        check_output(tmp_path / ("x" * 250 + ".npz"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DiskError, match="takes files"):
        check_output(tmp_path / "a.npz")
    tmp_path.chmod(0o700)


def test_checking_leaves_what_is_there(tmp_path):
    (tmp_path / "a.json").write_text("old")
    check_output(tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_reading_gives_back_what_was_written(crowd, tmp_path, suffix):
    beliefs = {"keypoints": torch.rand(7, 16, 2), "covariance": torch.rand(7, 16, 2, 2), "flagged": np.arange(7) > 4}
    beliefs["keypoints"][2, 3] = torch.nan
    whole = dataclasses.replace(
        crowd, source="clips/walk.mp4", more=dict(crowd.more) | beliefs | {"missing": NAMES[:7]}
    )
    write_poses(tmp_path / f"a{suffix}", whole)
    again = read_poses(tmp_path / f"a{suffix}")
    for name in ("mode", "poses", "log_prob", "radii"):
        assert torch.equal(getattr(again, name), getattr(whole, name)), name
    for name in ("frame", "person", "image"):
        assert (getattr(again, name) == getattr(whole, name)).all(), name
    assert (again.fps, again.model, again.seed, again.source) == (50.0, "diffpose", 3, "clips/walk.mp4")
    assert list(again.more) == list(whole.more) and again.more["flagged"].dtype == bool
    assert np.array_equal(again.more["keypoints"], beliefs["keypoints"], equal_nan=True)
    assert again.more["covariance"].shape == (7, 16, 2, 2) and list(again.more["missing"]) == NAMES[:7]


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_the_least_that_a_result_holds(tmp_path, suffix):
    write_poses(tmp_path / f"a{suffix}", PoseRecords(wander(3)))
    again = read_poses(tmp_path / f"a{suffix}")
    assert again.poses is None and again.radii is None and again.fps is None and again.source == "" and not again.more
    np.savez(tmp_path / "b.npz", mode=wander(1).numpy())
    assert len(read_poses(tmp_path / "b.npz")) == 1


def test_damaged_files_are_refused(crowd, tmp_path):
    whole, path = PoseRecords(wander(1), crowd.poses[:, :1]), tmp_path / "a.npz"
    write_poses(path, whole)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    broken = [content[:length] for length in rng.integers(0, len(content), 60)]
    for place in rng.integers(0, len(content), 200):
        broken.append(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
    for candidate in broken:
        path.write_bytes(candidate)
        try:
            assert torch.equal(read_poses(path).mode, whole.mode)
        except DataFileError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "3",
        "{}",
        '{"rows": []}',
        '{"rows": [{"mode": [[1, 2, 3]]}]}',
        '{"rows": [{"mode": null}]}',
        '{"rows": [{"mode": [[["a"]]]}]}',
        '{"rows": [3]}',
        "[" * 100_000,
        "\x00\xff",
        "PK",
    ],
)
def test_foreign_files_are_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content, encoding="latin-1")
    with pytest.raises(DataFileError, match="expected a result"):
        read_poses(tmp_path / "a.json")


def test_foreign_arrays_are_refused(tmp_path):
    mode = wander(2).numpy()
    cases = {
        "pickled": {"mode": mode, "more": np.array([{}, []], dtype=object)},
        "no mode": {"poses": mode[None]},
        "other rows": {"mode": mode, "radii": np.zeros((3, 17, 2))},
        "other joints": {"mode": mode[:, :16]},
        "not finite": {"mode": mode * np.nan},
        "other units": {"mode": mode, "units": "millimetres"},
        "other set": {"mode": mode, "skeleton": "coco_17"},
        "other order": {"mode": mode, "joints": list(H36M_17.joints)[::-1]},
        "twice": {"mode": mode, "frame": np.zeros(2, int)},
        "words": {"mode": mode, "seed": np.array("x")},
    }
    for name, arrays in cases.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
        with pytest.raises(DataFileError, match="expected a result"):
            read_poses(tmp_path / f"{name}.npz")
    for path in (tmp_path, tmp_path / "none.npz"):
        with pytest.raises(DataFileError, match="cannot be read"):
            read_poses(path)
