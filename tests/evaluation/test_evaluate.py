"Tidy tables, streaming, and input that is refused."

import resource

import numpy as np
import pytest
import torch

from probpose.core.errors import ConfigError, NotFiniteError, ShapeError, UnknownNameError
from probpose.evaluation.curves import hypothesis_curve
from probpose.evaluation.evaluate import evaluate, summarise
from probpose.evaluation.protocols import PROTOCOLS
from probpose.metrics.scores import crps, energy_score

QUIET = dict(device="cpu", progress=False)


def test_table_is_tidy_and_complete(evaluated):
    assert list(evaluated.columns) == ["frame", "action", "subject", "hard", "metric", "statistic", "value"]
    assert not evaluated.isna().any().any() and not evaluated.duplicated(["frame", "metric", "statistic"]).any()
    assert len(evaluated) == 24 * (len(PROTOCOLS) * 5 + 6)
    row = evaluated[evaluated.frame == 5].iloc[0]
    assert (row.action, row.subject, bool(row.hard)) == ("jump", "09", True)
    assert set(evaluated[evaluated.statistic == "set"].metric) == {
        "spread_x",
        "spread_y",
        "spread_z",
        "energy_score",
        "crps",
        "nll",
    }


def test_each_metric_takes_its_own_best_hypothesis(Frames, values):
    truth = Frames(1)

    def two(detections, n, generator=None):
        turned = detections.truth.clone()
        turned = (turned - turned[:, :1]) @ torch.tensor(
            [[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]
        )  # perfect after alignment
        near = detections.truth + 0.01 * torch.randn(detections.truth.shape, generator=torch.Generator().manual_seed(0))
        return torch.stack([turned, near])

    frame = evaluate(two, truth, n=2, **QUIET)
    assert (
        values(frame, "pa_mpjpe", "best")[0] < 0.1
        and 1 < values(frame, "mpjpe", "best")[0] < 40 < values(frame, "mpjpe", "worst")[0]
    )


def test_batches_and_training_mode_do_not_show(evaluated, Frames, Fixed):
    model = Fixed().train()
    again = evaluate(model, Frames(), n=9, batch_size=64, **QUIET)
    assert model.training
    assert np.allclose(evaluated.value, again.value, rtol=1e-4, atol=1e-3)


def test_set_scores_follow_their_definitions(evaluated, Frames, Fixed, values):
    data = Frames()
    with torch.no_grad():
        h = Fixed().eval().sample(data.batch(torch.arange(24)).detections, 9)
    h, t = h - h[:, :, :1], data.poses - data.poses[:, :1]
    spread = 1000 * h.std(0)[:, 1:].mean(1)
    for k, axis in enumerate("xyz"):
        assert np.allclose(values(evaluated, f"spread_{axis}", "set"), spread[:, k], rtol=1e-3)
    assert np.allclose(values(evaluated, "crps", "set"), crps(h, t)[:, 1:].mean((1, 2)), rtol=1e-3)
    assert np.allclose(values(evaluated, "energy_score", "set"), energy_score(h, t), rtol=1e-3)
    assert np.allclose(values(evaluated, "nll", "set"), t.square().sum((1, 2)), rtol=1e-3)


def test_same_seed_same_numbers(Frames):
    def draw(d, n, generator):
        return d.truth + 0.1 * torch.randn(n, len(d), 17, 3, generator=generator)

    first, second, third = (evaluate(draw, Frames(8), n=5, seed=s, **QUIET).value for s in (1, 1, 2))
    assert first.equals(second) and not first.equals(third)


def test_one_hypothesis_and_missing_labels(Frames, values):
    frame = evaluate(
        lambda d, n, generator: d.truth[None] * 1.0, Frames(5, labels=False), n=1, protocols=("mpjpe", "cps"), **QUIET
    )
    assert set(frame.metric) == {"mpjpe", "cps"} and set(frame.statistic) == {"best", "mean", "median", "worst"}
    assert values(frame, "mpjpe", "best").max() == 0 and (frame.action == "").all() and not frame.hard.any()


@pytest.mark.parametrize(
    "sampler, options, error, word",
    [
        (lambda d, n, generator: torch.zeros(n, len(d), 16, 3), {}, ShapeError, "17"),
        (lambda d, n, generator: torch.zeros(len(d), n, 17, 3), {}, ShapeError, "hypotheses come first"),
        (lambda d, n, generator: torch.full((n, len(d), 17, 3), float("inf")), {}, NotFiniteError, "trained"),
        (lambda d, n, generator: None, {}, ShapeError, "tensor"),
        ("poseflow", {}, ConfigError, "PosePosterior"),
        (None, {"n": 0}, ConfigError, "n: expected"),
        (None, {"batch_size": 0}, ConfigError, "batch_size"),
        (None, {"protocols": ("mjpje",)}, UnknownNameError, "pa_mpjpe"),
        (None, {"device": "abacus"}, ConfigError, "abacus"),
    ],
)
def test_bad_input_gets_a_sentence(sampler, options, error, word, Frames, Fixed):
    with pytest.raises(error, match=word):
        evaluate(Fixed() if sampler is None else sampler, Frames(5), **({"n": 3} | QUIET | options))


def test_broken_data_is_refused(Frames, Fixed):
    with pytest.raises(ConfigError, match="data set"):
        evaluate(Fixed(), Frames(0), n=3, **QUIET)
    broken = Frames(5)
    broken.poses[3, 2, 1] = float("nan")
    with pytest.raises(NotFiniteError):
        evaluate(Fixed(), broken, n=3, **QUIET)


def test_memory_does_not_grow_with_the_data(Frames):
    "6,000 frames × 500 hypotheses are 612 MB of poses; what is kept is a few numbers per frame."

    def few(d, n, generator):
        return d.truth[None] + torch.linspace(0, 0.1, n)[:, None, None, None]

    evaluate(few, Frames(64), n=500, protocols=("mpjpe",), **QUIET)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    hypothesis_curve(few, Frames(6000), counts=(1, 500), protocols=("mpjpe",), **QUIET)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250_000  # KiB


def test_summaries_are_means_of_rows(evaluated):
    table = summarise(evaluated, by=("action", "hard"), group_mean="average")
    pick = table[(table.metric == "cps") & (table.statistic == "best")]
    rows = evaluated[(evaluated.metric == "cps") & (evaluated.statistic == "best")]
    one = pick[(pick.action == "sit") & (pick.hard == True)]  # noqa: E712
    chosen = rows[(rows.action == "sit") & rows.hard]
    assert (
        len(one) == 1
        and one.value.iloc[0] == pytest.approx(chosen.value.mean())
        and one["count"].iloc[0] == len(chosen)
    )
    groups = pick[~pick.action.isin(["average", "all"])]
    assert pick[pick.action == "average"].value.iloc[0] == pytest.approx(groups.value.mean())
    assert pick[pick.action == "all"].value.iloc[0] == pytest.approx(rows.value.mean())
    with pytest.raises(UnknownNameError, match="column"):
        summarise(evaluated, by=("camera",))


def test_people_with_missing_joints_have_no_likelihood(values):
    from probpose.data import load
    from probpose.data.joined import hide_joints
    from probpose.models import build

    data = hide_joints(load("synthetic", "test", size=12), complete=0.5)
    lacking = ~data.detections.found.all(1)
    frame = evaluate(build("poseflow", "smoke"), data, n=2, **QUIET)
    assert 0 < lacking.sum() < 12 and np.isnan(values(frame, "nll", "set")).tolist() == lacking.tolist()
