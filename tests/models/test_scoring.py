"A learned score: recognises what only the evidence can tell, and owes nothing to order, company or hidden joints."

import inspect
from dataclasses import asdict

import pytest
import torch
from torch import nn

from probpose.core.batches import PoseBatch
from probpose.core.devices import make_generator
from probpose.core.errors import (
    CheckpointError,
    ConfigError,
    NotFiniteError,
    ShapeError,
    SkeletonError,
    UnknownNameError,
)
from probpose.evidence.detections import Detections
from probpose.geometry.conversions import convert, rest_pose
from probpose.geometry.skeletons import H36M_17, MPII_16
from probpose.metrics.pose import mpjpe
from probpose.metrics.reprojection import reprojection_error
from probpose.models.aggregation import aggregate
from probpose.models.scoring import (
    Scorer,
    ScorerConfig,
    draw_examples,
    fit_scorer,
    hide_joints,
    load_scorer,
    ranking_loss,
    see_hypotheses,
)
from probpose.training.loop import train
from probpose.training.specs import TrainingConfig

ARM = [H36M_17.index(name) for name in ("LElbow", "LWrist")]
WRIST = MPII_16.index("left_wrist")
TINY = ScorerConfig(hidden=32, blocks=1, hide=0.0)


class Frames:
    "People whose left arm points to the camera or away from it: a confident wrist is in front, an unsure one behind."

    def __init__(self, count, seed):
        noise = make_generator(seed)
        self.front = torch.rand(count, generator=noise) < 0.5
        body = rest_pose("h36m_17") + 0.02 * torch.randn(count, 17, 3, generator=noise)
        xy = 200 + 120 * convert(body, "h36m_17", "mpii_16", approximate=True)[..., :2]
        scores = 0.6 + 0.4 * torch.rand(count, 16, generator=noise)
        scores[:, WRIST] = torch.where(self.front, 0.9, 0.4) + 0.1 * torch.rand(count, generator=noise)
        self.detections = Detections.from_keypoints(xy, scores)
        self.poses = swing(body, self.front[None])[0]
        self.poses -= self.poses[:, :1]
        self.fingerprint = f"arms {count} {seed}"

    def __len__(self):
        return len(self.poses)

    def batch(self, index, heatmaps=False):
        return PoseBatch(self.detections[index], self.poses[index])


def swing(bodies, front):
    "The arm 0.4 m before or behind the body; it projects to the same place."
    poses = bodies.expand(*front.shape, 17, 3).clone()
    poses[..., ARM, 2] += torch.where(front, -0.4, 0.4)[..., None] * torch.tensor([0.5, 1.0])
    return poses


class Mistaken(nn.Module):
    "Knows the body but for a little noise; seven of ten hypotheses have the arm on the wrong side."

    reads_heatmaps = False

    def __init__(self, frames):
        super().__init__()
        self.frames, self.weight = frames, nn.Parameter(torch.zeros(1))

    def sample(self, detections, n, generator):
        rows = [int((self.frames.detections.keypoints == k).all(2).all(1).nonzero()[0]) for k in detections.keypoints]
        plain = self.frames.poses[rows].clone()
        front = self.frames.front[rows]
        plain[..., ARM, 2] -= torch.where(front, -0.4, 0.4)[:, None] * torch.tensor([0.5, 1.0])
        wrong = torch.rand(n, len(rows), generator=generator) < 0.7
        noise = 0.02 * torch.randn(n, len(rows), 17, 3, generator=generator)
        drawn = swing(plain, front ^ wrong) + noise
        return drawn - drawn[..., :1, :]


@pytest.fixture(scope="module")
def trained():
    frames = Frames(400, 0)
    return fit_scorer([Mistaken(frames)], frames, TINY, TrainingConfig(300, 32, device="cpu", progress=False), 12)


@pytest.fixture(scope="module")
def others():
    "People that the scorer has not met, and hypotheses of them."
    frames = Frames(60, 1)
    return frames, Mistaken(frames).sample(frames.detections, 20, make_generator(5))


