"""Ridge regression on features, and what the study of HuMR records of it."""

import numpy as np
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, ShapeError
from probpose.studies import open_study
from probpose.studies.depths import FEATURES, PENALTIES, predict_by_ridge, scaled_columns
from probpose.studies.humr import HuMRRecipe, humr_config


def plain_ridge(blocks, targets, others):
    "The same by least squares with rows that stand for the penalty, each fold and penalty by itself."
    pairs = [scaled_columns(block.double(), other.double()) for block, other in zip(blocks, others)]
    x, shown = (torch.cat(parts, 1).numpy() for parts in zip(*pairs))
    middle = targets.double().mean(0).numpy()
    y, fold = targets.double().numpy() - middle, np.arange(len(x)) % 5

    def solve(x, y, penalty):
        return np.linalg.lstsq(
            np.vstack([x, penalty**0.5 * np.eye(x.shape[1])]), np.vstack([y, np.zeros((x.shape[1], y.shape[1]))])
        )[0]

    losses = [
        sum(((x[fold == k] @ solve(x[fold != k], y[fold != k], p) - y[fold == k]) ** 2).sum() for k in range(5))
        for p in PENALTIES
    ]
    return shown @ solve(x, y, PENALTIES[int(np.argmin(losses))]) + middle


@pytest.mark.parametrize("noise", [0.01, 3.0])
def test_ridge_is_the_plain_one(noise):
    g = make_generator(0)
    blocks, others = ([torch.randn(n, d, generator=g) * d for d in (4, 9)] for n in (40, 7))
    targets = torch.cat(blocks, 1) @ torch.randn(13, 3, generator=g) + noise * torch.randn(40, 3, generator=g)
    assert np.allclose(predict_by_ridge(blocks, targets, others), plain_ridge(blocks, targets, others), atol=1e-3)


def test_units_that_are_nearly_always_zero_do_no_harm():
    g = make_generator(0)
    features, others = torch.randn(50, 6, generator=g), torch.randn(9, 6, generator=g)
    targets = features[:, :1]
    features[:, 5], others[:, 5] = 0.0, 1.0
    features[0, 5] = 1e-4
    assert (predict_by_ridge([features], targets, [others]) - others[:, :1]).abs().max() < 0.3
    features[0, 5] = 0.0
    assert predict_by_ridge([features], targets, [others]).isfinite().all()
    with pytest.raises(ShapeError, match="at least 10"):
        predict_by_ridge([features[:9]], targets[:9], [others])


def test_the_study_records_every_row(tmp_path):
    for module in ("ai_edge_litert", "warp", "smplx"):
        pytest.importorskip(module)
    runner = open_study("humr", cache=tmp_path, device="cpu", progress=False).runner.run(list(FEATURES))
    records = runner.result().records
    found = {(entry["variant"], entry["metric"]): entry for entry in records}
    assert set(found) == {(name, metric) for name in FEATURES for metric in ("mpjpe", "shape_error")}
    assert all(entry["subset"] == "ridge" and entry["value"] > 0 for entry in records)
    errors = [found[name, "mpjpe"]["value"] for name in FEATURES]
    assert len(set(errors)) == len(errors) and all(40 < error < 600 for error in errors)
    assert found["features_middle", "mpjpe"]["count"] == len(runner.test_data)
    with pytest.raises(ConfigError, match="trains a model"):
        runner.recipe.untrained(runner, "features_middle")
    assert HuMRRecipe().model(runner, "features_deep") is None


def test_all_variants_learn_from_one_detector():
    trained = [name for name in HuMRRecipe.variants if name not in FEATURES]
    assert {humr_config(name, "smoke").detector for name in trained} == {"blazepose"}
    assert (
        humr_config("full", "smoke").features == 387 and humr_config("full", "smoke", detector="open").features == 240
    )
