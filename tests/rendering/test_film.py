"""What a camera changes, and what it leaves."""

from dataclasses import replace

import pytest
import torch

from probpose.rendering.film import Film, FilmConfig, develop, random_film
from probpose.rendering.looks import Draws
from probpose.rendering.scenes import everyday_scenes

pytest.importorskip("warp")
pytest.importorskip("PIL")

FILMS = {
    "motion": Film(motion=(0.06, 0.02)),
    "shake": Film(shake=(0.0, 0.05)),
    "softness": Film(softness=0.02),
    "small": Film(side=40),
    "exposure": Film(brightness=0.6, gamma=0.8),
    "balance": Film(gains=(1.2, 1.0, 0.8)),
    "noise": Film(noise=0.08),
    "grey": Film(grey=True),
    "file": Film(quality=20),
}


@pytest.fixture(scope="module")
def scene(body, photograph):
    return photograph(body, 4, everyday_scenes(others=(0.0, 1.0)))[:2]


@pytest.mark.parametrize("name", FILMS)
def test_labels_are_those_of_the_middle_of_the_exposure(renderer, scene, name):
    perfect = renderer.render(scene[1], replace(scene[0], film=None))
    taken, again = (renderer.render(scene[1], replace(scene[0], film=FILMS[name])) for _ in range(2))
    for label in ("depth", "owner", "crowd"):
        assert torch.equal(getattr(taken, label), getattr(perfect, label)), label
    assert (taken.image.int() - perfect.image.int()).abs().float().mean() > 0.3 and torch.equal(
        taken.image, again.image
    )


def centre(weights):
    rows, columns = torch.meshgrid(*map(torch.arange, weights.shape), indexing="ij")
    return torch.stack([(weights * rows).sum(), (weights * columns).sum()]) / weights.sum()


def test_a_smeared_person_stays_where_the_mask_is():
    image, owner = torch.zeros(96, 96, 3, dtype=torch.uint8), torch.full((96, 96), -1, dtype=torch.int8)
    image[30:60, 40:52], owner[30:60, 40:52] = 200, 0
    for film in (Film(motion=(0.15, 0.0)), Film(motion=(0.1, -0.08)), Film(shake=(0.09, 0.11)), Film(side=48)):
        taken = develop(image, owner, 1, film)[..., 0].float()
        assert (centre(taken) - centre((owner == 0).float())).abs().max() < 0.6
        assert (taken > 5).sum() > 1.1 * (owner == 0).sum()


def test_what_stands_still_stays_sharp_behind_a_moving_person():
    image, owner = torch.zeros(96, 96, 3, dtype=torch.uint8), torch.full((96, 96), -1, dtype=torch.int8)
    image[::2] = 120
    image[30:60, 40:52], owner[30:60, 40:52] = 220, 0
    taken = develop(image, owner, 1, Film(motion=(0.1, 0.0)))
    assert torch.equal(taken[:30], image[:30]) and torch.equal(taken[:, :34], image[:, :34])
    thing = develop(image, torch.where(owner == 0, 3, -1).to(torch.int8), 1, Film(motion=(0.1, 0.0)))
    assert torch.equal(thing, image), "things are not people: they stand still"


def test_more_of_each_changes_more():
    g = torch.Generator().manual_seed(0)
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 24, 24, generator=g), (96, 96), mode="bicubic")
    image = (255 * image[0].permute(1, 2, 0)).clamp(0, 255).byte().contiguous()
    owner = torch.full((96, 96), -1, dtype=torch.int8)

    def change(**film):
        return float((develop(image, owner, 1, Film(**film)).int() - image.int()).abs().float().mean())

    for name, values in {"quality": (95, 60, 20), "noise": (0.01, 0.04, 0.1), "side": (80, 48, 24)}.items():
        less, more, most = (change(**{name: value}) for value in values)
        assert 0 < less < more < most, name
    assert change() < 0.6, "only highlights roll off"


def test_cameras_expose_to_a_brightness():
    owner = torch.full((64, 64), -1, dtype=torch.int8)
    for level in (50, 100, 160):
        image = torch.full((64, 64, 3), level, dtype=torch.uint8)
        taken = develop(image, owner, 1, Film(brightness=0.4)).float().mean() / 255
        assert abs(taken - 0.4) < 0.02
    night = develop(torch.full((64, 64, 3), 10, dtype=torch.uint8), owner, 1, Film(brightness=0.5))
    assert night.float().mean() / 255 < 0.2, "nobody exposes a night to a day"


def test_large_pictures_have_noise_everywhere():
    image, owner = torch.full((600, 600, 3), 128, dtype=torch.uint8), torch.full((600, 600), -1, dtype=torch.int8)
    for seed in (0, 255, 65535):
        taken = develop(image, owner, 1, Film(noise=0.05, seed=seed)).float()
        spread = torch.stack([part.std() for half in taken.chunk(2) for part in half.chunk(2, 1)])
        assert spread.min() > 0.8 * spread.max() > 4


def test_films_are_drawn_as_they_are_set():
    config = FilmConfig(moving=0.0, shaken=1.0, small=1.0, compressed=1.0, quality=(40, 50), least=90, grey=0.0)
    films = [random_film(500.0, 70.0, config, Draws(torch.Generator().manual_seed(k))) for k in range(200)]
    assert all(film.motion == (0.0, 0.0) and film.shake != (0.0, 0.0) and not film.grey for film in films)
    assert all(90 <= film.side < 256 and 40 <= film.quality <= 50 for film in films)
    wide = [random_film(500.0, 200.0, config, Draws(torch.Generator().manual_seed(k))) for k in range(50)]
    assert min(film.side for film in wide) >= 200, "who is small in the picture keeps enough pixels"
