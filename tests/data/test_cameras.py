"Cameras and crops: what is impossible, and what cuts."

from dataclasses import replace

import pytest

from probpose.core.devices import make_generator
from probpose.core.errors import ConfigError, UnknownNameError
from probpose.data.cameras import CameraConfig, random_cameras, random_crops
from probpose.data.dataset import make_dataset


def test_distorted_cameras(poses):
    config = CameraConfig(distortion=(-0.2, 0.25, 0.001, -0.001, 0.0))
    bent = make_dataset(poses, cameras=config, cache=False)
    straight = replace(bent.camera, distortion=None).project(bent.poses + bent.root[:, None])
    assert bent.camera.distortion.shape == (64, 5) and 0.01 < (bent.image_points() - straight).norm(dim=-1).max() < 20


def test_cuts_put_joints_outside(poses):
    seen = random_cameras(poses, CameraConfig(), make_generator(0))
    image = seen.project(seen.to_camera(poses))

    def outside(crop):
        return ((crop.to_map(image) < -0.5) | (crop.to_map(image) > 63.5)).any(-1).any(-1).float().mean()

    assert (
        outside(random_crops(image, CameraConfig(cut_probability=0.0), make_generator(1)))
        < 0.05
        < 0.5
        < outside(random_crops(image, CameraConfig(cut_probability=1.0), make_generator(1)))
    )


@pytest.mark.parametrize(
    "wrong",
    [
        dict(elevation="steep"),
        dict(focal=(0.0, 1145.0)),
        dict(cut_probability=-0.1),
        dict(margin=0.0),
        dict(distance=(5.0, -1.0)),
    ],
)
def test_impossible_cameras(wrong):
    with pytest.raises((ConfigError, UnknownNameError), match="expected"):
        CameraConfig(**wrong)