@pytest.fixture
def loose():
    "A scorer that nobody trained, with a network that has a say."
    scorer = Scorer(ScorerConfig(hidden=16, blocks=1, seed=3))
    with torch.no_grad():
        scorer.network.head[1].weight.mul_(100)
    return scorer


def test_the_right_hypothesis_is_recognised_by_the_evidence(trained, others):
    frames, drawn = others
    error = {
        how: float(mpjpe(aggregate(drawn, frames.detections, how, scorer=trained), frames.poses).mean())
        for how in ("mean", "medoid", "reprojection", "best_reprojection", "score", "best_score")
    }
    plain = min(error[how] for how in ("mean", "medoid", "reprojection", "best_reprojection"))
    assert error["score"] < 0.6 * plain and error["best_score"] < 0.8 * plain, error
    depth = aggregate(drawn, frames.detections, "best_score", scorer=trained)[:, ARM[1], 2]
    assert ((depth < 0) == frames.front).float().mean() > 0.95


def test_the_truth_is_no_argument_of_scores():
    assert list(inspect.signature(Scorer.score).parameters) == ["self", "poses", "detections"]
    assert list(inspect.signature(Scorer.forward).parameters) == ["self", "poses", "keypoints", "weight"]


def test_order_and_company_do_not_matter(trained, others):
    frames, drawn = others
    scores = trained.score(drawn, frames.detections)
    order = torch.randperm(20, generator=make_generator(2))
    assert torch.allclose(trained.score(drawn[order], frames.detections), scores[order], atol=1e-4)
    for b in (0, 17):
        assert torch.allclose(trained.score(drawn[:, b : b + 1], frames.detections[b])[:, 0], scores[:, b], atol=1e-4)


def test_without_context_a_hypothesis_is_judged_by_itself(others):
    frames, drawn = others
    scorer = Scorer(ScorerConfig(hidden=16, blocks=1, context=False))
    alone = torch.cat([scorer.score(one[None], frames.detections) for one in drawn])
    assert torch.allclose(scorer.score(drawn, frames.detections), alone, atol=1e-4)
    assert not torch.allclose(Scorer(ScorerConfig(hidden=16, blocks=1)).score(drawn, frames.detections), alone)


def test_many_are_scored_in_pieces_as_at_once(loose, others, monkeypatch):
    frames, drawn = others
    whole = loose.score(drawn, frames.detections)
    monkeypatch.setattr("probpose.models.scoring._TOGETHER", 50)
    assert torch.allclose(loose.score(drawn, frames.detections), whole, atol=1e-5)


def test_missing_joints_take_no_part(loose, others):
    frames, drawn = others
    lost = torch.zeros(60, 16, dtype=torch.bool)
    lost[:, [0, WRIST]] = True
    seen = frames.detections.without(lost)
    elsewhere = Detections(
        torch.where(lost[..., None], 7.0, seen.keypoints), seen.scores.masked_fill(lost, 0.9), missing=lost
    )
    assert torch.equal(loose.score(drawn, seen), loose.score(drawn, elsewhere))
    moved = Detections(frames.detections.keypoints + 5 * lost[..., None], frames.detections.scores)
    assert not torch.allclose(loose.score(drawn, moved), loose.score(drawn, frames.detections), atol=1e-3)


def test_size_and_place_of_the_picture_do_not_matter(loose, others):
    frames, drawn = others
    xy, scores = frames.detections.keypoints, frames.detections.scores
    here, there = Detections(xy, scores), Detections(0.3 * xy + 40, scores)
    assert torch.allclose(loose.score(drawn, there), loose.score(drawn, here), atol=1e-3)
    shifted = drawn + torch.tensor([0.5, -0.2, 4.0])
    assert torch.allclose(loose.score(shifted, here), loose.score(drawn, here), atol=1e-3)


def test_the_last_number_of_a_hypothesis_is_its_reprojection(others):
    frames, drawn = others
    weight = frames.detections.scores.clone()
    weight[:, 4] = 0
    own, _ = see_hypotheses(drawn, frames.detections.keypoints, weight)
    wanted = reprojection_error(drawn, frames.detections.keypoints, weight > 0, weight)
    assert torch.allclose(5 * own[..., -1], wanted, atol=1e-3)


