"""Pictures that depend on nothing but their number, interrupted and damaged runs, processes."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import roma
import torch

pytest.importorskip("warp")

from probpose.core.errors import ConfigError, DataFileError, NotFiniteError, ShapeError
from probpose.data.rendered import (
    RenderedDataset,
    RenderJob,
    draw_pictures,
    make_rendered,
    pack_mask,
    random_betas,
    unpack_mask,
)
from probpose.geometry.crops import to_picture
from probpose.geometry.skeletons import POINTS
from probpose.rendering.renderer import Renderer
from probpose.rendering.scenes import SceneConfig, everyday_scenes

COMMON = dict(pixels=64, shard=16, device="cpu")


def motions(count=50):
    "People with hanging arms, upright."
    g = torch.Generator().manual_seed(0)
    rotations = roma.rotvec_to_rotmat(0.2 * torch.randn(count, 22, 3, generator=g))
    for joint, angle in ((16, -1.2), (17, 1.2)):
        rotations[:, joint] = roma.euler_to_rotmat("z", torch.tensor([angle])) @ rotations[:, joint]

    def names(stem, many):
        return np.array([f"{stem}{i % many}" for i in range(count)])

    return SimpleNamespace(rotations=rotations, action=names("act", 4), subject=names("s", 3), clip=names("c", 7))


@pytest.fixture(scope="module")
def made(body, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered")
    return make_rendered(motions(), 40, body=body, seed=3, folder=folder, **COMMON), folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith(("images", "shard"))}


def test_shapes_and_types(made):
    data, _ = made
    shapes = {
        "images": (64, 64, 3),
        "poses": (17, 3),
        "root": (3,),
        "rotations": (22, 3, 3),
        "betas": (11,),
        "translation": (3,),
        "keypoints_true": (21, 2),
        "visible": (21,),
        "mask": (64, 8),
        "person": (64, 8),
        "object_occlusion": (),
        "box": (3,),
        "focal": (),
    }
    for name, shape in shapes.items():
        value = getattr(data, name)
        assert value.shape == (40, *shape), name
        assert value.dtype == (
            torch.uint8
            if name in ("images", "mask", "person")
            else torch.bool
            if name in ("visible", "object_occlusion")
            else torch.float32
        ), name
    assert len(data) == 40 and len(POINTS) == 21 and POINTS[17:] == ("pelvis", "thorax", "upper_neck", "head_top")
    assert set(data.action) == {"act0", "act1", "act2", "act3"} and "40 pictures" in repr(data)


def test_fields_agree_with_the_body(made, body):
    data, _ = made
    points = body.points("h36m_17", data.rotations, data.betas) + data.translation[:, None]
    assert torch.allclose(points, data.poses + data.root[:, None], atol=1e-4) and (data.poses[:, 0] == 0).all()
    marks = (
        torch.cat(
            [
                body.points("coco_17", data.rotations, data.betas),
                body.points("mpii_16", data.rotations, data.betas)[:, 6:10],
            ],
            1,
        )
        + data.translation[:, None]
    )
    assert torch.allclose(to_picture(marks, data.box, 64), data.keypoints_true, atol=2e-3)
    assert (
        (data.root[:, 2] > 1.5).all()
        and (data.root[:, 2] < 10).all()
        and (data.poses[:, 10, 1] < data.poses[:, 3, 1]).all()
    ), "heads are above feet"
    side = data.keypoints_true[:, :17].amax(1) - data.keypoints_true[:, :17].amin(1)
    assert ((side.amax(-1) > 35) & (side.amax(-1) < 75)).all(), "people fill their pictures"
    assert data.betas.abs().max() <= 2.5 and (data.betas[:, 10] == 0).all() and data.betas.std() > 0.7


def test_masks_contain_what_they_should(made):
    data, _ = made
    person, mask = unpack_mask(data.person), unpack_mask(data.mask)
    assert not (person & ~mask).any() and (person.flatten(1).sum(1) > 50).all() and (mask.sum() > 1.02 * person.sum())
    hits = [
        bool(person[n, y, x])
        for n in range(40)
        for k, (x, y) in enumerate(data.keypoints_true[n].round().long().tolist())
        if data.visible[n, k]
    ]
    assert np.mean(hits) > 0.9 and 0.4 < data.visible.float().mean() < 0.95
    inside = ((data.keypoints_true > -0.5) & (data.keypoints_true < 63.5)).all(-1)
    assert not (data.visible & ~inside).any() and 0 < data.object_occlusion.float().mean() < 0.9
    assert data.images.flatten(1).float().std(1).min() > 3 and data.images.float().mean() > 30, (
        "no picture is empty or black"
    )


def test_bits():
    mask = torch.rand(2, 5, 24, generator=torch.Generator().manual_seed(1)) < 0.5
    assert torch.equal(unpack_mask(pack_mask(mask)), mask) and pack_mask(mask).shape == (2, 5, 3)
    assert pack_mask(torch.tensor([True] + [False] * 7)).item() == 128
    assert torch.equal(
        random_betas(3, 11, torch.Generator().manual_seed(0)), random_betas(3, 11, torch.Generator().manual_seed(0))
    )


def test_two_processes_give_the_same_files(made, body, tmp_path):
    data, folder = made
    again = make_rendered(motions(), 40, body=body, seed=3, folder=tmp_path, workers=2, **COMMON)
    assert again.fingerprint == data.fingerprint and contents(tmp_path) == contents(folder)


def test_a_run_that_was_killed_goes_on(made, body, tmp_path, monkeypatch):
    import probpose.data.rendered as module

    data, folder = made
    original, asked = module._make_shard, []

    def dies(job, renderer, where, shard, length):
        asked.append(shard)
        if len(asked) == 2:
            raise KeyboardInterrupt
        original(job, renderer, where, shard, length)

    monkeypatch.setattr(module, "_make_shard", dies)
    with pytest.raises(KeyboardInterrupt):
        make_rendered(motions(), 40, body=body, seed=3, folder=tmp_path, **COMMON)
    again = make_rendered(motions(), 40, body=body, seed=3, folder=tmp_path, **COMMON)
    assert asked == [0, 1, 1, 2] and again.fingerprint == data.fingerprint and contents(tmp_path) == contents(folder)
    make_rendered(motions(), 40, body=body, seed=3, folder=tmp_path, **COMMON)
    assert asked == [0, 1, 1, 2], "nothing is made twice"


@pytest.mark.parametrize(
    "harm", ["label cut", "label gone", "images cut", "images gone", "image changed while unfinished"]
)
def test_damage_is_noticed_and_mended(made, body, harm):
    data, folder = made
    before = contents(folder)
    images, label = folder / "images.npy", folder / "shard-00001.safetensors"
    if harm.startswith("label"):
        label.write_bytes(before[label.name][:300]) if harm == "label cut" else label.unlink()
    elif harm == "images cut":
        images.write_bytes(before["images.npy"][:150_000])
    elif harm == "images gone":
        images.unlink()
    else:
        changed = bytearray(before["images.npy"])
        changed[200 + 20 * 64 * 64 * 3] ^= 255
        images.write_bytes(changed), (folder / "finished").unlink()
    again = make_rendered(motions(), 40, body=body, seed=3, folder=folder, **COMMON)
    assert contents(folder) == before and again.fingerprint == data.fingerprint


def test_a_folder_of_another_data_set_is_refused(made, body):
    _, folder = made
    for changed in (dict(seed=4), dict(config=SceneConfig(margin=1.3)), dict(size=41), dict(pixels=32)):
        with pytest.raises(ConfigError, match="folder"):
            make_rendered(
                **{"motions": motions(), "size": 40, "body": body, "seed": 3, "folder": folder, **COMMON, **changed}
            )


def test_rows_batches_and_fingerprint(made, tmp_path):
    data, _ = made
    part = data[10:20]
    assert len(part) == 10 and part.images.data_ptr() == data.images[10:].data_ptr(), "a row of pictures is not copied"
    some = data[torch.tensor([7, 2])]
    assert (
        torch.equal(some.images, data.images[[7, 2]])
        and torch.equal(some.poses, data.poses[[7, 2]])
        and list(some.clip) == [data.clip[7], data.clip[2]]
    )
    assert (
        len(data[5]) == 1
        and len(data[data.action == "act1"]) == (data.action == "act1").sum()
        and len(data[:0]) == 0
        and isinstance(part, RenderedDataset)
    )
    assert (
        part.fingerprint != data.fingerprint
        and data[:].fingerprint == data.fingerprint
        and data.to("cpu").fingerprint == data.fingerprint
    )
    batch = data.batch(torch.tensor([4, 0, 4]))
    unknown = {"detections", "frames"}
    assert {f.name for f in dataclasses.fields(batch) if getattr(batch, f.name) is None} == unknown
    assert (
        batch.masks.shape == batch.person.shape == (3, 64, 64)
        and batch.masks.dtype == torch.bool
        and torch.equal(batch.images[2], data.images[4])
    )
    with pytest.raises(ShapeError, match="index"):
        data[[99]]


def test_a_picture_does_not_depend_on_how_many_there_are(made, body, tmp_path):
    data, _ = made
    more = make_rendered(
        SimpleNamespace(**{**vars(motions()), "rotations": motions().rotations}),
        40,
        body=body,
        seed=3,
        folder=tmp_path,
        **{**COMMON, "shard": 32},
    )
    assert torch.equal(more.images, data.images) and more.fingerprint == data.fingerprint, "nor on the length of shards"


def test_other_seeds_give_other_pictures_and_global_numbers_are_left_alone(body, tmp_path):
    torch.manual_seed(1)
    wanted = torch.rand(2)
    torch.manual_seed(1)
    a, b = (make_rendered(motions(), 4, body=body, seed=seed, folder=tmp_path / str(seed), **COMMON) for seed in (0, 1))
    assert torch.equal(torch.rand(2), wanted) and not torch.equal(a.images, b.images) and a.fingerprint != b.fingerprint
    few = make_rendered(motions(3), 7, body=body, folder=tmp_path / "few", **COMMON)
    assert len(few) == 7 and len(set(few.clip)) == 3, "poses are shown again when there are fewer than pictures"


@pytest.mark.parametrize(
    "wrong, error, words",
    [
        (dict(size=0), ConfigError, "size"),
        (dict(workers=0), ConfigError, "workers"),
        (dict(pixels=60), ConfigError, "pixels"),
        (dict(shard=20), ConfigError, "shard"),
        (dict(size=2.5), ConfigError, "size"),
    ],
)
def test_bad_settings(body, tmp_path, wrong, error, words):
    with pytest.raises(error, match=words):
        make_rendered(**{"motions": motions(), "size": 4, "body": body, "folder": tmp_path, **COMMON, **wrong})


def test_bad_motions(body, tmp_path):
    sound = vars(motions())
    nan = sound["rotations"].clone()
    nan[0, 0] = torch.nan
    for changed, error in (
        (dict(rotations=sound["rotations"][:, :21]), ShapeError),
        (dict(rotations=sound["rotations"][:0]), ShapeError),
        (dict(rotations=nan), NotFiniteError),
        (dict(action=sound["action"][:3]), ShapeError),
    ):
        with pytest.raises(error, match="motions"):
            make_rendered(SimpleNamespace(**{**sound, **changed}), 4, body=body, folder=tmp_path, **COMMON)


def test_a_worker_that_dies_is_reported(body, tmp_path, monkeypatch):
    import probpose.data.rendered as module

    monkeypatch.setattr(module, "_START", "import sys; sys.exit('no memory for this')")
    with pytest.raises(DataFileError, match="no memory for this"):
        make_rendered(motions(), 40, body=body, folder=tmp_path, workers=2, **COMMON)


def test_a_target_that_can_never_be_seen_is_an_error(body, tmp_path, monkeypatch):
    import probpose.data.rendered as module

    monkeypatch.setattr(module, "_LEAST", 1.1)
    with pytest.raises(ConfigError, match="50 draws"):
        make_rendered(motions(), 1, body=body, folder=tmp_path, **COMMON)


def test_files_of_others_are_left_alone(body, tmp_path):
    np.save(tmp_path / "images.npy", np.arange(5))
    with pytest.raises(ConfigError, match="other files"):
        make_rendered(motions(), 4, body=body, folder=tmp_path, **COMMON)
    assert np.load(tmp_path / "images.npy").tolist() == [0, 1, 2, 3, 4] and len(list(tmp_path.iterdir())) == 1


def test_the_fingerprint_sees_the_pictures(made):
    data = made[0]
    darker = dataclasses.replace(data, images=data.images // 2)
    assert darker.fingerprint != data.fingerprint == dataclasses.replace(data, images=data.images.clone()).fingerprint


def test_the_plain_world_is_that_of_the_results(body, tmp_path):
    "A grid of pixels, the masks and the draws of pictures that were made before there was an everyday world."
    file = Path(__file__).parents[1] / "repository" / "snapshots" / "plain_pictures.npz"
    made = make_rendered(motions(), 8, body=body, seed=3, folder=tmp_path, **COMMON)
    with np.load(file) as before:
        assert np.allclose(made.box.numpy(), before["box"], atol=1e-5) and np.allclose(made.focal, before["focal"])
        assert (made.visible.numpy() != before["visible"]).sum() <= 1
        for name in ("mask", "person"):  # another machine may round an edge of a triangle the other way
            assert np.unpackbits(getattr(made, name).numpy() ^ before[name]).sum() <= 4, name
        gap = np.abs(made.images[:, 4::8, 4::8].numpy().astype(int) - before["images"]).max(-1)
        assert (gap > 1).sum() <= 2


@pytest.fixture(scope="module")
def everyday(body, tmp_path_factory):
    folder = tmp_path_factory.mktemp("everyday")
    return make_rendered(motions(), 40, everyday_scenes(), body=body, seed=3, folder=folder, **COMMON), folder


def test_everyday_labels_agree_with_the_body_and_the_masks(everyday, body):
    data, _ = everyday
    points = body.points("h36m_17", data.rotations, data.betas) + data.translation[:, None]
    assert torch.allclose(points, data.poses + data.root[:, None], atol=1e-4)
    marks = body.points("coco_17", data.rotations, data.betas) + data.translation[:, None]
    assert torch.allclose(to_picture(marks, data.box, 64), data.keypoints_true[:, :17], atol=5e-3)
    person, mask = unpack_mask(data.person), unpack_mask(data.mask)
    assert not (person & ~mask).any() and (mask.sum() > 1.05 * person.sum())
    inside = ((data.keypoints_true > -0.5) & (data.keypoints_true < 63.5)).all(-1)
    assert not (data.visible & ~inside).any() and (data.visible[:, :17].sum(1) >= 3).all()
    near = torch.nn.functional.max_pool2d(person[:, None].float(), 3, 1, 1)[:, 0].bool()
    hits = [
        bool(near[n, y, x])
        for n in range(40)
        for k, (x, y) in enumerate(data.keypoints_true[n].round().long().tolist())
        if data.visible[n, k]
    ]
    assert np.mean(hits) > 0.97
    assert data.images.float().mean() > 60 and data.images.flatten(1).float().std(1).min() > 8, "nothing is black"


def test_everyday_pictures_depend_on_nothing_but_their_number(everyday, body, tmp_path):
    "Made in another order by another renderer, as a second process would, and in shards of another length."
    data, rows = everyday[0], ((torch.arange(40) + 0.5) * 50 / 40).long()
    job = RenderJob(body, motions().rotations, rows, everyday_scenes(), 3, 64)
    for first, last in ((32, 40), (16, 32)):
        again = draw_pictures(job, Renderer(body, 64, "cpu"), first, last)
        for name, values in again.items():
            assert torch.equal(values, getattr(data, name)[first:last]), name
    more = make_rendered(
        motions(), 40, everyday_scenes(), body=body, seed=3, folder=tmp_path, **{**COMMON, "shard": 32}
    )
    assert torch.equal(more.images, data.images) and more.fingerprint == data.fingerprint


def test_the_everyday_world_is_another_data_set(everyday, body):
    with pytest.raises(ConfigError, match="folder"):
        make_rendered(motions(), 40, body=body, seed=3, folder=everyday[1], **COMMON)
