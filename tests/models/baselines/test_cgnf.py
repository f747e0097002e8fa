"""The graph flow against plain sums over edges, Jacobians by autograd and whole trainings on toys."""

import math

import pytest
import torch

from probpose.core.batches import FeatureBatch
from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, UnknownNameError
from probpose.evidence.detections import Detections
from probpose.geometry.skeletons import H36M_17, MPII_16
from probpose.models.baselines.cgnf import CGNF, CGNFConfig, GraphFlow, GraphNetwork, drop_evidence, normalise_seen
from probpose.models.pose_vectors import pose_to_relative, relative_to_pose

JOINTS = H36M_17.landmarks[1:]


@pytest.fixture(autouse=True)
def same_first_weights():
    torch.manual_seed(0)


def shake(module, scale=0.3, seed=0):
    "The same module with other weights, act-norms included, in double precision."
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module.eval()


def settings(**changes):
    return CGNFConfig(**{"layers": 4, "hidden": 6, "context": 3, "embedding_hidden": 5} | changes)


@pytest.fixture
def seen():
    mask = torch.rand(3, 16, generator=torch.Generator().manual_seed(3)) < 0.7
    mask[2] = False
    return mask


@pytest.fixture
def keypoints():
    return torch.randn(3, 16, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64) * 7 + 30


def plain_network(network, evidence, seen, x):
    "Shift and scale for one person's joints (16, 2), summed edge by edge as the messages are defined."
    pelvis = MPII_16.index("pelvis")
    nodes = {MPII_16.landmarks[n]: evidence[n] for n in range(16) if seen[n]}
    root = evidence[pelvis] if seen[pelvis] else torch.zeros_like(evidence[pelvis])
    for k in range(2):
        spoken = (
            network.joints[k](x) + (network.names[k].view(16, -1) if isinstance(network.names, torch.Tensor) else 0.0)
        ).relu()
        own, sent = spoken.chunk(2, -1)
        heard = []
        for j, joint in enumerate(JOINTS):
            total = own[j]
            for parent, child in H36M_17.bones:
                if parent == 0 and child == j + 1:
                    total = total + network.roots[k](root).relu()
                elif parent != 0 and parent == j + 1:
                    total = total + sent[child - 1]
                elif parent != 0 and child == j + 1:
                    total = total + sent[parent - 1]
            if joint in nodes:
                total = total + network.told[k](nodes[joint]).relu()
            heard.append(total)
        x = torch.stack(heard)
        if k == 0:
            nodes = {name: network.keeps[0](node).relu() for name, node in nodes.items()}
            root = network.keeps[1](root).relu()
    shift, raw = network.answer(x).T
    return shift, 1 / (1 + (-raw - 2).exp()) + network.least_scale


@pytest.mark.parametrize("identities", [False, True])
def test_messages_are_sums_over_edges(identities, seen):
    network = shake(GraphNetwork(settings(identities=identities)))
    generator = torch.Generator().manual_seed(1)
    evidence, x = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((16, 3, 3), (16, 2, 3, 2)))
    shift, scale = network(x, network.hear(evidence, seen.T))
    for m in range(2):
        for b in range(3):
            expected = plain_network(network, evidence[:, b], seen[b], x[:, m, b])
            assert torch.allclose(shift[:, m, b], expected[0]) and torch.allclose(scale[:, m, b], expected[1])


