"""Maps averaged over an image's mode."""

import numpy as np
import pytest

from inference.tta import with_tta


def lopsided(pixels: np.ndarray) -> np.ndarray:
    """A stand-in network: twice the size, and not the same for an image turned or mirrored."""
    big = pixels[..., 0].repeat(2, axis=1).repeat(2, axis=2) / 255
    height, width = big.shape[1:]
    return (big * np.linspace(0, 1, width) * np.linspace(1, 0.5, height)[:, None]).astype(np.float32)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), dtype=np.uint8)


def test_a_network_without_preferences_is_left_as_it_is(pixels):
    fair = lambda p: p[..., 0].repeat(2, axis=1).repeat(2, axis=2) / np.float32(255)  # noqa: E731
    for mode in ("mirror", "eight"):
        assert np.allclose(with_tta(fair, mode)(pixels), fair(pixels), atol=1e-6)


def test_the_mirror_image_has_the_mirrored_map(pixels):
    network = with_tta(lopsided, "mirror")
    assert np.allclose(network(pixels[:, :, ::-1]), network(pixels)[:, :, ::-1])
    assert np.allclose(network(pixels), (lopsided(pixels) + lopsided(pixels[:, :, ::-1])[:, :, ::-1]) / 2)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_image_has_the_turned_map(pixels, turns):
    network = with_tta(lopsided, "eight")
    turned = network(np.rot90(pixels, turns, axes=(1, 2)))
    assert np.allclose(turned, np.rot90(network(pixels), turns, axes=(1, 2)), atol=1e-6)
    assert not np.allclose(lopsided(np.rot90(pixels, 2, axes=(1, 2))), np.rot90(lopsided(pixels), 2, axes=(1, 2)))


@pytest.mark.parametrize(("mode", "passes"), [("mirror", 2), ("eight", 8)])
def test_each_symmetry_costs_a_pass(pixels, mode, passes):
    calls = []
    with_tta(lambda p: calls.append(p.shape) or lopsided(p), mode)(pixels)
    assert len(calls) == passes
    assert set(calls) == ({(2, 32, 64, 3)} | ({(2, 64, 32, 3)} if passes == 8 else set()))
