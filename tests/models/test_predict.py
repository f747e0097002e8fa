"From pixels to posteriors of people."

import pytest
import torch

import probpose
from probpose.core.errors import DataFileError, ShapeError
from probpose.models.predict import map_ahead, predict, predict_pictures


@pytest.fixture(scope="module")
def picture():
    "Somebody rendered, 256 px, and the corners of the whole picture."
    for module in ("ai_edge_litert", "warp"):
        pytest.importorskip(module)
    from probpose.data.detected import load_rendered

    people = load_rendered("synthetic", "test", size=12, seed=0)
    clear = int(people.visible[:, :17].sum(1).argmax())
    return people.images[clear], people.poses[clear], torch.tensor([[0.0, 0.0, 256.0, 256.0]])


@pytest.mark.parametrize("model", ["poseflow", "diffpose"])
def test_a_picture_becomes_people(picture, model):
    image, truth, box = picture
    (person,) = predict(image, model, n=40, boxes=box)
    assert (
        person.poses.shape == (40, 17, 3) and person.radii.shape == (2, 17) and person.person.mask.shape == (256, 256)
    )
    error = 1000 * (person.mode - truth).norm(dim=-1).mean()
    turned = 1000 * (person.mode - truth.roll(3, 0)).norm(dim=-1).mean()
    assert error < 300 and error < 0.7 * turned
    again = predict(image, probpose.load(model), n=40, boxes=box)[0]
    assert torch.equal(again.poses, person.poses), "the seed decides"


def test_nobody_is_an_empty_list_and_no_picture_an_error(picture, tmp_path):
    assert probpose.predict(torch.full((300, 400, 3), 128, dtype=torch.uint8)) == []
    (tmp_path / "notes.jpg").write_text("no picture")
    with pytest.raises(DataFileError):
        predict(tmp_path / "notes.jpg")
    with pytest.raises(ShapeError):
        predict(picture[0].float())


def test_many_pictures_are_like_each_by_itself(rendered):
    pytest.importorskip("ai_edge_litert")
    nobody = torch.full((300, 400, 3), 128, dtype=torch.uint8)
    pictures = [rendered[0][0], nobody, rendered[0][1], *[rendered[0][0]] * 12]
    model = probpose.load("poseflow")
    answers = list(predict_pictures(iter(pictures), model, n=200))
    assert [len(people) for people in answers] == [1, 0, 1, *[1] * 12]
    for picture, people in zip(pictures[:3], answers):
        for one, other in zip(people, predict(picture, model, n=5), strict=True):
            assert (one.mode - other.mode).norm(dim=-1).max() < 2e-3 and one.poses.shape == (200, 17, 3)
    again = list(predict_pictures(pictures, model, n=200))
    assert all(torch.equal(a[0].poses, b[0].poses) for a, b in zip(answers, again) if a), "the seed decides"
    modes = list(predict_pictures(pictures[:1], model, n=0))[0][0]
    assert modes.poses.shape == (0, 17, 3) and modes.radii.isnan().all() and not modes.doubtful


def test_a_picture_that_cannot_be_read_ends_the_row(tmp_path):
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "notes.jpg").write_text("no picture")
    with pytest.raises(DataFileError):
        list(predict_pictures([tmp_path / "notes.jpg"], n=2))


def test_work_ahead_is_in_order_and_bounded():
    begun, threads = [], torch.get_num_threads()

    def items():
        for item in range(50):
            begun.append(item)
            yield item

    results = map_ahead(lambda tool, item: tool + item, [100, 100, 100], items())
    for k, result in enumerate(results):
        assert result == 100 + k and len(begun) - k <= 6
        if k == 30:
            break
    results.close()
    assert len(begun) < 40 and torch.get_num_threads() == threads
    failing = map_ahead(lambda tool, item: 1 // item, [0, 0], iter([1, 1, 0, 1]))
    assert next(failing) == 1
    with pytest.raises(ZeroDivisionError):
        list(failing)
    assert torch.get_num_threads() == threads
