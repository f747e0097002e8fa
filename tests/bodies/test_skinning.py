"Surfaces are those of smplx, for the open body and for the layouts of the licensed ones."

import sys

import pytest
import roma
import torch

from probpose.benchmarks.plain.bodies import PlainBody
from probpose.bodies.body import load_body
from probpose.bodies.skinning import fold_weights, joint_motions, pose_features, skin
from probpose.core.errors import ConfigError
from probpose.geometry.skeletons import PARENTS_55

NEAR = 1e-5  # metres


@pytest.fixture(scope="module", params=["open", "smpl", "smplx"])
def body(request):
    "A body of each kind, with as many shapes as files of that kind usually have."
    if request.param == "open":
        return load_body()
    path = request.getfixturevalue(f"{request.param}_file")
    return load_body(path, num_betas={"smpl": 10, "smplx": 300}[request.param])


def make_poses(body, count, seed=0, size=0.7):
    generator = torch.Generator().manual_seed(seed)
    turns = roma.rotvec_to_rotmat(size * torch.randn(count, 22, 3, generator=generator))
    betas = torch.randn(count, body.num_betas, generator=generator)
    return turns, betas if body.num_betas < 20 else 0.3 * betas


def test_surfaces_and_joints_are_those_of_smplx(body):
    pytest.importorskip("smplx")
    plain, (turns, betas) = PlainBody(body, chunk=3), make_poses(body, 5)
    vertices, (joints, points) = plain.vertices(turns, betas), plain.points(turns, betas)
    assert vertices.shape == (5, body.vertex_count, 3)
    assert (body.vertices(turns, betas) - vertices).norm(dim=-1).max() < NEAR
    assert (body.joints(turns, betas) - joints).norm(dim=-1).max() < NEAR
    assert (body.points("coco_17", turns, betas) - points).norm(dim=-1).max() < NEAR
    still = body.mean_pose.expand(5, 22, 3, 3)
    assert (body.vertices(turns, betas) - body.vertices(still, betas)).norm(dim=-1).mean() > 0.1


def test_the_names_and_sizes_of_licensed_files(smpl_file, smplx_file):
    for path, name, vertices in ((smpl_file, "smpl", 6890), (smplx_file, "smplx", 10475)):
        body = load_body(path, num_betas=10)
        assert (body.name, body.vertex_count, len(body.faces)) == (name, vertices, 2 * vertices - 4)


@pytest.mark.parametrize("topology", ["smplh", "smplx"])
def test_key_points_of_the_face_are_those_of_smplx(topology, request):
    known = pytest.importorskip("smplx.vertex_ids").vertex_ids[topology]
    body = load_body(request.getfixturevalue({"smplh": "smpl_file"}.get(topology, f"{topology}_file")), num_betas=10)
    rows = body.regressors["coco_17"][:5]
    assert rows.argmax(1).tolist() == [known[name] for name in ("nose", "leye", "reye", "lear", "rear")]
    assert rows.max(1).values.tolist() == 5 * [1.0] and rows.sum(1).tolist() == 5 * [1.0]


def test_gradients_are_those_of_smplx(body):
    pytest.importorskip("smplx")
    plain, found = PlainBody(body), []
    for vertices in (plain.vertices, body.vertices):
        turns, betas = (value.clone().requires_grad_() for value in make_poses(body, 2))
        weights = torch.randn(2, body.vertex_count, 3, generator=torch.Generator().manual_seed(2))
        found.append(torch.autograd.grad((vertices(turns, betas) * weights).sum(), (turns, betas)))
    for theirs, ours in zip(*found):
        assert (theirs - ours).abs().max() < 1e-5 * theirs.abs().max()


def test_shapes_broadcast_and_chunks_do_not_matter(body):
    turns, betas = make_poses(body, 6)
    turns = turns.view(3, 2, 22, 3, 3)
    together = body.vertices(turns, betas[:2])
    assert together.shape == (3, 2, body.vertex_count, 3)
    for i in range(3):
        assert (body.vertices(turns[i], betas[:2], chunk=1) - together[i]).abs().max() < NEAR
    one = body.vertices(turns[1, 1], betas[1])
    assert one.shape == (body.vertex_count, 3) and (one - together[1, 1]).abs().max() < NEAR
    several = body.vertices(turns[0, 0], betas)
    assert several.shape == (6, body.vertex_count, 3) and (several[0] - together[0, 0]).abs().max() < NEAR
    assert body.vertices(turns[:, :0], betas[:0]).shape == (3, 0, body.vertex_count, 3)
    with pytest.raises(ConfigError, match="chunk"):
        body.vertices(turns, betas[:2], chunk=0)


def test_a_body_in_double_precision(body):
    turns, betas = make_poses(body, 2)
    single, double = body.vertices(turns, betas), body.double().vertices(turns.double(), betas.double())
    body.float()
    assert double.dtype == torch.float64 and 0 < (single - double).abs().max() < NEAR


def test_nothing_but_the_comparison_needs_smplx(smplx_file, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "smplx"] + ["smplx", "smplx.vertex_ids"]:
        monkeypatch.setitem(sys.modules, name, None)
    body = load_body(smplx_file, num_betas=3)
    assert body.vertices(body.mean_pose, torch.zeros(3)).shape == (10475, 3)
    with pytest.raises(ConfigError, match=r"probpose\[smplx\]"):
        PlainBody(body)


def test_joints_at_rest_move_with_the_joint_they_hang_on():
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(40, 55, generator=generator, dtype=torch.float64)
    folded = fold_weights(weights, PARENTS_55)
    assert folded.shape == (40, 22) and torch.allclose(folded.sum(1), weights.sum(1))
    moved = folded - weights[:, :22]
    assert torch.allclose(moved[:, 15], weights[:, 22:25].sum(1))  # jaw and eyes
    assert torch.allclose(moved[:, 20], weights[:, 25:40].sum(1))  # the left hand
    assert torch.allclose(moved[:, 21], weights[:, 40:].sum(1))
    assert not moved[:, [j for j in range(22) if j not in (15, 20, 21)]].any()


def test_a_rigid_motion_moves_every_vertex():
    generator = torch.Generator().manual_seed(0)
    surface, rest = torch.randn(2, 3, 9, generator=generator), torch.randn(22, 3, generator=generator)
    turn, shift = roma.random_rotmat(1), torch.randn(3, generator=generator)
    weights = torch.rand(22, 9, generator=generator)
    motions = joint_motions(turn.expand(2, 22, 3, 3), rest @ turn[0].T + shift, rest)
    moved = skin(surface, motions, weights / weights.sum(0))
    assert torch.allclose(moved, turn[0] @ surface + shift[:, None], atol=1e-5)


def test_pose_features_are_zero_at_rest():
    rest = torch.eye(3).expand(4, 22, 3, 3).clone()
    rest[:, 0] = roma.random_rotmat(4)
    assert pose_features(rest).shape == (4, 189) and not pose_features(rest).any()
    rest[2, 3] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    assert pose_features(rest).nonzero().tolist() == [[2, 22], [2, 26]]
