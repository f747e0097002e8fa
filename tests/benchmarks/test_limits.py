"What the machine could do."

import pytest
import torch

from probpose.benchmarks.limits import matmul_gflop, matmul_peak, memory_bandwidth
from probpose.core.errors import ConfigError


def test_operations_are_counted_through_double_backward():
    weight, x = torch.randn(5, 7, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    assert matmul_gflop(lambda: x @ weight) * 1e9 == pytest.approx(2 * 3 * 5 * 7)
    assert matmul_gflop(lambda: torch.autograd.grad((x @ weight).sum(), x, create_graph=True)) * 1e9 == pytest.approx(
        2 * 2 * 3 * 5 * 7
    )
    assert matmul_gflop(lambda: x + 1) == 0


def test_operations_of_fused_layers_are_counted():
    layer = torch.nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, dropout=0.0).eval()
    x = torch.randn(3, 5, 8)
    with torch.inference_mode():
        counted = matmul_gflop(lambda: layer(x)) * 1e9
    assert (
        counted == pytest.approx(2 * 3 * 5 * (4 * 8 * 8 + 2 * 8 * 12 + 2 * 5 * 8))
        and torch.backends.mha.get_fastpath_enabled()
    )
    with pytest.raises(KeyError):
        matmul_gflop(lambda: {}["nothing"])
    assert torch.backends.mha.get_fastpath_enabled()


def test_rates_are_positive_and_sizes_checked():
    assert matmul_peak(32, repeats=1) > 0 and memory_bandwidth(1, repeats=1) > 0
    for wrong in (lambda: matmul_peak(0), lambda: memory_bandwidth(0)):
        with pytest.raises(ConfigError):
            wrong()