@pytest.mark.parametrize(
    "changes", [{}, {"embedding": "linear"}, {"embedding": "flat", "identities": True, "layers": 7}]
)
def test_there_and_back_and_the_jacobian(changes, seen, keypoints):
    flow = shake(GraphFlow(settings(**changes)), 0.1)
    x = torch.randn(2, 3, 16, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    heard = flow.hear(normalise_seen(keypoints, seen), seen)
    z, log_det = flow(x, heard)
    back, back_det = flow.inverse(z, heard)
    assert torch.allclose(back, x, atol=1e-8) and torch.allclose(back_det, -log_det) and log_det.shape == (2, 3)
    for b in range(3):
        told = flow.hear(normalise_seen(keypoints[b : b + 1], seen[b : b + 1]), seen[b : b + 1])
        jacobian = torch.autograd.functional.jacobian(
            lambda v, told=told: flow(v.view(1, 16, 3), told)[0].flatten(), x[1, b].flatten()
        )
        assert torch.allclose(torch.linalg.slogdet(jacobian)[1], log_det[1, b], atol=1e-8)


def test_the_first_batch_sets_the_act_norms_and_no_later_one(seen, keypoints):
    flow = GraphFlow(settings()).double().train()
    x = torch.randn(40, 3, 16, 3, generator=torch.Generator().manual_seed(6), dtype=torch.float64) * 3 + 2
    heard = flow.hear(normalise_seen(keypoints, seen), seen)
    flow(x, heard)
    first = flow.norms[0]
    assert torch.allclose(-first.log_scale.exp().log(), x.flatten(0, -2).std(0).log(), atol=1e-3)
    normed = x * first.log_scale.exp() + first.shift
    assert normed.mean().abs() < 1e-6 and abs(normed.std() - 1) < 1e-3
    kept = first.shift.clone()
    flow(x + 5, heard)
    assert torch.equal(first.shift, kept)


def test_density_is_per_metre_and_that_of_the_samples(detections):
    model = shake(CGNF(settings()))
    hypotheses, values = model.sample_and_log_prob(detections, 5, make_generator(0))
    assert torch.allclose(model.log_prob(hypotheses, detections), values, atol=1e-8)
    # the change of variables from the latent to metres, written out with a Jacobian
    person = detections[1]
    seen = model._seen(person)
    heard = model.flow.hear(normalise_seen(person.keypoints.double(), seen), seen)
    x = pose_to_relative(hypotheses[2, 1])

    def latent(v):
        return model.flow(v.view(1, 16, 3) * 3.6, heard)[0].flatten()

    jacobian = torch.autograd.functional.jacobian(latent, x)
    z = latent(x)
    expected = -0.5 * (z.square().sum() + 48 * math.log(2 * math.pi)) + torch.linalg.slogdet(jacobian)[1]
    assert torch.allclose(values[2, 1], expected, atol=1e-8)


def test_mode_is_the_image_of_zero(detections):
    model = shake(CGNF(settings()))
    seen = model._seen(detections)
    heard = model.flow.hear(normalise_seen(detections.keypoints.double(), seen), seen)
    x = model.flow.inverse(torch.zeros(4, 16, 3, dtype=torch.float64), heard)[0]
    assert torch.allclose(model.mode(detections), relative_to_pose(x.flatten(1) / 3.6))


def test_many_hypotheses_go_through_in_parts(detections, monkeypatch):
    model = CGNF(settings()).eval()
    whole = model.sample(detections, 9, make_generator(0))
    monkeypatch.setattr("probpose.models.baselines.cgnf._ROWS", 8)
    assert torch.allclose(model.sample(detections, 9, make_generator(0)), whole, atol=1e-6)


def test_evidence_is_heard_by_its_joint_and_the_neighbours_only():
    network = shake(GraphNetwork(settings()))
    generator = torch.Generator().manual_seed(2)
    evidence, x = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((16, 1, 3), (16, 1, 1, 2)))
    everything = torch.ones(16, 1, dtype=torch.bool)

    def changed(node):
        moved = evidence.clone()
        moved[MPII_16.index(node)] += 1.0
        before, after = (network(x, network.hear(e, everything))[0] for e in (evidence, moved))
        return {JOINTS[j] for j in ((before - after).abs().amax((1, 2)) > 1e-9).nonzero()[:, 0].tolist()}

    assert changed("left_elbow") <= {"left_shoulder", "left_elbow", "left_wrist"} and "left_elbow" in changed(
        "left_elbow"
    )
    assert changed("right_hip") <= {"right_hip", "right_knee"}
    assert changed("pelvis") <= {"left_hip", "right_hip", "spine", "left_knee", "right_knee", "thorax"}
    assert changed("pelvis") >= {"left_hip", "right_hip", "spine"}


