"Fixtures that several test files share."

import os
from dataclasses import replace
from pathlib import Path

import pytest

CMU_FILE = "cmu_h36m17_30hz.npz"


@pytest.fixture(scope="session", autouse=True)
def probpose_cache(tmp_path_factory):
    "A cache folder of this session, unless the environment names one: tests neither trust nor fill the user's cache."
    if "PROBPOSE_CACHE" in os.environ:
        yield Path(os.environ["PROBPOSE_CACHE"])
        return
    folder = tmp_path_factory.mktemp("probpose-cache")
    os.environ["PROBPOSE_CACHE"] = str(folder)
    yield folder
    del os.environ["PROBPOSE_CACHE"]


@pytest.fixture(scope="session")
def cmu_path() -> Path:
    "The folder of the CMU subset; tests that need it skip where it is not."
    named = os.environ.get("PROBPOSE_CMU")
    folder = Path(named).expanduser() if named else Path(__file__).resolve().parents[2] / "shared" / "data" / "cmu"
    folder = folder.parent if folder.is_file() else folder
    if not (folder / CMU_FILE).is_file():
        pytest.skip(
            f"the CMU subset is not at hand ({CMU_FILE} in ../shared/data/cmu beside the checkout, or where "
            "PROBPOSE_CMU points)"
        )
    return folder


@pytest.fixture(scope="session")
def cmu_raw(cmu_path) -> Path:
    "The folder of CMU's own ASF/AMC and BVH samples; tests that need them skip where they are not."
    folder = cmu_path / "raw_samples"
    if not (folder / "pirouette.amc").is_file():
        pytest.skip(f"CMU's raw sample files are not at hand ({folder})")
    return folder


@pytest.fixture(scope="session")
def rendered():
    "Pictures (2, 512, 512, 3) of somebody upright on a plain background, and COCO's joints (2, 17, 2) in them."
    pytest.importorskip("warp")
    import roma
    import torch

    from probpose.bodies.body import load_body
    from probpose.geometry.crops import to_picture
    from probpose.rendering.renderer import Renderer
    from probpose.rendering.scenes import SceneConfig, random_scene, random_view

    body, config = (
        load_body(),
        SceneConfig(
            others=(1.0,), occluded=0.0, clutter=0.0, cut=0.0, roll=0.0, elevation=(3.0, 0.0), margin=1.5, noise=0.0
        ),
    )
    renderer, images, joints = Renderer(body, 512, "cpu"), [], []
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        view = random_view(config, generator)
        rotations = torch.eye(3).repeat(1, 22, 1, 1)
        for joint, angle in ((16, -1.1), (17, 1.1)):
            rotations[:, joint] = roma.euler_to_rotmat("z", torch.tensor([angle]))
        rotations[:, 0] = view @ roma.euler_to_rotmat("y", torch.tensor([[0.5 - seed]]))
        betas = torch.zeros(1, body.num_betas)
        points = body.points("coco_17", rotations, betas)
        scene = random_scene(points, view, config, generator)
        plain = replace(
            scene.backdrop,
            pattern="gradient",
            colours=torch.full((3, 3), 0.7),
            roughness=(0.0, 1.0),
            rectangles=torch.zeros(0, 7),
        )
        scene = replace(scene, backdrop=plain)
        placed = body.vertices(rotations, betas) + scene.translations[:, None]
        images.append(renderer.render(placed, scene).image)
        joints.append(to_picture(points[0] + scene.translations[0], scene.box, 512) + 0.5)
    return torch.stack(images), torch.stack(joints)


@pytest.fixture(scope="session")
def write_video():
    "A function that writes frames (H, W, 3) of bytes as a video and gives its path."
    av = pytest.importorskip("av")
    import numpy as np

    def write(path, frames, rate=25, rotation=0, aspect=None, options=None) -> Path:
        with av.open(str(path), "w", options=options or {}) as container:
            stream = container.add_stream("mpeg4", rate=rate, options={"qscale": "2"})
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt, stream.gop_size = "yuv420p", 5
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            if rotation:
                stream.set_display_rotation(rotation)
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
            container.mux(stream.encode())
        return path

    return write
