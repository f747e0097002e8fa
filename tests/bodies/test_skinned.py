"""Skinned glTF, read by an independent reader and posed with NumPy."""

import base64
import json
import struct

import numpy as np
import pytest
import torch

from probpose.bodies.body import load_body
from probpose.bodies.meshes import body_arrays, viewer_axes
from probpose.bodies.skinned import BodyTrack, format_bodies, save_bodies, save_track
from probpose.core.errors import ConfigError, NotFiniteError, ShapeError

roma = pytest.importorskip("roma")

TYPES, COLUMNS = {5123: "<u2", 5125: "<u4", 5126: "<f4"}, {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Reader:
    "What glTF 2.0 says about nodes, skins and animations, from the specification."

    def __init__(self, content: bytes):
        if content[:4] == b"glTF":
            length = struct.unpack("<I", content[12:16])[0]
            self.json, rest = json.loads(content[20 : 20 + length]), content[20 + length :]
            self.data = rest[8 : 8 + struct.unpack("<I", rest[:4])[0]]
            assert struct.unpack("<I", content[8:12])[0] == len(content) and rest[4:8] == b"BIN\0"
        else:
            self.json = json.loads(content)
            self.data = base64.b64decode(self.json["buffers"][0]["uri"].split(",")[1])
        assert self.json["buffers"][0]["byteLength"] == len(self.data)

    def array(self, number):
        entry = self.json["accessors"][number]
        view = self.json["bufferViews"][entry["bufferView"]]
        kind, columns = np.dtype(TYPES[entry["componentType"]]), COLUMNS[entry["type"]]
        flat = np.frombuffer(self.data, kind, entry["count"] * columns, view["byteOffset"])
        assert view["byteLength"] == flat.nbytes and view["byteOffset"] % 4 == 0
        return flat.reshape(entry["count"], columns)

    def moved(self, seconds):
        "Nodes as they are at a time."
        nodes = [dict(node) for node in self.json["nodes"]]
        (animation,) = self.json["animations"]
        for channel in animation["channels"]:
            sampler, target = animation["samplers"][channel["sampler"]], channel["target"]
            times, values = self.array(sampler["input"])[:, 0], self.array(sampler["output"]).astype(float)
            after = int(np.searchsorted(times, seconds, side="right"))
            before, after = max(after - 1, 0), min(after, len(times) - 1)
            share = (
                0.0 if after == before else np.clip((seconds - times[before]) / (times[after] - times[before]), 0, 1)
            )
            if sampler["interpolation"] == "STEP":
                value = values[before]
            elif target["path"] == "rotation":
                pair = torch.from_numpy(values[[before, after]])
                value = roma.unitquat_slerp(pair[0], pair[1], torch.tensor(float(share))).numpy()
            else:
                value = (1 - share) * values[before] + share * values[after]
            nodes[target["node"]][target["path"]] = value
        return nodes

    def globals(self, nodes):
        parents = {child: k for k, node in enumerate(nodes) for child in node.get("children", ())}

        def matrix(k):
            local, node = np.eye(4), nodes[k]
            turn = roma.unitquat_to_rotmat(torch.tensor(np.array(node.get("rotation", [0, 0, 0, 1.0])))).numpy()
            local[:3, :3] = turn * np.array(node.get("scale", [1.0, 1, 1]))
            local[:3, 3] = node.get("translation", [0, 0, 0])
            return matrix(parents[k]) @ local if k in parents else local

        return [matrix(k) for k in range(len(nodes))]

    def posed(self, seconds):
        "Vertices of every skinned mesh at a time, by the name of its node."
        nodes = self.moved(seconds)
        places, found = self.globals(nodes), {}
        for node in nodes:
            if "skin" not in node:
                continue
            skin, (part,) = self.json["skins"][node["skin"]], self.json["meshes"][node["mesh"]]["primitives"]
            position, joints, shares = (
                self.array(part["attributes"][name]) for name in ("POSITION", "JOINTS_0", "WEIGHTS_0")
            )
            assert np.allclose(shares.sum(1), 1, atol=1e-5) and joints.max() < len(skin["joints"])
            inverse = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
            each = np.stack([places[joint] @ back for joint, back in zip(skin["joints"], inverse)])
            still = np.concatenate([position, np.ones((len(position), 1))], 1)
            blended = np.einsum("vk,vkij->vij", shares, each[joints])
            found[node["name"]] = np.einsum("vij,vj->vi", blended, still)[:, :3]
        return found


@pytest.fixture(scope="module")
def body():
    return load_body()


def track(name, frame, seed, betas=None):
    g = torch.Generator().manual_seed(seed)
    turns = roma.rotvec_to_rotmat(0.35 * torch.randn(len(frame), 22, 3, generator=g))
    upside = torch.diag(torch.tensor([1.0, -1, -1]))  # standing upright before the camera
    turns[:, 0] = upside @ turns[:, 0]
    shape = torch.randn(11, generator=g).expand(len(frame), 11) if betas is None else betas
    return BodyTrack(
        name, np.array(frame), turns, shape, torch.randn(len(frame), 3, generator=g) + torch.tensor([0, 0, 5.0])
    )


def expected(body, one, row):
    return viewer_axes(body.vertices(one.rotations[row], one.shape) + one.translation[row]).numpy()


@pytest.mark.parametrize("binary", [True, False])
def test_a_reader_poses_the_same_surfaces(body, binary):
    tracks = [track("ann", [3, 4, 5, 9], 0), track("bob", [4, 5], 1)]
    found = Reader(format_bodies(tracks, body, binary, fps=10.0))
    for one, frame in ((tracks[0], 3), (tracks[0], 5), (tracks[0], 9), (tracks[1], 4), (tracks[1], 5)):
        row = one.frame.tolist().index(frame)
        off = np.linalg.norm(found.posed((frame - 3) / 10 + 1e-6)[one.name] - expected(body, one, row), axis=1)
        assert off.max() < 8e-3 and off.mean() < 2e-4, (one.name, frame, off.max())
    between = found.posed(0.05)["ann"]
    ends = [expected(body, tracks[0], row) for row in (0, 1)]
    assert min(np.abs(between - end).max() for end in ends) > 0.02, "it moves in between"


def test_nobody_stands_where_nobody_was(body):
    tracks = [track("ann", [0, 1, 2, 3], 0), track("bob", [1, 2], 1)]
    found = Reader(format_bodies(tracks, body, True, fps=10.0))
    sizes = [np.ptp(found.posed(k / 10 + 0.01)["bob"], 0).max() for k in range(4)]
    assert sizes[0] < 1e-6 and sizes[3] < 1e-6 and min(sizes[1:3]) > 0.5
    assert min(np.ptp(found.posed(k / 10)["ann"], 0).max() for k in range(4)) > 0.5


def test_the_file_holds_to_the_format(body):
    found = Reader(format_bodies([track("ann", [0, 2], 0)], body, True))
    nodes, (skin,) = found.json["nodes"], found.json["skins"]
    roots = found.json["scenes"][0]["nodes"]
    assert [node["name"] for node in nodes if "mesh" in node] == ["ann"] and len(skin["joints"]) == 22
    assert nodes[skin["joints"][0]]["name"] == "pelvis" and skin["joints"][0] in roots
    inside = {child for node in nodes for child in node.get("children", ())}
    assert set(roots) | inside == set(range(len(nodes))) and not set(roots) & inside
    times = found.json["animations"][0]["samplers"][0]["input"]
    assert found.array(times)[:, 0].tolist() == [0.0, np.float32(2 / 30)] and "min" in found.json["accessors"][times]
    (part,) = found.json["meshes"][0]["primitives"]
    normals = found.array(part["attributes"]["NORMAL"])
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)


