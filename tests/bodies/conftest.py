"Files of random numbers in the layouts of licensed body models."

import numpy as np
import pytest

from probpose.geometry.skeletons import PARENTS_55, SMPL_24


@pytest.fixture(scope="session")
def write_licensed():
    "A function that writes what SMPL's or SMPL-X's file holds, filled with random numbers."

    def write(path, vertices, parents, **entries):
        generator, joints = np.random.default_rng(0), len(parents)

        def few(rows, columns, most):
            "Rows of a few weights that sum to one."
            matrix = np.zeros((rows, columns))
            for row in matrix:
                row[generator.integers(0, columns, most)] = generator.random(most) + 1e-3
            return matrix / matrix.sum(1, keepdims=True)

        arrays = dict(
            v_template=generator.uniform(-0.9, 0.9, (vertices, 3)),
            f=generator.integers(0, vertices, (2 * vertices - 4, 3)).astype(np.uint32),
            weights=few(vertices, joints, 4),
            J_regressor=few(joints, vertices, 20),
            kintree_table=np.stack([[2**32 - 1, *parents[1:]], np.arange(joints)]).astype(np.uint32),
            posedirs=0.005 * generator.standard_normal((vertices, 3, 9 * (joints - 1)), np.float32),
        )
        np.savez(path, **arrays | {key: make(generator) for key, make in entries.items()})
        return path

    return write


@pytest.fixture(scope="session")
def smpl_file(write_licensed, tmp_path_factory):
    "6890 vertices, 24 joints, of which the last two are hands, ten directions of shape."
    path = tmp_path_factory.mktemp("smpl") / "SMPL_NEUTRAL.npz"
    shapes = dict(shapedirs=lambda generator: 0.02 * generator.standard_normal((6890, 3, 10), np.float32))
    yield write_licensed(path, 6890, SMPL_24.parents, **shapes)
    path.unlink()


@pytest.fixture(scope="session")
def smplx_file(write_licensed, tmp_path_factory):
    "10475 vertices, 55 joints, 300 directions of shape and 100 of expression, hands that are bent at rest, pickles."
    path = tmp_path_factory.mktemp("smplx") / "SMPLX_NEUTRAL.npz"
    entries = dict(
        shapedirs=lambda generator: 0.02 * generator.standard_normal((10475, 3, 400), np.float32),
        lmk_faces_idx=lambda generator: generator.integers(0, 20946, 51),
        lmk_bary_coords=lambda generator: np.tile([0.2, 0.3, 0.5], (51, 1)),
        dynamic_lmk_faces_idx=lambda generator: generator.integers(0, 20946, (79, 17)),
        dynamic_lmk_bary_coords=lambda generator: np.tile([0.2, 0.3, 0.5], (79, 17, 1)),
        joint2num=lambda generator: np.array({"Pelvis": 0}, dtype=object),
    )
    for side in "lr":
        entries[f"hands_components{side}"] = lambda generator: generator.standard_normal((45, 45))
        entries[f"hands_mean{side}"] = lambda generator: generator.standard_normal(45)
    yield write_licensed(path, 10475, PARENTS_55, **entries)
    path.unlink()
