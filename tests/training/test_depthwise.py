"""Depthwise convolutions under autocast: their gradients are fp32's, what they return is bf16, and names stay."""

import pytest
import torch
from torch import nn

from training.depthwise import compute_depthwise_in_fp32


def gradients(network: nn.Module, images: torch.Tensor, autocast: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The output of a network, and the gradients of its sum of squares."""
    network.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output = network(images)
    output.float().square().sum().backward()
    return output, [parameter.grad.clone() for parameter in network.parameters()]


def test_a_depthwise_convolution_computes_in_fp32():
    torch.manual_seed(0)
    depthwise = nn.Sequential(nn.Conv2d(8, 8, 5, padding=2, groups=8))
    images = torch.randn(2, 8, 16, 16)
    names = list(depthwise.state_dict())
    exact, expected = gradients(depthwise, images, autocast=False)
    _, rounded = gradients(depthwise, images, autocast=True)
    compute_depthwise_in_fp32(depthwise)
    output, found = gradients(depthwise, images, autocast=True)
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, exact.to(torch.bfloat16))

    def error(gradient):
        return (gradient[0] - expected[0]).norm()

    assert error(found) < 0.5 * error(rounded)
    assert list(depthwise.state_dict()) == names


OTHERS = [nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, groups=4)]
"""Convolutions that are not depthwise."""


@pytest.mark.parametrize(
    ("layers", "channels", "autocast"),
    [([nn.Conv2d(8, 8, 5, padding=2, groups=8)], 8, False), (OTHERS, 1, True)],
    ids=["without autocast", "other convolutions"],
)
def test_nothing_else_changes(layers, channels, autocast):
    torch.manual_seed(0)
    network = nn.Sequential(*layers)
    images = torch.randn(2, channels, 16, 16)
    before, expected = gradients(network, images, autocast)
    compute_depthwise_in_fp32(network)
    output, found = gradients(network, images, autocast)
    assert torch.equal(output, before)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
