"""Reading pictures and cutting crops."""

import math

import numpy as np
import pytest
import torch

from probpose.core.errors import ConfigError, DataFileError, DegeneratePoseError, NotFiniteError, ShapeError
from probpose.geometry.crops import Crop, crop_around, crop_box
from probpose.vision.images import crop_image, read_image


@pytest.mark.parametrize("mode, colour", [("RGB", (10, 200, 30)), ("L", 90), ("RGBA", (10, 200, 30, 128)), ("P", 3)])
def test_pictures_of_all_kinds_become_rgb(tmp_path, mode, colour):
    from PIL import Image

    file = tmp_path / "a.png"
    Image.new(mode, (7, 5), colour).save(file)
    image = read_image(file)
    assert image.shape == (5, 7, 3) and image.dtype == torch.uint8 and (image == image[0, 0]).all()


def test_pictures_are_turned_upright(tmp_path):
    from PIL import Image

    file, image = tmp_path / "a.jpg", Image.new("RGB", (20, 10))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(file, exif=exif)
    assert read_image(file).shape == (20, 10, 3)


def test_sixteen_bits_of_grey_are_scaled(tmp_path):
    from PIL import Image

    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)[None].repeat(4, 0)
    for name in ("a.png", "a.tif"):
        Image.fromarray(ramp).save(tmp_path / name)
        image = read_image(tmp_path / name)
        assert torch.equal(image, torch.arange(256, dtype=torch.uint8)[None, :, None].expand(4, 256, 3))


def test_four_inks_become_rgb(tmp_path):
    from PIL import Image

    Image.new("CMYK", (7, 5), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    assert (read_image(tmp_path / "a.jpg")[0, 0].int() - torch.tensor([255, 0, 0])).abs().max() < 12


@pytest.mark.parametrize("content", [b"", b"no picture at all", None])
def test_unreadable_pictures(tmp_path, content):
    from PIL import Image

    file = tmp_path / "a.png"
    if content is None:
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(file)
        content = file.read_bytes()[:2000]
    file.write_bytes(content)
    with pytest.raises(DataFileError, match="picture"):
        read_image(file)


def test_a_missing_picture_and_a_folder(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(DataFileError, match="no such file"):
            read_image(path)


def test_crops_and_their_coordinates_agree():
    "A spot of the image appears where `Crop.to_map` says."
    size, at = (300, 240), torch.tensor([[130.3, 90.6]])
    spot = (
        (
            255
            * torch.exp(
                -0.5
                * (
                    ((torch.arange(240.0) + 0.5 - at[0, 1]) / 12)[:, None] ** 2
                    + ((torch.arange(300.0) + 0.5 - at[0, 0]) / 12) ** 2
                )
            )
        )
        .round()
        .to(torch.uint8)
    )
    for side, out in ((200.0, 256), (150.5, 64)):
        crop = Crop(torch.tensor([110.0, 100.0]), torch.tensor(side), out)
        picture = crop_image(spot[..., None].expand(*reversed(size), 3), crop.centre, side, out)[..., 0].float()
        middle = torch.stack([(picture.sum(axis) * torch.arange(float(out))).sum() / picture.sum() for axis in (0, 1)])
        assert (middle - crop.to_map(at)[0]).abs().max() < 0.15


def test_outside_is_black():
    crop = crop_image(torch.full((50, 50, 3), 200, dtype=torch.uint8), (50, 25), 50, 50)
    assert (crop[:, :25] == 200).all() and not crop[:, 25:].any()


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        (((200, 20), 40), ConfigError, "outside the image"),
        (((20, 20), 0), ConfigError, "positive side"),
        (((20, 20), -3), ConfigError, "positive side"),
        (((math.nan, 20), 40), NotFiniteError, "centre"),
        (((20, 20, 20), 40), ShapeError, "centre"),
        (((20, 20), 40, 0), ConfigError, "out"),
    ],
)
def test_crops_that_are_none(arguments, error, words):
    with pytest.raises(error, match=words):
        crop_image(torch.zeros(50, 50, 3, dtype=torch.uint8), *arguments)


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(50, 50, dtype=torch.uint8),
        torch.zeros(50, 50, 4, dtype=torch.uint8),
        torch.zeros(50, 50, 3),
        np.zeros((5, 5, 3), np.uint8),
    ],
)
def test_crops_of_what_is_no_image(image):
    with pytest.raises(ShapeError, match="image"):
        crop_image(image, (20, 20), 10)


def test_box_numbers_are_cliffs():
    points = torch.tensor([[400.0, 100.0], [500.0, 300.0]])
    assert torch.allclose(crop_box(points, (640, 480)), torch.tensor([130.0, -40.0, 250.0]) / 800)
    assert torch.allclose(crop_box(points, (640, 480), 1000.0), torch.tensor([0.13, -0.04, 0.25]))
    assert torch.equal(crop_box(crop_around(points), (640, 480)), crop_box(points, (640, 480))) and crop_box(
        points.expand(3, 2, 2), (640, 480)
    ).shape == (3, 3)
    for focal in (0.0, -5.0):
        with pytest.raises(ConfigError, match="focal"):
            crop_box(points, (640, 480), focal)
    with pytest.raises(ConfigError, match="outside the image"):
        crop_box(points + 2000, (640, 480))
    with pytest.raises(DegeneratePoseError):
        crop_box(points[:1].expand(2, 2), (640, 480))
