"""The order of batches."""

import pytest
import torch

from probpose.training.order import BatchOrder


@pytest.mark.parametrize("size, batch", [(10, 3), (12, 4), (5, 8), (1, 3)])
def test_every_epoch_visits_everything_once(size, batch):
    order = BatchOrder(size, batch, seed=2)
    batches = [order.next() for _ in range(4 * size)]
    assert all(b.shape == (batch,) for b in batches)
    for epoch in torch.cat(batches)[: (4 * batch) * size].view(-1, size):
        assert sorted(epoch.tolist()) == list(range(size))
