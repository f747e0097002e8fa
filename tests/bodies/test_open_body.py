"""From a character rig to a body model, on a stick person."""

import numpy as np
import pytest
import torch

from probpose.bodies.body import load_body
from probpose.bodies.open_body import (
    fit_regressor,
    joint_of_bone,
    joint_places,
    merged_weights,
    regressor_error,
    shape_error,
    shape_space,
    t_pose,
    write_body,
)
from probpose.core.errors import ConfigError, ShapeError
from probpose.geometry.skeletons import PARENTS_55, SMPLX_55

ARM = ("upperarm01", "lowerarm01", "wrist")


@pytest.fixture(scope="module")
def rig():
    "Labels, parents, heads (20, B, 3) and vertices of people in an A-pose."
    bones = {
        "root": (None, (0, 0, 0)),
        "spine04": ("root", (0, 0.1, 0)),
        "spine03": ("spine04", (0, 0.2, 0)),
        "spine02": ("spine03", (0, 0.3, 0)),
        "neck01": ("spine02", (0, 0.5, 0)),
        "head": ("neck01", (0, 0.65, 0)),
    }
    for side, x in (("L", 1), ("R", -1)):
        for name, above, (a, b, c) in (
            ("upperleg01", "root", (0.1, 0, 0)),
            ("lowerleg01", "upperleg01", (0.13, -0.4, 0.02)),
            ("foot", "lowerleg01", (0.15, -0.8, 0)),
            ("toe2-1", "foot", (0.15, -0.85, 0.1)),
            ("clavicle", "spine02", (0.03, 0.48, 0)),
            ("shoulder01", "clavicle", (0.1, 0.48, 0)),
            ("upperarm01", "shoulder01", (0.17, 0.47, 0)),
            ("lowerarm01", "upperarm01", (0.33, 0.25, 0)),
            ("wrist", "lowerarm01", (0.45, 0.05, 0.05)),
            ("eye", "head", (0.03, 0.7, 0.1)),
        ):
            bones[f"{name}.{side}"] = (
                above if above in ("root", "spine02", "head") else f"{above}.{side}",
                (a * x, b, c),
            )
        for f in "12345":
            for k in (1, 2, 3):
                bones[f"finger{f}-{k}.{side}"] = (
                    f"finger{f}-{k - 1}.{side}" if k > 1 else f"wrist.{side}",
                    ((0.45 + 0.03 * k) * x, 0.05 - 0.03 * k, 0.02 * int(f)),
                )
    labels = list(bones)
    parents = [labels.index(p) if p else -1 for p, _ in bones.values()]
    g = torch.Generator().manual_seed(0)
    heads = torch.tensor([at for _, at in bones.values()])[None] * torch.linspace(0.9, 1.1, 20)[:, None, None]
    vertices = (heads[:, :, None] + 0.03 * torch.randn(6, 3, generator=g)).flatten(1, 2)
    weights, owner = torch.ones(vertices.shape[1], 1), torch.arange(len(labels)).repeat_interleave(6)[:, None]
    return labels, parents, heads, vertices, weights, owner


def test_arms_and_legs_are_straight(rig):
    labels, parents, heads, vertices, weights, owner = rig
    _, placed = t_pose(vertices, heads, weights, owner, labels, parents)
    for side, x in (("L", 1.0), ("R", -1.0)):
        a, b, c = (placed[:, labels.index(f"{bone}.{side}")] for bone in ARM)
        for bone in (b - a, c - b):
            assert torch.allclose(
                torch.nn.functional.normalize(bone, dim=-1), torch.tensor([x, 0.0, 0.0]).expand_as(bone), atol=1e-5
            )
        hip, knee, ankle = (placed[:, labels.index(f"{bone}.{side}")] for bone in ("upperleg01", "lowerleg01", "foot"))
        assert torch.allclose(
            torch.nn.functional.normalize(ankle - hip, dim=-1), torch.tensor([0.0, -1.0, 0.0]).expand_as(hip), atol=1e-5
        )


