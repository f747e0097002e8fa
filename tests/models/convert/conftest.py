"State dicts of the authors' layouts with random weights, written as their code writes them."

import pytest
import torch


@pytest.fixture(scope="session")
def random_state():
    "Random tensors of given shapes, of a size that keeps deep networks in a range where rounding is small."

    def make(shapes, seed=0):
        g = torch.Generator().manual_seed(seed)
        state = {}
        for key, shape in shapes.items():
            fan = shape[-1] if len(shape) > 1 else 9
            state[key] = 0.4 * torch.randn(shape, generator=g) / fan**0.5
        return state

    return make


@pytest.fixture(scope="session")
def permutations():
    "Fixed permutations after each of some blocks, as FrEIA stores them."

    def make(prefix, dim, blocks, seed=1):
        g, state = torch.Generator().manual_seed(seed), {}
        for k in range(blocks):
            perm = torch.randperm(dim, generator=g)
            state[f"{prefix}module_list.{2 * k + 1}.perm"] = perm
            state[f"{prefix}module_list.{2 * k + 1}.perm_inv"] = perm.argsort()
        return state

    return make


@pytest.fixture(scope="session")
def linear_shapes():
    "Shapes of weights and biases of linear layers, from (outputs, inputs) by key."
    return lambda layers: (
        {f"{key}.weight": shape for key, shape in layers.items()}
        | {f"{key}.bias": shape[:1] for key, shape in layers.items()}
    )


@pytest.fixture
def saved(tmp_path):
    "A file written by torch.save."

    def write(tree, name="model.pt", **options):
        torch.save(tree, tmp_path / name, **options)
        return tmp_path / name

    return write