def test_people_hardly_seen_get_no_score(loose, others):
    frames, drawn = others
    scores = frames.detections.scores.clone()
    scores[3, 2:] = 0
    found = loose.score(drawn, Detections(frames.detections.keypoints, scores))
    assert (found[:, 3] == 0).all() and found[:, 2].std() > 0


def test_ranking_against_a_loop_and_its_gradient():
    noise = make_generator(1)
    scores = torch.randn(5, 3, generator=noise, dtype=torch.float64, requires_grad=True)
    errors = 80 * torch.rand(5, 3, generator=noise, dtype=torch.float64)
    total = 0.0
    for b in range(3):
        middle = sum(float(e) for e in errors[:, b]) / 5
        unit = 1.5 * (sum((float(e) - middle) ** 2 for e in errors[:, b]) / 4) ** 0.5
        wanted = [float((-errors[i, b] / unit).exp()) for i in range(5)]
        given = [float(scores[i, b].detach().exp()) for i in range(5)]
        total -= sum(w / sum(wanted) * torch.tensor(g / sum(given)).log().item() for w, g in zip(wanted, given))
    loss = ranking_loss(scores, errors, 1.5)
    assert loss.item() == pytest.approx(total / 3, rel=1e-6)
    assert torch.autograd.gradcheck(lambda s: ranking_loss(s, errors, 1.5), (scores,))
    loss.backward()
    by_hand = (scores.detach().softmax(0) - (-errors / (1.5 * errors.std(0))).softmax(0)) / 3
    assert torch.allclose(scores.grad, by_hand)


def test_every_weight_learns(loose):
    frames = Frames(8, 2)
    examples = draw_examples([Mistaken(frames)], frames, 6)
    losses = loose.training_step(examples.batch(torch.arange(8)), generator=make_generator(0))
    losses["loss"].backward()
    for name, weight in loose.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.abs().sum() > 0, name


def test_hidden_joints_leave_enough():
    weight = torch.ones(500, 16)
    weight[:100, 3:] = 0
    kept = hide_joints(weight, 0.5, make_generator(0))
    assert torch.equal(kept[:100], weight[:100]), "three joints: none can be spared"
    assert ((kept > 0).sum(1) >= 3).all() and (kept[100:] == 0).any() and torch.equal(kept, kept * weight)
    assert torch.equal(hide_joints(weight, 0.0), weight)


def test_examples_are_sets_with_their_evidence():
    frames = Frames(10, 3)
    scores = frames.detections.scores.clone()
    scores[4, 2:] = 0
    frames.detections = Detections(frames.detections.keypoints, scores)
    model = Mistaken(frames)
    examples = draw_examples([model, model], frames, 5, chunk=4)
    assert {name: tuple(t.shape) for name, t in examples.tensors.items()} == {
        "poses": (18, 5, 17, 3),
        "errors": (18, 5),
        "keypoints": (18, 16, 2),
        "weight": (18, 16),
    }, "one of ten was hardly seen"
    kept = frames.poses[[0, 1, 2, 3, 5, 6, 7, 8, 9]]
    assert torch.allclose(examples.tensors["errors"][:9], mpjpe(examples.tensors["poses"][:9], kept[:, None]))
    assert not torch.equal(examples.tensors["poses"][:9], examples.tensors["poses"][9:]), "each model draws its own"
    assert draw_examples([model, model], frames, 5, chunk=4).fingerprint == examples.fingerprint
    assert draw_examples([model, model], frames, 5, seed=1, chunk=4).fingerprint != examples.fingerprint


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))