@pytest.mark.parametrize("embedding", ["sage", "flat", "linear"])
def test_a_missing_node_has_no_place(embedding, detections):
    model = shake(CGNF(settings(embedding=embedding)))
    lost = torch.zeros(4, 16, dtype=torch.bool)
    lost[:, [3, 10]] = True

    def with_lost(shift):
        moved = detections.keypoints + shift * lost[..., None]
        return Detections(moved, detections.scores, missing=lost)

    here, there = with_lost(0.0), with_lost(17.0)
    poses, values = model.sample_and_log_prob(here, 3, make_generator(0))
    assert torch.equal(poses, model.sample(there, 3, make_generator(0)))
    assert torch.equal(model.log_prob(poses, here), model.log_prob(poses, there)) and torch.isfinite(values).all()
    whole = Detections(detections.keypoints, detections.scores)
    assert not torch.allclose(poses, model.sample(whole, 3, make_generator(0)))


def test_a_wide_bell_is_a_missing_node(detections):
    scores = detections.scores.clone()
    scores[:, 5] = 0.05
    uncertain = Detections(detections.keypoints, scores)
    model = CGNF(settings())
    assert not model._seen(uncertain)[:, 5].any() and model._seen(uncertain)[:, 4].all()
    trusting = CGNF(settings(most_sigma=100.0))
    assert trusting._seen(uncertain).all()


def test_without_any_evidence_everybody_is_the_same(detections):
    model = shake(CGNF(settings(most_sigma=0.01)))
    assert not model._seen(detections).any()
    modes = model.mode(detections)
    assert torch.equal(modes[0], modes[3])


def test_alone_as_in_a_batch(detections):
    model = shake(CGNF(settings()))
    poses = model.sample(detections, 4, make_generator(0))
    together = model.log_prob(poses, detections)
    for b in range(4):
        assert torch.allclose(model.log_prob(poses[:, b : b + 1], detections[b])[:, 0], together[:, b])
        assert torch.allclose(model.mode(detections[b])[0], model.mode(detections)[b])


def test_normalised_points_do_not_know_size_place_or_what_is_missing(keypoints, seen):
    y = normalise_seen(keypoints, seen)
    moved = torch.where(seen[..., None], 5 * keypoints - 11, torch.full_like(keypoints, 1e4))
    assert torch.allclose(normalise_seen(moved, seen), y)
    shown = y[0][seen[0]]
    assert torch.allclose(shown.mean(0), torch.zeros(2).double(), atol=1e-9)
    assert torch.allclose(shown.square().mean(), torch.ones(()).double())
    assert (y[2] == 0).all()
    one = torch.zeros(1, 16, dtype=torch.bool)
    one[0, 7] = True
    assert (normalise_seen(keypoints[:1], one) == 0).all()


def test_training_takes_whole_fifths_of_the_evidence_away():
    seen = torch.rand(3000, 16, generator=torch.Generator().manual_seed(0)) < 0.9
    left = drop_evidence(seen, 0.8, make_generator(1))
    assert not (left & ~seen).any()
    gone = 16 - drop_evidence(torch.ones(3000, 16, dtype=torch.bool), 0.8, make_generator(1)).sum(1)
    assert gone.unique().tolist() == [0, 3, 6, 9, 12]
    assert (gone.bincount()[[0, 3, 6, 9, 12]] / 3000 - 0.2).abs().max() < 0.03
    assert torch.equal(drop_evidence(seen, 0.0, make_generator(1)), seen)