def test_pose_corrections_are_left_out_and_nothing_else(body, tmp_path):
    with np.load(body.path) as file:
        arrays = {name: file[name] for name in file.files}
    g = np.random.default_rng(0)
    bent = arrays | {"posedirs": 0.01 * g.standard_normal(arrays["posedirs"].shape).astype(np.float32)}
    np.savez(tmp_path / "bent.npz", **bent)
    soft, one = load_body(tmp_path / "bent.npz"), track("ann", [0], 2)
    found = Reader(format_bodies([one], soft, True)).posed(0.0)["ann"]
    plain = np.linalg.norm(found - expected(body, one, 0), axis=1)
    corrected = np.linalg.norm(found - expected(soft, one, 0), axis=1)
    assert plain.max() < 8e-3 and corrected.max() > 0.02


def test_a_shape_that_was_estimated_anew_is_the_mean(body):
    betas = torch.stack([torch.zeros(11), 2 * torch.ones(11)])
    one = track("ann", [0, 1], 0, betas)
    assert torch.equal(one.shape, torch.ones(11))
    still = track("ann", [0, 1], 0, torch.ones(2, 11))
    first, second = (Reader(format_bodies([each], body, True)).posed(0.0)["ann"] for each in (one, still))
    assert np.allclose(first, second, atol=1e-6)


