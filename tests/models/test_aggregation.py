"One pose out of many, against plain loops."

import math

import pytest
import torch

import probpose
from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, NotFiniteError, ShapeError, SkeletonError, UnknownNameError
from probpose.evidence.detections import Detections
from probpose.geometry.conversions import bone_lengths, convert, rest_pose
from probpose.geometry.skeletons import H36M_17
from probpose.models.aggregation import AGGREGATES, aggregate
from probpose.models.scoring import Scorer, ScorerConfig

LOOKING = ("reprojection", "best_reprojection", "score", "best_score")  # ways that look at the seen joints


@pytest.fixture(scope="module")
def truth():
    return rest_pose("h36m_17") + 0.03 * torch.randn(3, 17, 3, generator=make_generator(1))


@pytest.fixture(scope="module")
def drawn(truth):
    return truth + 0.06 * torch.randn(11, 3, 17, 3, generator=make_generator(2))


@pytest.fixture(scope="module")
def seen(truth):
    xy = 200 + 120 * convert(truth, "h36m_17", "mpii_16", approximate=True)[..., :2]
    return Detections.from_keypoints(xy, 0.2 + 0.8 * torch.rand(3, 16, generator=make_generator(3)))


@pytest.fixture(scope="module")
def scorer():
    "One that nobody trained, with a network that has a say."
    scorer = Scorer(ScorerConfig(hidden=16, blocks=1, seed=3))
    with torch.no_grad():
        scorer.network.head[1].weight.mul_(100)
    return scorer


def residual_naive(pose, keypoints, scores, found):
    "Weighted distance after the weighted overlay of one pose on one person's joints, in loops."
    flat = convert(pose.double(), "h36m_17", "mpii_16", approximate=True)[:, :2].tolist()
    joints = [j for j in range(16) if found[j]]
    total = sum(float(scores[j]) for j in joints)

    def centred(points):
        middle = [sum(float(scores[j]) * points[j][a] for j in joints) / total for a in (0, 1)]
        return {j: [points[j][a] - middle[a] for a in (0, 1)] for j in joints}

    ours, theirs = centred(flat), centred(keypoints.double().tolist())
    size = [math.sqrt(sum(float(scores[j]) * (p[j][0] ** 2 + p[j][1] ** 2) for j in joints)) for p in (ours, theirs)]
    scale = size[1] / size[0]
    off = sum(float(scores[j]) * math.hypot(*(scale * ours[j][a] - theirs[j][a] for a in (0, 1))) for j in joints)
    chain = [H36M_17.index(n) for n in "left_ankle left_knee left_hip pelvis spine thorax head".split()]
    height = sum(float((pose[a] - pose[b]).norm()) for a, b in zip(chain, chain[1:]))
    return 100 * off / total / (scale * height)


def expected(how, poses, seen, temperature, scorer):
    "One person after the other, one hypothesis after the other."
    result = []
    for b in range(poses.shape[1]):
        own = poses[:, b].double()
        if how == "mean":
            result.append(sum(own) / len(own))
        elif how == "medoid":
            far = [sum(float((a - c).norm(dim=-1).sum()) for c in own) for a in own]
            result.append(own[far.index(min(far))])
        elif how == "rotation_mean":
            pose = torch.zeros(17, 3, dtype=torch.float64)
            pose[0] = own[:, 0].mean(0)
            for parent, child in H36M_17.bones:
                bones = [h[child] - h[parent] for h in own]
                direction = sum(v / v.norm() for v in bones)
                pose[child] = pose[parent] + direction / direction.norm() * sum(v.norm() for v in bones) / len(bones)
            result.append(pose)
        else:
            if how.endswith("score"):
                merit = scorer.score(poses[:, b : b + 1], seen[b])[:, 0].tolist()
            else:
                off = [residual_naive(h, seen.keypoints[b], seen.scores[b], seen.found[b]) for h in poses[:, b]]
                merit = [-r / temperature for r in off]
            weights = [math.exp(m - max(merit)) for m in merit]
            if how.startswith("best"):
                weights = [float(m == max(merit)) for m in merit]
            result.append(sum(w * h for w, h in zip(weights, own)) / sum(weights))
    return torch.stack(result).float()


@pytest.mark.parametrize("how", AGGREGATES)
def test_equals_plain_loops(how, drawn, seen, scorer):
    found = probpose.aggregate(drawn, seen, how, temperature=0.7, scorer=scorer)
    assert torch.allclose(found, expected(how, drawn, seen, 0.7, scorer), atol=2e-5)


@pytest.mark.parametrize("how", AGGREGATES)
def test_order_and_company_do_not_matter(how, drawn, seen):
    whole = aggregate(drawn, seen, how)
    mixed = aggregate(drawn[torch.randperm(11, generator=make_generator(0))], seen, how)
    assert torch.allclose(mixed, whole, atol=1e-5)
    for b in range(3):
        assert torch.allclose(aggregate(drawn[:, b : b + 1], seen[b], how)[0], whole[b], atol=1e-6)


@pytest.mark.parametrize("how", AGGREGATES)
def test_one_hypothesis_is_the_answer(how, drawn, seen):
    assert torch.allclose(aggregate(drawn[:1], seen, how), drawn[0], atol=1e-5)


