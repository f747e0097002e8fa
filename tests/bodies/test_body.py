"""Joints, points and surfaces of bodies."""

import numpy as np
import pytest
import roma
import torch

from probpose.bodies.body import Body, load_body
from probpose.core.errors import ConfigError, DataFileError, ShapeError, UnknownNameError
from probpose.core.optional import import_optional
from probpose.geometry.conversions import convert
from probpose.geometry.skeletons import BODY_JOINTS, COCO_17, H36M_17, LSP_14, MPII_16, POINT_SETS, SMPL_24


@pytest.fixture(scope="module")
def body() -> Body:
    return load_body()


def random_pose(*shape, seed=0, size=0.7):
    g = torch.Generator().manual_seed(seed)
    return roma.rotvec_to_rotmat(size * torch.randn(*shape, 22, 3, generator=g)), torch.randn(
        *shape[-1:], 11, generator=g
    )


@pytest.mark.parametrize("name", [n for n in POINT_SETS if n not in ("joints", "surface")])
def test_points_equal_the_regressed_surface(body, name):
    turns, betas = random_pose(2, 5)
    slow = body.regressors[name].float() @ body.vertices(turns, betas)
    assert (body.points(name, turns, betas) - slow).norm(dim=-1).max() < 1e-5


def test_a_sample_of_the_surface_estimates_the_vertex_error(body):
    turns, betas = random_pose(6)
    others, _ = random_pose(6, seed=1)
    vertices = [body.vertices(t, betas) for t in (turns, others)]
    sampled = [body.points("surface", t, betas) for t in (turns, others)]
    assert (sampled[0] - vertices[0][:, body.surface_vertices]).norm(dim=-1).max() < 1e-5
    whole, part = ((a - b).norm(dim=-1).mean(-1) for a, b in (vertices, sampled))
    assert ((part - whole).abs() / whole).max() < 0.05


def test_pose_corrections_are_part_of_the_shortcut(tmp_path):
    "A model with pose blend shapes, as the licensed ones have them."
    with np.load(load_body().path) as file:
        arrays = dict(file)
    arrays["posedirs"] = (0.01 * np.random.default_rng(0).standard_normal(arrays["posedirs"].shape)).astype(
        np.float32
    ) * (np.arange(486) < 189)
    np.savez(tmp_path / "bends.npz", **arrays)
    bends = load_body(tmp_path / "bends.npz")
    turns, betas = random_pose(3)
    for name in ("coco_17", "h36m_17"):
        slow = bends.regressors[name].float() @ bends.vertices(turns, betas)
        assert (bends.points(name, turns, betas) - slow).norm(dim=-1).max() < 2e-5
    assert (bends.points("coco_17", turns, betas) - load_body().points("coco_17", turns, betas)).norm(
        dim=-1
    ).max() > 1e-3


def test_shape_and_rotations_broadcast(body):
    turns, betas = random_pose(3, 4)
    points = body.points("coco_17", turns, betas)
    assert points.shape == (3, 4, 17, 3)
    assert torch.allclose(points[1, 2], body.points("coco_17", turns[1, 2], betas[2]), atol=1e-6)
    assert body.points("coco_17", turns[:, :0], betas[:0]).shape == (3, 0, 17, 3)
    assert body.vertices(turns[:, :0], betas[:0]).shape == (3, 0, body.vertex_count, 3)


def test_gradients_against_differences(body):
    turns, betas = random_pose(1)
    vector = roma.rotmat_to_rotvec(turns).double().requires_grad_()

    def value(v):
        return body.points("coco_17", roma.rotvec_to_rotmat(v).float(), betas).double().square().sum()

    (gradient,) = torch.autograd.grad(value(vector), vector)
    direction = torch.randn(vector.shape, generator=torch.Generator().manual_seed(1)).double()
    step = 1e-2 * direction
    numeric = (value(vector.detach() + step) - value(vector.detach() - step)) / 2e-2
    assert float((gradient * direction).sum()) == pytest.approx(float(numeric), rel=2e-2)


def test_sides_and_directions(body):
    coco = dict(zip(COCO_17.landmarks, body.points("coco_17", body.mean_pose, torch.zeros(11))))
    for part in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        assert coco[f"left_{part}"][0] > 0 > coco[f"right_{part}"][0]
    assert (
        coco["nose"][2] > coco["left_ear"][2]
        and coco["left_eye"][1]
        > coco["nose"][1]
        > coco["left_shoulder"][1]
        > coco["left_hip"][1]
        > coco["left_knee"][1]
    )