def two_explanations(count=128):
    "Pictures, each of joints that lie 0.3 m before the root or behind it, which nothing tells."
    points = torch.randn(count, 16, 2, generator=make_generator(1)) * 8 + 32
    side = torch.where(torch.rand(count, 16, 1, generator=make_generator(2)) < 0.5, -0.3, 0.3)
    depth = side + 0.05 * torch.randn(count, 16, 1, generator=make_generator(3))
    return FeatureBatch(
        y=points,
        seen=torch.ones(count, 16, dtype=torch.bool),
        x=torch.cat([(points - 32) / 40, depth], -1).flatten(1),
    )


def test_training_lowers_the_loss_and_both_depths_get_a_share():
    toy = two_explanations()
    config = CGNFConfig(layers=6, hidden=24, embedding="flat", embedding_hidden=16, weight_prior=0.0, weight_mode=0.0)
    model = CGNF(config).train()
    optimiser, generator = torch.optim.Adam(model.parameters(), 1e-2), make_generator(4)
    losses = []
    for _ in range(150):
        step = model.training_step(toy, generator=generator)
        optimiser.zero_grad()
        step["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(step["loss"].item())
    assert sum(losses[-10:]) / 10 < losses[0] - 0.5
    evidence = Detections(toy["y"][:16], torch.ones(16, 16))
    depth = model.sample(evidence, 100, make_generator(0))[..., 1:, 2]
    before, behind = ((side * depth > 0.15).float().mean(0) for side in (-1, 1))  # (people, joints)
    assert min(before.mean(), behind.mean()) > 0.3 and min(before.mean(1).min(), behind.mean(1).min()) > 0.2
    assert 1 - before.mean() - behind.mean() < 0.25, "a Gaussian with this spread has 0.38 between them"


def test_the_loss_is_made_of_its_parts():
    toy = FeatureBatch({name: tensor[:6] for name, tensor in two_explanations().items()})
    config = settings(weight_prior=0.25, weight_posterior=2.0, weight_mode=0.5)
    step = CGNF(config).training_step(toy, generator=make_generator(0))
    expected = 0.25 * step["prior"] + 2.0 * step["nll"] + 0.5 * step["mode"]
    assert torch.allclose(step["loss"], expected)


def test_losses_are_densities_and_the_error_of_the_mode():
    toy = FeatureBatch({name: tensor[:6] for name, tensor in two_explanations().items()})
    model = CGNF(settings(most_dropped=0.0)).eval()
    step = model.training_step(toy, generator=make_generator(0))
    evidence, poses = Detections(toy["y"], torch.ones(6, 16)), relative_to_pose(toy["x"])
    unseen = CGNF(settings(most_sigma=0.01)).eval()
    unseen.load_state_dict(model.state_dict())
    for name, its in (("nll", model), ("prior", unseen)):
        expected = -(its.log_prob(poses, evidence) - 48 * math.log(3.6)).mean() / 16
        assert torch.allclose(step[name], expected, atol=1e-5)
    error = 1000 * (model.mode(evidence) - poses)[:, 1:].norm(dim=-1).mean()
    assert torch.allclose(step["mode"], error, rtol=1e-4)


@pytest.mark.parametrize(
    "bad",
    [
        dict(layers=2),
        dict(hidden=0),
        dict(context=1.5),
        dict(embedding_hidden=0),
        dict(most_sigma=0.0),
        dict(least_scale=0.0),
        dict(most_dropped=1.0),
        dict(lr=0.0),
        dict(decay=2.0),
        dict(weight_mode=-1.0),
        dict(weight_prior=0.0, weight_posterior=0.0),
    ],
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        CGNF(CGNFConfig(**bad))


def test_an_unknown_embedding_is_refused():
    with pytest.raises(UnknownNameError, match="sage, flat, linear"):
        CGNF(CGNFConfig(embedding="attention"))


def test_weights_come_back_with_their_act_norms(tmp_path, detections):
    model = CGNF(settings()).train()
    toy = FeatureBatch({name: tensor[:6] for name, tensor in two_explanations().items()})
    model.training_step(toy)
    again = CGNF.from_pretrained(model.save_pretrained(tmp_path))
    assert again.flow.norms[0].started and torch.equal(again.mode(detections), model.eval().mode(detections))
