"Bodies in calibrated pictures: a true body is right in every respect, and wrong ones are wrong where they should be."

from dataclasses import replace

import pytest
import torch

from probpose.bodies.body import load_body
from probpose.data.views import LIMBS_12, hip_centred, limbs_of, render_views
from probpose.geometry.cameras import Camera
from probpose.geometry.crops import Crop, camera_box, crop_around, to_picture
from probpose.geometry.rotations import random_rotations
from probpose.geometry.skeletons import COCO_17
from probpose.models.humr.hypotheses import BodyHypotheses
from probpose.models.pretrained import load_pretrained
from probpose.studies.body_pictures import choose_people, read_pictures, spread_hypotheses, write_pictures
from probpose.studies.photographed_bodies import answer_bodies, body_answers, measure_bodies, see_people
from probpose.studies.photographs import judged_pictures, measure_answers
from probpose.vision.detections import ImageDetections

WRISTS = COCO_17.both_sides("wrist")


def placed(people=3):
    "True bodies before a calibrated camera: hypotheses, evidence and twelve joints (B, 12, 3) in camera axes."
    body, source = load_body(), torch.Generator().manual_seed(0)
    rotations = torch.eye(3).repeat(people, 22, 1, 1)
    small = random_rotations(people * 21, generator=source).unflatten(0, (people, 21))
    u, _, v = torch.linalg.svd(torch.lerp(torch.eye(3), small, 0.15))
    rotations[:, 1:] = u @ v
    rotations[:, 0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    betas = torch.zeros(people, body.num_betas)
    place = torch.tensor([[0.4, -0.2, 3.6]]) + torch.tensor([[-0.3, 0.1, 0.5]]) * torch.arange(people)[:, None]
    fields = torch.full((people, 2), 1100.0), torch.tensor([[520.0, 380.0]]).expand(people, 2)
    lens = torch.tensor([[-0.05, 0.1, 0.0, 0.0, 0.0]]).expand(people, 5)
    camera = Camera(*fields, lens, torch.eye(3).expand(people, 3, 3), torch.zeros(people, 3), (1000, 800))
    joints = body.points("coco_17", rotations, betas) + place[:, None]
    crop = crop_around(camera.project(joints) + 0.5)
    box = camera_box(crop, camera)
    weak = torch.cat([2 / (place[:, 2:] * box[:, 2:]), place[:, :2] - box[:, :2] * place[:, 2:]], 1)
    made = BodyHypotheses(rotations[None], betas, weak, torch.zeros(1, people), box, body)
    cells = made.to_map("coco_17")[0]
    grid = torch.stack(torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="xy"), -1)
    near = (grid[None, None] - (4 * cells + 1.5)[:, :, None, None]).norm(dim=-1).amin(1) < 6
    scores = torch.ones(people, 17).index_fill(1, torch.tensor(WRISTS), 0.3)
    seen = ImageDetections(cells, scores, box=box, mask=near, features=torch.zeros(people, 4))
    return made, seen, limbs_of(joints, COCO_17), camera, crop


def measures(made, seen, truth, change=None):
    "Mean of every measure over people."
    answers = body_answers(made, seen)
    if change is not None:
        answers = replace(answers, joints=change(answers.joints))
    around = hip_centred(truth)
    place = (truth - around)[:, 0]
    own = measure_answers(hip_centred(answers.joints), hip_centred(answers.joints)[0], around, own_size=True)
    scaled = measure_answers(hip_centred(answers.joints), hip_centred(answers.joints)[0], around)
    table = measure_bodies(answers, place, around)
    found = {}
    for part in (own, scaled, table):
        found |= part.groupby(["metric", "statistic"])["value"].mean().to_dict()
    return found, answers


def test_the_true_body_makes_no_error():
    made, seen, truth, *_ = placed()
    found, answers = measures(made, seen, truth)
    for metric in ("mpjpe", "n_mpjpe", "pa_mpjpe", "place_error", "place_depth", "pa_to_detector"):
        assert found[metric, "mode"] < 0.1, metric
    assert found["error_2d", "mode"] < 0.01 and found["percent_inside", "mean"] == 100
    assert found["mask_distance", "mean"] == 0 and not answers.alarm.any()
    assert torch.equal(answers.doubtful.nonzero()[:2, 1], torch.tensor(WRISTS))


def test_a_mirrored_body_does():
    made, seen, truth, *_ = placed()
    order = list(LIMBS_12.mirror_order)
    found, _ = measures(made, seen, truth, lambda joints: joints[..., order, :])
    assert found["mpjpe", "mode"] > 150 and found["pa_mpjpe", "mode"] > 50 and found["place_error", "mode"] < 0.1


def test_a_body_at_another_place_is_only_there():
    made, seen, truth, *_ = placed()
    step = torch.tensor([0.03, 0.0, -0.04])
    found, _ = measures(made, seen, truth, lambda joints: joints + step)
    assert found["place_error", "mode"] == pytest.approx(50, abs=0.1)
    assert found["place_depth", "mode"] == pytest.approx(40, abs=0.1) and found["mpjpe", "mode"] < 0.1


def test_another_size_is_an_error_in_metres_alone():
    made, seen, truth, *_ = placed()
    found, _ = measures(made, seen, truth, lambda joints: 1.1 * joints)
    assert found["mpjpe", "mode"] > 20 and found["n_mpjpe", "mode"] < 0.1 and found["place_depth", "mode"] > 300


