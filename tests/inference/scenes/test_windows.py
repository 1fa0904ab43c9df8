"""Windows cover every pixel, their weights sum to one, and each belongs to one block."""

import numpy as np
import pytest

from inference.scenes.windows import Axis, make_grid

SIZES = [(1, 1), (1, 5000), (700, 1), (64, 64), (224, 224), (300, 4100), (2500, 2100)]


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize(("length", "side"), [(1, 1), (64, 64), (65, 64), (1000, 64), (1000, 333), (129, 64)])
def test_the_weights_sum_to_one_and_the_overlap_holds(length, side, overlap):
    axis, total = Axis(length, side, overlap), np.zeros(length)
    for start, weights in zip(axis.starts, axis.weights, strict=True):
        total[start : start + side] += weights
    assert np.allclose(total, 1, atol=1e-6)
    assert axis.starts[0] == 0
    assert axis.starts[-1] == length - side
    assert (np.diff(axis.starts) <= max(round(side * (1 - overlap)), 1) + 1).all()


@pytest.mark.parametrize("size", SIZES)
def test_each_window_belongs_to_one_block_and_ends_in_the_next(size):
    grid = make_grid(size, [96, 320, 900], 0.5, ratio=1.3, input_size=(64, 96), look_side=200)
    seen, covered = [], np.zeros(size, int)
    for band in range(grid.bands):
        for block in range(grid.blocks):
            own, reach = grid.area(band, block), grid.reach(band, block)
            covered[own.top : own.bottom, own.left : own.right] += 1
            for window in (window for scale in grid.windows(band, block) for window in scale):
                height, width = grid.scales[window.scale].shape
                seen.append((window.scale, window.row, window.column))
                assert own.top <= window.row < own.bottom
                assert own.left <= window.column < own.right
                assert window.row + height <= min(reach.bottom, own.top + 2 * grid.band_rows)
                assert window.column + width <= min(reach.right, own.left + 2 * grid.block_columns)
    assert (covered == 1).all()
    expected = [
        (number, row, column)
        for number, scale in enumerate(grid.scales)
        for row in scale.rows.starts
        for column in scale.columns.starts
    ]
    assert sorted(seen) == sorted(expected)


def test_windows_have_the_networks_shape_on_the_ground():
    grid = make_grid((3000, 3000), [96, 192], 0.5, ratio=2, input_size=(64, 96))
    assert [scale.shape for scale in grid.scales] == [(32, 96), (64, 192)]


def test_scales_that_the_scene_cuts_to_the_same_size_are_one():
    assert len(make_grid((100, 90), [320, 640], 0.5).scales) == 1


@pytest.mark.parametrize(("contexts", "overlap"), [([16], 0.5), ([5000], 0.5), ([320], 1.0), ([320], -0.1)])
def test_what_is_out_of_bounds_is_refused(contexts, overlap):
    with pytest.raises(ValueError, match="give"):
        make_grid((9000, 9000), contexts, overlap)
