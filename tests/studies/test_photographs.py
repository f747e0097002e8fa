"Pictures of several cameras: what can be judged, and how answers are measured."

import dataclasses

import pytest
import torch

from probpose.core.errors import ConfigError
from probpose.data.views import LIMBS_12, hip_centred, render_views
from probpose.studies import open_study
from probpose.studies.body_pictures import without_faces, write_pictures
from probpose.studies.photographs import (
    answer_pictures,
    body_strips,
    judged_pictures,
    measure_answers,
    skeleton_panels,
)
from probpose.vision.blazepose import BlazePose

pytest.importorskip("ai_edge_litert")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    "The whole chapter at the smoke tier."
    return open_study("photographs", cache=tmp_path_factory.mktemp("cache")).run()


def test_every_variant_has_its_records(study):
    records = study.runner.result().records
    found = {(entry["variant"], entry["metric"]) for entry in records}
    for variant in ("blazepose", "poseflow", "diffpose", "elepose", "humr"):
        assert {(variant, metric) for metric in ("pa_mpjpe", "n_mpjpe", "energy_score")} <= found
    for variant in ("poseflow", "diffpose", "humr"):
        assert {(variant, "coverage_50"), (variant, "coverage_90"), (variant, "alarm")} <= found
    assert not {("blazepose", "coverage_50"), ("elepose", "coverage_50")} & found, "single answers have no regions"
    bodies = {"mpjpe", "place_error", "place_depth", "error_2d", "percent_inside", "mask_distance", "people_found"}
    assert {("humr", metric) for metric in bodies} <= found and ("poseflow", "mpjpe") not in found
    cameras = {entry["group"] for entry in records if entry["metric"] == "error_2d"} - {"all"}
    assert cameras == {f"camera {i}" for i in range(1, 5)}
    assert ("views", "truth_error") in found, "rendered people have a known truth"
    values = {(e["variant"], e["metric"], e["group"]): e["value"] for e in records if e["subset"] == "all"}
    assert values["views", "truth_error", "all"] < 100 and values["views", "error_box", "all"] < 10


def test_stored_skeletons_are_drawn_again(study):
    import pandas as pd

    drawn, truth = skeleton_panels(pd.DataFrame(study.runner.result().curves["skeletons"]))
    assert len(drawn) == len(truth) == 3 and all(poses.shape == (10, 12, 3) for poses in drawn.values())
    assert all(poses.shape == (12, 3) and hip_centred(poses).abs().max() < 1.5 for poses in truth.values())


def test_bodies_are_drawn_over_people_without_faces(study, tmp_path):
    run = study.runner
    strips, kinds = body_strips(run), run.result().curves["bodies"]["kind"]
    assert list(strips) == kinds and {"good", "usual", "worst"} <= set(kinds) and len(kinds) <= 6
    for strip in strips.values():
        square, typical, others, side = strip.split(256, 1)
        assert (typical != square).any(-1).float().mean() > 0.02 < (others != square).any(-1).float().mean()
        assert (side == 255).all(-1).float().mean() > 0.5, "on white"
    assert all(file.stat().st_size <= 15_000 for file in write_pictures(strips, tmp_path))
    for kind, strip in body_strips(run, outlines=True).items():
        colours = {tuple(pixel) for pixel in strip[:, :256].flatten(0, 1).tolist()}
        assert {(243, 243, 243), (168, 168, 168)} < colours and len(colours) <= 4, "nothing of the picture"
        assert torch.equal(strip[:, 768:], strips[kind][:, 768:]), "the same body"


def test_neither_face_nor_surroundings_are_in_a_picture_that_is_drawn(study):
    views = study.runner.test_data
    pictures, finder = judged_pictures(views), BlazePose()
    for row in range(0, len(pictures), 5):
        person, crop, shown = pictures.people[row], pictures.crop[row], pictures.shown[row]
        noise = torch.randint(0, 256, shown.shape, generator=torch.Generator().manual_seed(row)).to(torch.uint8)
        inner = torch.zeros(256, 256, dtype=torch.bool)
        inner[20:-20, 20:-20] = True
        square = without_faces(noise, person, crop, inner, finder)
        assert square[:12].float().std() < 0.2 * noise[:12].float().std(), "surroundings"
        x, y = (crop.to_map(person.keypoints[:1])[0] + 0.5).int().tolist()  # the nose
        part, before = (one[y - 4 : y + 5, x - 4 : x + 5].float() for one in (square, noise))
        assert part.std(unbiased=False) < 0.4 * before.std() and part.numel() > 0


def test_retrained_weights_are_measured_again(study, monkeypatch, tmp_path):
    recipe, run = study.recipe, study.runner
    before = recipe.settings(run, "poseflow")
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.setattr("probpose.studies.photographs.list_packaged", lambda: {"poseflow": tmp_path})
    assert recipe.settings(run, "poseflow") != before
    assert recipe.settings(run, "blazepose") == {"variant": "blazepose"}


def test_a_mistake_in_the_shown_view_does_not_move_its_truth(study):
    views = study.runner.test_data
    judged = judged_pictures(views)
    row = int((judged.view == 1).nonzero()[0])
    moment = int(judged.moment[row])
    person = views.people[moment][1]
    spoilt = dataclasses.replace(person, keypoints=person.keypoints.flip(0))
    people = [list(those) for those in views.people]
    people[moment][1] = spoilt
    again = judged_pictures(dataclasses.replace(views, people=tuple(map(tuple, people))))
    same = int(((again.view == 1) & (again.moment == moment)).nonzero()[0])
    assert torch.equal(again.truth[same], judged.truth[row])


def test_answers_are_measured_without_their_size():
    truth = hip_centred(torch.randn(5, 12, 3, generator=torch.Generator().manual_seed(0)))
    table = measure_answers(3 * truth.expand(4, 5, 12, 3), 3 * truth, truth)
    errors = table[table["metric"].isin(["pa_mpjpe", "n_mpjpe", "energy_score"])]
    assert errors["value"].abs().max() < 0.01
    turned = truth @ torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    table = measure_answers(turned[None], turned, truth).groupby("metric")["value"].mean()
    assert table["pa_mpjpe"] < 0.01 < table["n_mpjpe"] and "coverage_90" not in table


def test_hypotheses_are_the_same_for_the_same_seed(study):
    judged, model = judged_pictures(study.runner.test_data), study.runner.model("poseflow")
    first, second, other = (answer_pictures(judged, model, 3, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert first.shape == (3, len(judged), LIMBS_12.num_joints, 3)


def test_a_clip_without_people_is_refused():
    views = render_views(moments=1, count=3, size=256)
    nobody = dataclasses.replace(views, people=((None, None, None),))
    with pytest.raises(ConfigError, match="none"):
        judged_pictures(nobody)