def test_point_sets_agree_with_each_other(body):
    turns, betas = random_pose(2, seed=3)
    h36m, mpii, lsp = (body.points(name, turns, betas) for name in ("h36m_17", "mpii_16", "lsp_14"))
    assert torch.allclose(convert(h36m, H36M_17, MPII_16), mpii, atol=1e-5)
    assert torch.allclose(lsp[:, LSP_14.index("l_wrist")], h36m[:, H36M_17.joints.index("LWrist")], atol=1e-6)
    assert torch.allclose(h36m[:, 0], (h36m[:, 1] + h36m[:, 4]) / 2, atol=1e-6)
    assert BODY_JOINTS == [n.replace("left_", "l_").replace("right_", "r_") for n in SMPL_24.joints[:22]]


def test_regressed_joints_stay_at_the_joints(body):
    turns, betas = random_pose(20, seed=4, size=0.4)
    joints, coco = body.joints(turns, betas), body.points("coco_17", turns, betas)
    pairs = [
        (BODY_JOINTS.index(f"{s[0]}_{p}"), COCO_17.landmarks.index(f"{s}_{p}"))
        for s in ("left", "right")
        for p in ("elbow", "wrist", "knee", "ankle", "shoulder", "hip")
    ]
    error = torch.stack([(joints[:, j] - coco[:, c]).norm(dim=-1) for j, c in pairs])
    assert error.mean() < 0.008


def test_bad_arguments(body):
    turns, betas = random_pose(2)
    with pytest.raises(ShapeError, match="22, 3, 3"):
        body.points("coco_17", turns[:, :21], betas)
    with pytest.raises(ShapeError, match="11"):
        body.vertices(turns, betas[:, :10])
    with pytest.raises(ShapeError, match="broadcast"):
        body.joints(turns, betas[[0, 0, 0]])
    with pytest.raises(UnknownNameError, match="coco_17"):
        body.points("coco", turns, betas)
    with pytest.raises(ConfigError, match="num_betas"):
        load_body(num_betas=301)
    with pytest.raises(ConfigError, match="pip install"):
        import_optional("a_package_that_is_not_there")


def test_ten_shapes_are_enough():
    assert load_body(num_betas=10).points("joints", load_body().mean_pose, torch.zeros(10)).shape == (22, 3)


def test_given_regressors(tmp_path, body):
    rows = np.zeros((17, body.vertex_count), np.float32)
    rows[:, 5] = 1
    np.save(tmp_path / "h36m.npy", rows)
    other = load_body(regressors={"h36m_17": tmp_path / "h36m.npy"})
    turns, betas = random_pose(2)
    assert torch.allclose(
        other.points("h36m_17", turns, betas), other.vertices(turns, betas)[:, 5:6].expand(-1, 17, -1), atol=1e-5
    )
    np.save(tmp_path / "wrong.npy", rows[:, :6890])
    with pytest.raises(DataFileError, match="another topology"):
        load_body(regressors={"h36m_17": tmp_path / "wrong.npy"})
    with pytest.raises(DataFileError, match="npy"):
        load_body(regressors={"h36m_17": tmp_path / "none.npy"})


def test_points_of_smpl(smpl_file, write_licensed, tmp_path):
    smpl = load_body(smpl_file, num_betas=10)
    turns, betas = random_pose(3)
    vertices = smpl.vertices(turns, betas[:, :10])
    assert vertices.shape == (3, 6890, 3)
    for name in ("coco_17", "lsp_14"):
        assert (smpl.points(name, turns, betas[:, :10]) - smpl.regressors[name].float() @ vertices).norm(
            dim=-1
        ).max() < 1e-5
    shapes = dict(shapedirs=lambda generator: generator.standard_normal((6890, 3, 10), np.float32))
    hands = write_licensed(tmp_path / "smplh.npz", 6890, [*SMPL_24.parents[:22], *[20] * 15, *[21] * 15], **shapes)
    with pytest.raises(DataFileError, match="SMPL.H"):
        load_body(hands, num_betas=10)


def test_expressions_are_not_taken_for_shape(tmp_path):
    with np.load(load_body().path) as file:
        arrays = dict(file)
    arrays["shapedirs"] = arrays["shapedirs"][:, :, :20]
    np.savez(tmp_path / "ten.npz", **arrays)
    with pytest.raises(ConfigError, match="at most 10"):
        load_body(tmp_path / "ten.npz", num_betas=11)
    ten, (turns, betas) = load_body(tmp_path / "ten.npz", num_betas=10), random_pose(2)
    slow = ten.regressors["coco_17"].float() @ ten.vertices(turns, betas[:, :10])
    assert (ten.points("coco_17", turns, betas[:, :10]) - slow).norm(dim=-1).max() < 1e-5


def test_numbers_of_another_kind_are_refused(body):
    turns, betas = random_pose(1)
    for wrong in ((turns.double(), betas), (turns, betas.double()), (turns.numpy(), betas)):
        for call in (lambda a: body.points("coco_17", *a), lambda a: body.vertices(*a)):
            with pytest.raises(ShapeError, match="float32"):
                call(wrong)
