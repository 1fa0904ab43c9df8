"""How images are read whose files do not say it (`--bands`, `--range`): one value range for all of them."""

from collections.abc import Sequence

import numpy as np

from datasets.io import AS_STORED, Reading
from datasets.raster import Bands, open_raster, parse_range
from datasets.raster_reader import Reader, estimate_range

SAMPLED = 32
"""Images, spread evenly, from which a range is estimated."""


def reading_of(bands: Bands | None, value_range: str | None, images: Sequence[str]) -> tuple[Reading, str | None]:
    """Return how to read the images, and a line on an estimated range.

    Args:
        bands: numbers of the red, green and blue band; None: as the files say.
        value_range: what `parse_range` takes; None is auto where bands are given.
        images: the files.

    Raises:
        ValueError: a malformed range, rasterio is missing, or no sampled image can be read.
    """
    if bands is None and value_range is None:
        return AS_STORED, None
    if bounds := parse_range(value_range or "auto"):
        return Reading(bands, bounds), None
    values, problem = [], None
    chosen = [images[index * len(images) // SAMPLED] for index in range(SAMPLED)] if images else []
    for image in dict.fromkeys(chosen):
        try:
            with open_raster(image) as dataset:
                reader = Reader(dataset, bands)
                if reader.estimated:
                    sample, valid = reader.sampled()
                    values.append(sample.ravel() if valid is None else sample[:, valid].ravel())
        except ValueError as error:  # it is named when its turn comes
            problem = error
            if "pip install" in str(error):
                raise
    if not values:
        if problem and len(images) == 1:
            raise problem
        return Reading(bands), None
    low, high = estimate_range(np.concatenate([each.astype(np.float64) for each in values]))
    line = f"range {low:g}:{high:g}, estimated from {len(values)} of {len(images)} images; --range sets it"
    return Reading(bands, (low, high)), line
