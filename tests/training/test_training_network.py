from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from vidface.training.data import normalised
from vidface.training.loop import update_average
from vidface.training.start import first_classifier


def test_the_input_is_that_of_the_challenge() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)
    found = normalised(torch.from_numpy(pixels), torch.device("cpu"))
    assert found.shape == (2, 3, 5, 4) and found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    for image, row, column, channel in np.ndindex(pixels.shape):
        expected = (float(pixels[image, row, column, channel]) - 127.5) / 128
        assert found[image, channel, row, column].item() == pytest.approx(expected, abs=1e-7)


def test_first_class_weights() -> None:
    weights = first_classifier(300, 16, 5)
    assert weights.shape == (300, 16) and weights.dtype == torch.float32
    assert torch.equal(weights, first_classifier(300, 16, 5))
    assert not torch.equal(weights, first_classifier(300, 16, 6))
    unit = nn.functional.normalize(weights)
    assert (unit @ unit.T - torch.eye(300)).abs().mean() < 0.3, "in all directions"
    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    first_classifier(3, 3, 0)
    assert torch.equal(torch.rand(1), before), "other draws are not moved"


def test_the_average_follows() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = copy.deepcopy(network)
    expected = {name: value.double() for name, value in average.state_dict().items()}
    for _step in range(3):
        network(torch.randn(8, 3))
        with torch.no_grad():
            network[0].weight += 1
        update_average(average, network, 0.75)
        for name, value in network.state_dict().items():
            counter = not value.is_floating_point()
            expected[name] = value.double() if counter else 0.75 * expected[name] + 0.25 * value.double()
    for name, value in average.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-6, atol=1e-6)
    assert average[1].num_batches_tracked == 3
