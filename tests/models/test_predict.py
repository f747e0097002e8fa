"From pixels to posteriors of people."

import pytest
import torch

import probpose
from probpose.core.errors import DataFileError, ShapeError
from probpose.models.predict import predict


@pytest.fixture(scope="module")
def picture():
    "Somebody rendered, 256 px, and the corners of the whole picture."
    for module in ("ai_edge_litert", "warp", "smplx"):
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
