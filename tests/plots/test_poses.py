"Poses: upright, in equal aspect, whole, and clearer where they are likelier."

import numpy as np
import pytest
import torch

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, NotFiniteError, ShapeError, UnknownNameError
from probpose.geometry.conversions import rest_pose
from probpose.geometry.skeletons import SKELETONS
from probpose.plots.poses import pose_figure, pose_panels, skeleton_figure, two_views
from probpose.plots.scenes import VIEWS

PERSON = rest_pose("h36m_17")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=make_generator(seed))


HYPOTHESES = PERSON + 0.05 * noise(200, 17, 3)
FIGURES = {
    "pose": lambda: pose_figure(HYPOTHESES, target=PERSON, mode=PERSON + 0.01, density=noise(200)),
    "single pose": lambda: pose_figure(PERSON, floor=False),
    "two views": lambda: two_views(HYPOTHESES, target=PERSON),
    "panels": lambda: pose_panels({"one": HYPOTHESES, "other": PERSON}, target={"one": PERSON}),
    "skeleton": lambda: skeleton_figure("smpl_24", labels="name"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_reads_on_light_and_dark_and_stays_small(name, check_style):
    check_style(FIGURES[name]())


@pytest.mark.parametrize("view", list(VIEWS))
def test_people_stand_upright_in_every_view(view):
    fig = pose_figure(PERSON, target=PERSON, view=view)
    heights = np.array([v for trace in fig.data if trace.name == "ground truth" for v in trace.z if v is not None])
    assert heights.max() == pytest.approx(-float(PERSON[:, 1].min()), abs=2e-3)
    assert heights.min() == pytest.approx(-float(PERSON[:, 1].max()), abs=2e-3)
    camera = fig.layout.scene.camera
    assert (camera.up.x, camera.up.y, camera.up.z) == (0, 0, 1)
    assert camera.eye.y < 0 or view == "side", "the viewer stands on the camera's side"


@pytest.mark.parametrize("make", [FIGURES["pose"], FIGURES["two views"], FIGURES["panels"]])
def test_aspect_is_equal_and_nothing_is_cut_off(make):
    fig = make()
    for name in [key for key in fig.layout.to_plotly_json() if key.startswith("scene")]:
        scene = fig.layout[name]
        spans = np.array([np.ptp(scene[axis].range) for axis in ("xaxis", "yaxis", "zaxis")])
        scale = spans / [scene.aspectratio[k] for k in "xyz"]
        assert np.allclose(scale, scale[0])
        for axis, letter in (("xaxis", "x"), ("yaxis", "y"), ("zaxis", "z")):
            values = [
                v
                for trace in fig.data
                if trace.scene == (name if name != "scene" else trace.scene) and trace.type == "scatter3d"
                for v in trace[letter]
                if v is not None
            ]
            if name != "scene" or len(fig.layout.annotations) == 0:
                low, high = scene[axis].range
                assert low <= min(values) and max(values) <= high


def test_opacity_follows_the_rank_of_the_density():
    density = torch.arange(30.0) ** 9  # a log-density may span any range
    fig = pose_figure(PERSON + torch.arange(30.0)[:, None, None] / 10, density=density, most=30, floor=False)
    seen = {}
    for trace in fig.data:
        if trace.name == "hypotheses" and trace.opacity is not None:
            seen.setdefault(trace.opacity, []).extend(v for v in trace.x if v is not None)
    means = [np.mean(seen[opacity]) for opacity in sorted(seen)]
    assert len(means) == 5 and means == sorted(means), "the likelier, the clearer"


def test_every_bone_is_drawn():
    for body in SKELETONS.values():
        fig = pose_figure(rest_pose(body), skeleton=body, floor=False)
        segments = sum(sum(v is not None for v in trace.x) for trace in fig.data) / 2
        assert segments == len(body.links)


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ShapeError, lambda: pose_figure(HYPOTHESES[:0])),
        (ShapeError, lambda: pose_figure(HYPOTHESES[:, :16])),
        (ShapeError, lambda: pose_figure(HYPOTHESES[:, None])),
        (ShapeError, lambda: pose_figure(HYPOTHESES, target=HYPOTHESES)),
        (ShapeError, lambda: pose_figure(HYPOTHESES, density=torch.ones(3))),
        (ShapeError, lambda: pose_figure(torch.zeros(17, 2))),
        (NotFiniteError, lambda: pose_figure(HYPOTHESES * float("nan"))),
        (UnknownNameError, lambda: pose_figure(HYPOTHESES, view="below")),
        (UnknownNameError, lambda: pose_figure(HYPOTHESES, skeleton="h36m")),
        (ConfigError, lambda: pose_figure(HYPOTHESES, most=0)),
        (ConfigError, lambda: pose_panels({})),
        (UnknownNameError, lambda: skeleton_figure("coco_17", labels="all")),
        (ShapeError, lambda: skeleton_figure("coco_17", points=torch.zeros(16, 3))),
    ],
)
def test_bad_input_is_refused(error, call):
    with pytest.raises(error, match="expected"):
        call()