def test_arrays_are_those_of_smplx(body, tmp_path):
    one = track("ann", [0, 4], 0)
    with np.load(save_track(tmp_path / "ann.npz", one, 25.0, source="x.mp4")) as file:
        assert file["global_orient"].shape == (2, 3) and file["body_pose"].shape == (2, 63)
        assert file["betas"].shape == (2, 11) and file["transl"].shape == (2, 3) and file["fps"] == 25
        assert file["frame"].tolist() == [0, 4] and "radians" in str(file["axes"]) and str(file["source"]) == "x.mp4"
        vectors = np.concatenate([file["global_orient"][:, None], file["body_pose"].reshape(2, 21, 3)], 1)
        assert np.allclose(roma.rotvec_to_rotmat(torch.from_numpy(vectors)).numpy(), one.rotations, atol=1e-5)


def test_smplx_poses_the_same_body(body):
    smplx = pytest.importorskip("smplx")
    from smplx.lbs import batch_rodrigues, lbs

    assert smplx
    one = track("ann", [0], 3)
    arrays = body_arrays(one.rotations, one.betas, one.translation)
    vectors = torch.cat([arrays["global_orient"], arrays["body_pose"]], 1)
    names = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights")
    with np.load(body.path) as file:
        model = {name: torch.from_numpy(np.asarray(file[name], np.float32)) for name in names}
        parents = torch.from_numpy(file["kintree_table"][0].astype(np.int64))
    parents[0] = -1
    turns = torch.eye(3).repeat(1, len(parents), 1, 1)
    turns[:, :22] = batch_rodrigues(vectors.view(-1, 3)).view(1, 22, 3, 3)
    vertices, _ = lbs(
        one.betas, turns, model["v_template"], model["shapedirs"][:, :, :11], model["posedirs"].flatten(0, 1).T,
        model["J_regressor"], parents, model["weights"], pose2rot=False,
    )  # fmt: skip
    ours = body.vertices(one.rotations, one.betas) + one.translation
    assert torch.allclose(vertices + arrays["transl"], ours, atol=1e-4)


def test_what_is_no_track_is_refused(body, tmp_path):
    turns, betas, place = torch.eye(3).expand(2, 22, 3, 3), torch.zeros(2, 11), torch.zeros(2, 3)
    frames = np.array([0, 1])
    with pytest.raises(ShapeError, match="translation: expected"):
        BodyTrack("a", frames, turns, betas, place[:1])
    with pytest.raises(NotFiniteError, match="betas"):
        BodyTrack("a", frames, turns, betas / 0, place)
    with pytest.raises(ConfigError, match="rising"):
        BodyTrack("a", frames[::-1], turns, betas, place)
    whole = BodyTrack("a", frames, turns, betas, place)
    for tracks, fps in (([], 10.0), ([whole], 0.0), ([whole], float("nan"))):
        with pytest.raises(ConfigError, match="expected at least one track"):
            format_bodies(tracks, body, True, fps)
    with pytest.raises(ConfigError, match="ends in"):
        save_bodies(tmp_path / "a.obj", [whole], body)