def test_straightening_is_rigid_for_each_bone(rig):
    labels, parents, heads, vertices, weights, owner = rig
    moved, placed = t_pose(vertices, heads, weights, owner, labels, parents)
    before = (vertices - heads[:, owner[:, 0]]).norm(dim=-1)
    after = (moved - placed[:, owner[:, 0]]).norm(dim=-1)
    assert torch.allclose(before, after, atol=1e-5)


def test_every_bone_has_a_joint(rig):
    labels = rig[0]
    assert (
        {joint_of_bone(b) for b in labels} <= set(SMPLX_55)
        and joint_of_bone("toe3-2.R") == "r_foot"
        and joint_of_bone("finger4-2.L") == "l_ring2"
    )
    for wrong in ("elbow", "upperarm01", "finger9-1.L", "tail.L"):
        with pytest.raises(ConfigError, match="rig"):
            joint_of_bone(wrong)
    assert (
        len(PARENTS_55) == 55
        and PARENTS_55[SMPLX_55.index("l_index2")] == SMPLX_55.index("l_index1")
        and PARENTS_55[SMPLX_55.index("r_thumb1")] == 21
    )


def test_weights_sum_to_one_in_half_precision(rig):
    labels = rig[0]
    g = torch.Generator().manual_seed(1)
    weights = torch.rand(500, 9, generator=g)
    merged = merged_weights(
        weights / weights.sum(1, keepdim=True), torch.randint(0, len(labels), (500, 9), generator=g), labels
    )
    assert (merged.half().double().sum(1) == 1).all() and (merged >= 0).all()


def test_shape_space_and_its_error(rig):
    people = rig[3] - rig[2][:, :1]
    mean, basis = shape_space(people, 4)
    assert (
        shape_error(people, mean, basis)
        < 0.05
        < shape_error(
            people + 0.01 * torch.randn(people.shape, generator=torch.Generator().manual_seed(0)), mean, basis
        )
    )
    coefficients = (people - mean).flatten(1) @ basis.flatten(0, 1) / basis.flatten(0, 1).square().sum(0)
    assert coefficients[:, 0].std() == pytest.approx(1, abs=0.05)
    with pytest.raises(ConfigError, match="people"):
        shape_space(people, 20)


def test_regressor_finds_a_known_combination():
    g = torch.Generator().manual_seed(0)
    vertices = torch.randn(40, 30, 3, generator=g)
    truth = torch.zeros(2, 30)
    truth[0, [3, 7]], truth[1, 11] = torch.tensor([0.25, 0.75]), 1.0
    joints = torch.einsum("jv,nvd->njd", truth, vertices)
    rows = fit_regressor(vertices, joints, vertices.mean(0), joints.mean(0), candidates=60)
    assert (
        (rows >= 0).all()
        and torch.allclose(rows, truth, atol=1e-3)
        and regressor_error(rows, vertices, joints).max() < 0.1
    )


def test_the_written_file_is_a_body(rig, tmp_path):
    labels, parents, heads, vertices, weights, owner = rig
    moved, placed = t_pose(vertices, heads, weights, owner, labels, parents)
    joints = joint_places(placed, labels)
    moved, joints = moved - joints[:, :1], joints - joints[:, :1]
    mean, basis = shape_space(moved, 3)
    rows = fit_regressor(moved, joints, mean, joints.mean(0))
    faces = torch.arange(30).view(10, 3)
    for name in ("one", "two"):
        write_body(tmp_path / f"{name}.npz", mean, basis, merged_weights(weights, owner, labels), rows, faces, [0] * 6)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes(), (
        "the same numbers give the same file"
    )
    body = load_body(tmp_path / "one.npz", num_betas=3)
    assert torch.allclose(body.joints(body.mean_pose, torch.zeros(3)), (rows @ mean)[:22], atol=1e-3)
    with pytest.raises(ShapeError, match="rig"):
        t_pose(vertices, heads[:, :5], weights, owner, labels, parents)


def test_the_shipped_note_belongs_to_the_shipped_file():
    import hashlib
    import json

    path = load_body().path
    note = json.loads(path.with_suffix(".json").read_text())
    assert note["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() and path.stat().st_size < 3e6
    with np.load(path) as file:
        assert (file["weights"].astype(np.float64).sum(1) == 1).all() and file["shapedirs"].shape[2] == 400
    assert "CC0" in (path.parent / "README.md").read_text()
