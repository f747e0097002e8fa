"""Conversions of joint sets, bone lengths, the kinematic chain."""

import itertools

import pytest
import torch

from probpose.core.errors import ProbposeError, ShapeError, SkeletonError
from probpose.geometry.conversions import (
    can_convert,
    conversion_matrix,
    convert,
    drop_root,
    insert_root,
    kinematic_chain_matrix,
    rest_pose,
)
from probpose.geometry.skeletons import COCO_17, H36M_17, MPII_16, ROOT_FREE_16, SKELETONS, Skeleton

NAMES = list(SKELETONS)


PAIRS = [(a, b) for a, b in itertools.product(NAMES, NAMES) if a != b]


FACES = ("coco_17", "coco_18", "body_25", "halpe_26", "blazepose_33", "wholebody_133")  # sets with eyes and ears


EXACT = {
    ("h36m_17", "mpii_16"),
    ("h36m_17", "mpi_inf_3dhp_test_17"),
    ("mpi_inf_3dhp_test_17", "h36m_17"),
    ("mpi_inf_3dhp_test_17", "mpii_16"),
    *(
        (big, small)
        for big in ("h36m_32", "mpi_inf_3dhp_28")
        for small in ("h36m_17", "mpii_16", "mpi_inf_3dhp_test_17")
    ),
    *((a, b) for a in FACES for b in ("coco_17", "coco_18") if a != b),
    ("halpe_26", "body_25"),
    ("wholebody_133", "body_25"),
}


STAND_IN = {
    *((a, b) for a in (*FACES, "smpl_24") for b in ("h36m_17", "mpii_16", "mpi_inf_3dhp_test_17")),
    ("mpii_16", "h36m_17"),
    ("mpii_16", "mpi_inf_3dhp_test_17"),
    *((a, b) for a in NAMES for b in ("coco_17", "coco_18") if a != b),
    *((a, "halpe_26") for a in ("body_25", "wholebody_133")),
}


@pytest.mark.parametrize("name", NAMES)
def test_rest_pose_has_no_crossed_sides(name):
    body, person = SKELETONS[name], rest_pose(name)
    for left, right in body.left_right:
        assert person[left, 0] >= 0 >= person[right, 0]
    for parent, child in body.bones:
        assert (person[parent] - person[child]).norm() < 0.65, (body.joints[parent], body.joints[child])


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_pair_is_exact_approximate_or_refused(source, target):
    person, wanted = rest_pose(source), rest_pose(target)
    if (source, target) in EXACT:
        assert torch.allclose(convert(person, source, target), wanted, atol=1e-6)
    else:
        assert not can_convert(source, target)
        with pytest.raises(SkeletonError, match=f"{source} does not determine"):
            convert(person, source, target)
    if (source, target) in EXACT | STAND_IN:
        found = convert(person, source, target, approximate=True)
        assert (found - wanted).norm(dim=-1).max() < 0.11
        matrix = conversion_matrix(source, target, approximate=True)
        assert torch.allclose(matrix.sum(1), torch.ones(len(matrix))) and torch.allclose(
            matrix @ person, found, atol=1e-6
        )
    else:
        assert not can_convert(source, target, approximate=True)
        with pytest.raises(SkeletonError, match="no stand-in"):
            conversion_matrix(source, target, approximate=True)


@pytest.mark.parametrize("name", NAMES)
def test_identity_is_bit_for_bit(name):
    points = torch.randn(3, 2, SKELETONS[name].num_joints, 2)
    assert torch.equal(convert(points, name, name), points)


@pytest.mark.parametrize(
    ("source", "target", "order"),
    [
        ("h36m_17", "mpii_16", [3, 2, 1, 4, 5, 6, 0, 7, 8, 10, 16, 15, 14, 11, 12, 13]),
        ("h36m_32", "h36m_17", [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]),
        ("mpi_inf_3dhp_28", "h36m_17", [4, 23, 24, 25, 18, 19, 20, 3, 5, 6, 7, 9, 10, 11, 14, 15, 16]),
        ("mpi_inf_3dhp_test_17", "h36m_17", [14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4]),
    ],
)
def test_published_index_lists(source, target, order):
    points = torch.randn(4, SKELETONS[source].num_joints, 3)
    assert torch.equal(convert(points, source, target), points[:, order])


@pytest.mark.parametrize("name", [name for name in FACES if name != "coco_17"])
def test_lists_of_detectors_become_ours(name):
    body, points = SKELETONS[name], torch.randn(4, SKELETONS[name].num_joints, 2)
    order = [body.landmarks.index(landmark) for landmark in COCO_17.landmarks]
    assert torch.equal(convert(points, name, "coco_17"), points[:, order]), "shared joints are copied"
    mpii = convert(points, name, "mpii_16", approximate=True)
    for joint, landmark in enumerate(MPII_16.landmarks):
        if landmark in body.landmarks:
            assert torch.equal(mpii[:, joint], points[:, body.landmarks.index(landmark)])
    pelvis, thorax = (mpii[:, MPII_16.landmarks.index(mark)] for mark in ("pelvis", "thorax"))
    assert torch.allclose(mpii[:, 7], 0.57 * pelvis + 0.43 * thorax, atol=1e-5)
    if "head" not in body.landmarks:
        ears = points[:, [body.index("left_ear"), body.index("right_ear")]].sum(1)
        assert torch.allclose(mpii[:, 9], 0.8 * ears - 0.6 * thorax, atol=1e-5)


