"Pictures, outlines of masks, and points on or off them."

import base64
import io

import numpy as np
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, NotFiniteError, ShapeError
from probpose.plots.pictures import image_grid, mask_outline, overlay_figure

pytest.importorskip("PIL")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=make_generator(seed))


Y, X = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
MASKS = torch.stack([((X - 100 - 20 * i) / 40).square() + ((Y - 128) / 90).square() < 1 for i in range(5)])
IMAGES = torch.where(MASKS[..., None], torch.tensor([200, 160, 120]), (X // 2)[None, ..., None]).to(torch.uint8)
POINTS = torch.tensor([[25.0, 30.0], [30.0, 20.0], [35.0, 40.0], [40.0, 30.0], [45.0, 30.0]])
SAMPLES = POINTS + 5 * noise(100, 5, 2)


def entries(fig):
    "Names in the legend."
    return [trace.name for trace in fig.data if trace.type != "image" and trace.showlegend]


def area(loop):
    x, y = np.asarray(loop).T
    return 0.5 * np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])


FIGURES = {
    "grid": lambda: image_grid(IMAGES, [f"picture {i}" for i in range(5)]),
    "one picture": lambda: image_grid(IMAGES[0]),
    "overlay": lambda: overlay_figure(IMAGES, SAMPLES, POINTS, MASKS, list("abcde")),
    "overlay without a mask": lambda: overlay_figure(IMAGES, SAMPLES),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_reads_on_light_and_dark_and_stays_small(name, check_style):
    check_style(FIGURES[name]())


def test_pictures_are_the_images():
    from PIL import Image

    fig = image_grid(IMAGES[:2], columns=1)
    for trace, image in zip(fig.data, IMAGES):
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(trace.source.split(",")[1])))).astype(int)
        assert np.abs(seen - image.numpy()).mean() < 4
    assert fig.layout.yaxis.range[0] > fig.layout.yaxis.range[1] and fig.layout.yaxis2.scaleanchor == "x2"


def test_a_picture_covers_the_map():
    (trace,) = overlay_figure(IMAGES[0]).data
    assert (
        trace.x0 - trace.dx / 2 == pytest.approx(-0.5)
        and trace.x0 + 255.5 * trace.dx == pytest.approx(63.5)
        and trace.y0 == trace.x0
        and trace.dy == trace.dx
    )


def test_samples_outside_of_the_mask_are_triangles():
    fig = overlay_figure(IMAGES, SAMPLES, POINTS, MASKS, most=1000)
    drawn = {i: {} for i in range(5)}
    for trace in fig.data:
        if trace.type == "scatter" and len(trace.x) > 1 or (trace.type == "scatter" and trace.x[0] is not None):
            drawn[int((trace.xaxis or "x")[1:] or 1) - 1].setdefault(trace.name, trace)
    for i in range(5):
        x, y = ((SAMPLES[:, i].round(decimals=2) + 0.5) * 4).floor().long().T
        inside = MASKS[i, y.clamp(0, 255), x.clamp(0, 255)] | (x < 0) | (y < 0) | (x > 255) | (y > 255)
        assert (
            len(drawn[i]["samples"].x) == inside.sum()
            and len(drawn[i]["samples outside of the mask"].x) == (~inside).sum()
        )
        assert (
            drawn[i]["samples"].marker.symbol,
            drawn[i]["samples outside of the mask"].marker.symbol,
            drawn[i]["ground truth"].marker.symbol,
        ) == ("circle", "triangle-up", "star")
        assert np.allclose([drawn[i]["ground truth"].x[0], drawn[i]["ground truth"].y[0]], POINTS[i])
    assert entries(fig) == ["samples", "samples outside of the mask", "ground truth", "person mask"]
    assert entries(overlay_figure(IMAGES, SAMPLES)) == ["samples"] and not entries(overlay_figure(IMAGES))


def test_points_may_differ_from_image_to_image():
    fig = overlay_figure(IMAGES[:2], [noise(9, 3, 2) + 30, noise(4, 2) + 30], [POINTS[:3], POINTS[:1]])
    clouds = [trace for trace in fig.data if trace.name == "samples" and trace.x[0] is not None]
    assert [len(trace.x) for trace in clouds] == [27, 4]
    thinned = overlay_figure(IMAGES[:1], noise(500, 1, 2) + 30, most=50)
    assert [len(t.x) for t in thinned.data if t.name == "samples" and t.x[0] is not None] == [50]


def test_outlines_enclose_the_mask():
    for mask in MASKS:
        (loop,) = mask_outline(mask)
        assert (loop[0] == loop[-1]).all() and area(loop) == pytest.approx(float(mask.sum()), rel=0.02)
        assert (
            abs(loop[:, 0].min() - (float(mask.any(0).nonzero()[0]) - 0.5)) < 1e-9
            and abs(loop[:, 1].max() - (float(mask.any(1).nonzero()[-1]) + 0.5)) < 1e-9
        )
    parts = MASKS[0] & (Y < 110) | MASKS[0] & (Y > 140)
    assert len(mask_outline(parts)) == 2
    ring = MASKS[0] & ~(((X - 100) / 10).square() + ((Y - 128) / 10).square() < 1)
    assert sum(area(loop) for loop in mask_outline(ring)) == pytest.approx(float(ring.sum()), rel=0.02), (
        "a hole runs the other way"
    )
    assert not mask_outline(MASKS[0] & False) and len(mask_outline(MASKS[0] | True)) == 1


def test_outlines_of_pixels_that_touch_at_a_corner():
    chess = (X[:6, :6] + Y[:6, :6]) % 2 == 0
    loops = mask_outline(chess)
    assert sum(len(loop) > 1 for loop in loops) == len(loops) >= 1


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ShapeError, lambda: image_grid(IMAGES.float())),
        (ShapeError, lambda: image_grid(IMAGES[..., :2])),
        (ShapeError, lambda: image_grid(IMAGES[:0])),
        (ShapeError, lambda: image_grid(IMAGES, ["a"])),
        (ConfigError, lambda: image_grid(IMAGES, columns=0)),
        (ShapeError, lambda: image_grid(IMAGES.permute(0, 3, 1, 2))),
        (ShapeError, lambda: overlay_figure(IMAGES, SAMPLES[:, :4])),
        (ShapeError, lambda: overlay_figure(IMAGES, SAMPLES[..., :1])),
        (ShapeError, lambda: overlay_figure(IMAGES, [SAMPLES[:, 0]])),
        (ShapeError, lambda: overlay_figure(IMAGES, target=POINTS[:3])),
        (ShapeError, lambda: overlay_figure(IMAGES, masks=MASKS.long())),
        (ShapeError, lambda: overlay_figure(IMAGES, masks=MASKS[0])),
        (NotFiniteError, lambda: overlay_figure(IMAGES, SAMPLES * torch.nan)),
        (ConfigError, lambda: overlay_figure(IMAGES, SAMPLES, most=0)),
        (ConfigError, lambda: overlay_figure(IMAGES, SAMPLES, map_size=0)),
        (ShapeError, lambda: mask_outline(MASKS)),
        (ShapeError, lambda: mask_outline(MASKS[0].float())),
    ],
)
def test_bad_input_is_refused(error, call):
    with pytest.raises(error, match="expected"):
        call()