def test_joints_that_leave_the_person_are_counted():
    made, seen, truth, *_ = placed()
    nobody_there = replace(seen, mask=torch.zeros_like(seen.mask).index_fill(1, torch.arange(3), True))
    found, _ = measures(made, nobody_there, truth)
    assert found["percent_inside", "mean"] == 0 and found["mask_distance", "mean"] > 20
    moved = replace(seen, keypoints=seen.keypoints + torch.tensor([3.0, 4.0]))
    assert measures(made, moved, truth)[0]["error_2d", "mode"] == pytest.approx(20, abs=0.01)


def test_the_focal_length_says_how_far_away_somebody_is():
    made, seen, truth, camera, crop = placed()
    longer = camera_box(crop, replace(camera, focal=2 * camera.focal))
    found, _ = measures(replace(made, box=longer), seen, truth)
    assert found["place_depth", "mode"] == pytest.approx(1000 * float(truth[..., 2].mean()), rel=0.05)


@pytest.fixture(scope="module")
def judged():
    "Rendered people before four cameras, whose place is known."
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("warp")
    views = render_views(2)
    return views, judged_pictures(views)


def test_places_and_squares_are_those_of_the_camera(judged):
    views, pictures = judged
    for row in range(len(pictures)):
        camera = views.cameras[int(pictures.view[row])]
        local = camera.to_camera(views.truth[int(pictures.moment[row])])
        assert (local[LIMBS_12.both_sides("hip")].mean(0) - pictures.place[row]).norm() < 0.15
        expected = pictures.crop[row].to_map(camera.project(local).float() + 0.5)
        assert (to_picture(local.float(), pictures.box[row], 256) - expected).norm(dim=-1).max() < 0.1
        seen = pictures.crop[row].to_map(pictures.people[row].keypoints[11:17])
        assert seen.min() > 0 and seen.max() < 256, "the square holds the person"


@pytest.mark.parametrize("detector", ["open", "blazepose"])
def test_either_detector_gives_evidence_with_masks(judged, detector):
    _, pictures = judged
    rows, seen = see_people(pictures.shown[:3], pictures.box[:3], detector)
    assert seen.detector == detector and len(rows) == len(seen) == 3 and seen.mask.flatten(1).any(1).all()
    assert torch.equal(seen.box, pictures.box[:3])


def test_squares_without_anybody_are_left_out(judged):
    _, pictures = judged
    shown = pictures.shown[:3].clone()
    shown[1] = 128
    rows, seen = see_people(shown, pictures.box[:3], "blazepose")
    assert rows.tolist() == [0, 2] and torch.equal(seen.box, pictures.box[[0, 2]])


def test_shipped_weights_answer_and_repeat_themselves(judged):
    _, pictures = judged
    model = load_pretrained("humr")
    rows, seen = see_people(pictures.shown[:3], pictures.box[:3], model.config.detector)
    first, again, other = (answer_bodies(seen, model, 4, seed, chunk=2) for seed in (0, 0, 1))
    assert first.joints.shape == (4, 3, 12, 3) and torch.equal(first.joints, again.joints)
    assert torch.equal(first.joints[0], other.joints[0]) and not torch.equal(first.joints[1], other.joints[1])
    assert (first.place - pictures.place[rows]).norm(dim=-1).max() < 2


def test_chosen_pictures_are_what_they_are_called():
    made, seen, *_ = placed(6)
    seen = replace(seen, scores=seen.scores.index_fill(0, torch.tensor([1, 2, 3, 4, 5]), 1.0))
    answers = body_answers(replace(made, rotations=made.rotations.expand(5, -1, -1, -1, -1)), seen)
    moved = answers.cells.clone()
    moved[1:, 0, WRISTS[0]] += torch.arange(4)[:, None] * 5.0
    answers = replace(answers, cells=moved)
    errors, away = torch.tensor([30.0, 10, 20, 40, 50, 60]), torch.tensor([1.0, 2, 3, 9, 4, 5])
    exchanged = torch.tensor([False, False, False, False, True, False])
    chosen = choose_people(errors, away, torch.tensor([0, 0, 0, 1, 1, 1]), exchanged, answers)
    assert chosen["good"] == 1 and chosen["worst"] == 5 and chosen["usual"] == 3, "another camera than the good one"
    assert chosen["hidden limb"] == 0 and chosen["sides exchanged"] == 4 and chosen["wrong place"] == 2
    assert set(spread_hypotheses(answers.cells[:, 0], answers.doubtful[0])) >= {4}


def test_pictures_in_files_are_small(tmp_path):
    noise = torch.randint(0, 256, (256, 1024, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    files = write_pictures({"usual": noise, "hidden limb": noise // 2, "good": noise}, tmp_path / "made", most=25_000)
    assert len(files) == 3 and all(file.stat().st_size <= 25_000 for file in files)
    back = read_pictures(tmp_path / "made")
    assert list(back) == ["good", "usual", "hidden limb"] and back["good"].shape == (160, 640, 3)
    assert read_pictures(tmp_path / "nowhere") == {}


def test_a_camera_per_square_is_taken():
    crop = Crop(torch.tensor([[400.0, 300.0], [500.0, 200.0]]), torch.tensor([200.0, 300.0]))
    two = Camera(
        torch.tensor([[500.0, 500.0], [1000.0, 1000.0]]),
        torch.tensor([[399.5, 299.5], [299.5, 199.5]]),
        None,
        torch.eye(3).expand(2, 3, 3),
        torch.zeros(2, 3),
        (800, 600),
    )
    assert torch.allclose(camera_box(crop, two), torch.tensor([[0.0, 0.0, 0.4], [0.2, 0.0, 0.3]]), atol=1e-6)