def test_limbs_keep_their_length(truth):
    "Poses of one body whose limbs point anywhere: the mean of joints shrinks, that of directions does not."
    arms = truth.expand(40, 3, 17, 3).clone()
    children = [H36M_17.index(name) for name in ("LElbow", "LWrist")]
    for child in children:
        parent = H36M_17.parents[child]
        turned = torch.randn(40, 3, 3, generator=make_generator(child)) + torch.tensor([0.5, 0.0, 0.0])
        length = (truth[:, child] - truth[:, parent]).norm(dim=-1, keepdim=True)
        arms[:, :, child] = arms[:, :, parent] + length * turned / turned.norm(dim=-1, keepdim=True)
    own = bone_lengths(truth)
    assert torch.allclose(bone_lengths(aggregate(arms, how="rotation_mean")), own, atol=1e-5)
    bones = [child - 1 for child in children]  # bones are in the order of the children
    assert (bone_lengths(aggregate(arms, how="mean"))[:, bones] < 0.8 * own[:, bones]).all()


def test_other_joint_sets_and_their_order():
    poses = rest_pose("mpii_16").expand(4, 2, 16, 3) + 0.05 * torch.randn(4, 2, 16, 3, generator=make_generator(0))
    found = aggregate(poses, how="rotation_mean", skeleton="mpii_16")
    assert torch.allclose(bone_lengths(found, "mpii_16"), bone_lengths(poses, "mpii_16").mean(0), atol=1e-5)


def test_weights_follow_the_residual(truth, seen):
    close, far = truth + 0.0, truth * torch.tensor([1.0, 0.6, 1.0])  # the second is squeezed in the picture
    deep = truth * torch.tensor([1.0, 1.0, 3.0])  # depth is not seen, but makes a person taller; nearly no residual
    poses = torch.stack([close, far])
    share = [
        float(((aggregate(poses, seen, "reprojection", t) - far) / (close - far))[:, 2, 1].mean())
        for t in (10.0, 1.0, 0.1)
    ]
    assert 0.5 < share[0] < share[1] < share[2] and share[2] == pytest.approx(1, abs=1e-3)
    assert torch.equal(aggregate(torch.stack([far, deep]), seen, "best_reprojection"), deep)


def test_missing_joints_take_no_part(truth, drawn, seen):
    lost = torch.zeros(3, 16, dtype=torch.bool)
    lost[:, [0, 10]] = True
    hidden = seen.without(lost)
    moved = hidden.keypoints.clone()
    moved[lost] += 40
    elsewhere = Detections(moved, hidden.scores, missing=lost, map_size=64)
    for how in LOOKING:
        assert torch.equal(aggregate(drawn, hidden, how), aggregate(drawn, elsewhere, how))
    for how in ("reprojection", "score"):
        assert not torch.allclose(aggregate(drawn, hidden, how), aggregate(drawn, seen, how))


def test_people_without_key_points(drawn, seen):
    lost = torch.zeros(3, 16, dtype=torch.bool)
    lost[1, 2:] = True
    partly = Detections(seen.keypoints, seen.scores.masked_fill(lost, 0.0), missing=lost)
    for how, instead in zip(LOOKING, ("mean", "medoid", "mean", "medoid")):
        with pytest.warns(UserWarning, match="fewer than 3 joints were seen of 1 people .the first is 1"):
            found = aggregate(drawn, partly, how)
        assert torch.allclose(found[1], aggregate(drawn, how=instead)[1], atol=1e-6)
        assert torch.allclose(found[[0, 2]], aggregate(drawn, seen, how)[[0, 2]], atol=1e-6)


def test_bad_input(drawn, seen):
    for wrong in (drawn[:, 0], drawn[:, :, :16], drawn[..., :2], drawn[:0], drawn[:, :0]):
        with pytest.raises(ShapeError, match="expected"):
            aggregate(wrong)
    broken = drawn.clone()
    broken[3, 1, 4, 0] = torch.nan
    for how in AGGREGATES:
        with pytest.raises(NotFiniteError, match=r"\(3, 1, 4, 0\)"):
            aggregate(broken, seen, how)
    with pytest.raises(UnknownNameError, match="medoid"):
        aggregate(drawn, how="median")
    with pytest.raises(UnknownNameError, match="skeleton"):
        aggregate(drawn, skeleton="dog")
    coco = Detections(torch.rand(3, 17, 2), torch.ones(3, 17), skeleton="coco_17")
    for how in LOOKING:
        with pytest.raises(ConfigError, match="seen joints"):
            aggregate(drawn, None, how)
        with pytest.raises(ShapeError, match="3 people, got 2"):
            aggregate(drawn, seen[:2], how)
        with pytest.raises(SkeletonError, match="from_keypoints"):
            aggregate(drawn, coco, how)
        with pytest.raises(SkeletonError, match="h36m_17"):
            aggregate(drawn[:, :, :16], seen, how, skeleton="mpii_16")
    for how in ("reprojection", "best_reprojection"):
        with pytest.raises(ConfigError, match="temperature"):
            aggregate(drawn, seen, how, temperature=0)
    for wrong in ("scorer", torch.nn.Linear(3, 1), Scorer):
        with pytest.raises(ConfigError, match="load_scorer"):
            aggregate(drawn, seen, "score", scorer=wrong)