def test_midpoints_are_exact():
    points = torch.randn(5, 17, 2, dtype=torch.float64)
    mpii = convert(points, "coco_17", "mpii_16", approximate=True)
    assert mpii.dtype == torch.float64
    assert torch.allclose(mpii[:, 6], (points[:, 11] + points[:, 12]) / 2)
    assert torch.allclose(mpii[:, 8], (points[:, 5] + points[:, 6]) / 2)
    trunk = Skeleton("trunk", ("pelvis", "thorax"), (-1, 0), ())
    assert torch.allclose(convert(points, "coco_17", trunk), mpii[:, [6, 8]])


def test_stand_ins_do_not_depend_on_the_origin():
    points, shift = torch.randn(17, 2, dtype=torch.float64), torch.tensor([300.0, -20.0], dtype=torch.float64)
    assert torch.allclose(
        convert(points + shift, "coco_17", "mpii_16", True), convert(points, "coco_17", "mpii_16", True) + shift
    )


def test_refusal_names_the_joints_and_the_remedy():
    with pytest.raises(SkeletonError) as error:
        convert(torch.zeros(17, 2), "coco_17", "mpii_16")
    assert all(word in str(error.value) for word in ("thorax (spine)", "head_top (head)", "approximate=True"))
    assert "pelvis" not in str(error.value)


@pytest.mark.parametrize(
    "points", [torch.zeros(16, 3), torch.zeros(17), torch.zeros(2, 17, 3, dtype=torch.long), [[0.0, 0.0]] * 17]
)
def test_convert_refuses_wrong_arrays(points):
    with pytest.raises(ShapeError):
        convert(points, "h36m_17", "mpii_16")


def test_missing_joint_stays_where_it_is():
    points = torch.randn(17, 2)
    points[COCO_17.index("right_hip")] = float("nan")
    lost = convert(points, "coco_17", "mpii_16", approximate=True).isnan().any(-1).nonzero().flatten().tolist()
    assert [MPII_16.landmarks[j] for j in lost] == ["right_hip", "pelvis", "spine"]


def test_convert_has_gradients():
    points = torch.randn(2, 17, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: convert(p, "coco_17", "mpii_16", True), (points,))


def test_kinematic_chain_gram_matrix():
    poses, chain = torch.randn(4, 17, 3), kinematic_chain_matrix("h36m_17")
    assert chain.shape == (17, 16)
    bones = poses.mT @ chain
    lengths = torch.stack(
        [(poses[:, child] - poses[:, parent]).norm(dim=-1) for parent, child in H36M_17.bones], dim=-1
    )
    assert torch.allclose((bones.mT @ bones).diagonal(dim1=-2, dim2=-1).sqrt(), lengths, atol=1e-5)
    with pytest.raises(SkeletonError):
        kinematic_chain_matrix("h36m_17", joints=range(1, 17))


def test_root_removal_and_return():
    poses = torch.randn(2, 3, 17, 3)
    poses[..., 0, :] = (poses[..., 1, :] + poses[..., 4, :]) / 2
    assert torch.allclose(insert_root(drop_root(poses)), poses)
    assert torch.equal(drop_root(poses), poses[..., list(ROOT_FREE_16), :])
    for function, wrong in ((insert_root, poses), (drop_root, poses[..., 1:, :]), (drop_root, None)):
        with pytest.raises(ProbposeError):
            function(wrong)


def test_order_of_the_real_recordings(cmu_path):
    np = pytest.importorskip("numpy")
    archive = cmu_path if cmu_path.is_file() else cmu_path / "cmu_h36m17_30hz.npz"
    with np.load(archive, allow_pickle=False) as data:
        assert tuple(map(str, data["joint_names"])) == H36M_17.joints
        assert tuple(map(tuple, data["bones"].tolist())) == H36M_17.bones
        positions = torch.from_numpy(data["positions"][data["valid"]][::500])
    pelvis = (positions[:, 1] + positions[:, 4]) / 2
    assert (positions[:, 0] - pelvis).norm(dim=-1).max() < 1e-3
    thorax = (positions[:, 11] + positions[:, 14]) / 2
    assert (positions[:, 8] - thorax).norm(dim=-1).mean() < 0.01
    back = convert(convert(positions, "h36m_17", "mpii_16"), "mpii_16", "h36m_17", approximate=True)
    error = (back - positions).norm(dim=-1).mean(0)
    assert error[9] < 0.05 and error[[j for j in range(17) if j != 9]].max() == 0