def test_same_seed_same_bits_also_after_an_interruption(tmp_path, monkeypatch):
    frames = Frames(40, 4)
    settings = ScorerConfig(hidden=8, blocks=1, dropout=0.1, hide=0.2)
    options = dict(config=settings, training=TrainingConfig(20, 8, device="cpu", progress=False), hypotheses=4)
    whole = fit_scorer([Mistaken(frames)], frames, **options)
    assert same(whole, fit_scorer([Mistaken(frames)], frames, **options))
    other = dict(options, training=TrainingConfig(20, 8, seed=1, device="cpu", progress=False))
    assert not same(whole, fit_scorer([Mistaken(frames)], frames, **other))

    step, calls = Scorer.training_step, []

    def dies(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 13:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(Scorer, "training_step", dies)
    with pytest.raises(KeyboardInterrupt):
        fit_scorer([Mistaken(frames)], frames, run_dir=tmp_path, **options)
    assert same(whole, fit_scorer([Mistaken(frames)], frames, run_dir=tmp_path, **options))
    assert len(calls) < 13 + 20, "it went on from its checkpoint"
    with pytest.raises(CheckpointError, match="another run"):
        train(Scorer(settings), draw_examples([Mistaken(frames)], frames, 5), options["training"], tmp_path)


def test_saved_and_loaded(loose, others, tmp_path):
    frames, drawn = others
    again = load_scorer(loose.save_pretrained(tmp_path / "a", card="# A scorer"))
    assert asdict(again.config) == asdict(loose.config) and not again.training
    assert torch.equal(again.score(drawn, frames.detections), loose.score(drawn, frames.detections))
    assert (tmp_path / "a/README.md").read_text() == "# A scorer"
    large = Scorer(ScorerConfig(hidden=64, blocks=1))
    for compact in ("half", "bytes"):
        close = load_scorer(large.save_pretrained(tmp_path / compact, compact=compact))
        assert torch.allclose(
            close.score(drawn, frames.detections), large.score(drawn, frames.detections), atol=0.05, rtol=0.02
        )
    with pytest.raises(UnknownNameError, match="half"):
        loose.save_pretrained(tmp_path / "b", compact="tiny")
    with pytest.raises(UnknownNameError, match="scorer.safetensors"):
        load_scorer(tmp_path / "nothing")


def test_the_packaged_scorer_is_small_and_loads():
    from probpose.core.storage import packaged_weights

    folder = packaged_weights("scorer")["scorer"]
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 120_000
    assert load_scorer().config == load_scorer(folder).config


@pytest.mark.parametrize(
    "wrong",
    [
        dict(hidden=0),
        dict(blocks=-1),
        dict(dropout=1.0),
        dict(temperature=0.0),
        dict(sharpness=0.0),
        dict(weight_decay=-1.0),
        dict(hide=1.0),
        dict(lr=0.0),
        dict(decay=2.0),
    ],
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Scorer(ScorerConfig(**wrong))


def test_bad_input(loose, others):
    frames, drawn = others
    for wrong in (drawn[:, 0], drawn[:, :, :16], drawn[..., :2]):
        with pytest.raises(ShapeError, match="expected"):
            loose.score(wrong, frames.detections)
    broken = drawn.clone()
    broken[3, 1, 4, 0] = torch.inf
    with pytest.raises(NotFiniteError, match=r"\(3, 1, 4, 0\)"):
        loose.score(broken, frames.detections)
    with pytest.raises(ConfigError, match="seen joints"):
        loose.score(drawn, None)
    with pytest.raises(ShapeError, match="60 people, got 3"):
        loose.score(drawn, frames.detections[:3])
    with pytest.raises(SkeletonError, match="mpii_16"):
        loose.score(drawn, Detections(torch.rand(60, 17, 2), torch.ones(60, 17), skeleton="coco_17"))
    with pytest.raises(UnknownNameError, match="tier"):
        ScorerConfig.for_tier("huge")
    with pytest.raises(ConfigError, match="models"):
        fit_scorer([], frames)
    with pytest.raises(ConfigError, match="hypotheses"):
        fit_scorer([Mistaken(frames)], frames, hypotheses=1)
    blind = Frames(6, 7)
    blind.detections = Detections(blind.detections.keypoints, torch.zeros(6, 16))
    with pytest.raises(ConfigError, match="got none of 6"):
        draw_examples([Mistaken(blind)], blind)
