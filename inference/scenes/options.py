"""The options of whole scenes, and what does not go together. Torch is not imported."""

import argparse
import math
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

from datasets.raster import parse_bands, parse_range

NEEDS_SCENE = ("context", "context_m", "gsd", "overlap", "polygons", "threshold", "min_area", "dtype")
DEFAULTS = {"overlap": 0.5, "threshold": 0.5, "min_area": 20.0, "dtype": "uint8"}

SCENE = """treat --input as georeferenced rasters of any size: a file or an address (https://, s3://, /vsi…), a folder,
or a .txt list. Writes <stem>.tif (a Cloud Optimized GeoTIFF) and <stem>_quicklook.png; docs/scenes.md"""
BANDS = "numbers of the red, green and blue band of scenes or images, such as 3,2,1 (default: as the file says)"
RANGE = """values that become black and white, such as 200:3000, or auto: estimated once for the scene
(default), or once for all images"""
CONTEXT = "sides of the windows in pixels, one for each scale (default: 448,640)"
CONTEXT_M = "sides of the windows in meters, instead of --context"
GSD = "ground sampling distance in meters, instead of the one that the scene's georeference says"
OVERLAP = "fraction of a window that the next one overlaps (default: 0.5)"
POLYGONS = "also write the objects: .gpkg, .geojson or .fgb"
THRESHOLD = "least saliency of an object's pixels (default: 0.5)"
MIN_AREA = "least area of an object in m², or in pixels without a CRS (default: 20)"
DTYPE = "uint8: saliency × 255, 255 is nodata (default); float32: saliency, NaN is nodata"


def add_scene_options(parser: ArgumentParser) -> None:
    """Add the options to a parser."""
    add = parser.add_argument_group("whole scenes").add_argument
    add("--scene", action="store_true", help=SCENE)
    add("--bands", type=_parsed(parse_bands), metavar="R,G,B", help=BANDS)
    add("--range", metavar="LOW:HIGH", help=RANGE)
    add("--context", type=_parsed(_numbers), metavar="PIXELS", help=CONTEXT)
    add("--context-m", type=_parsed(_numbers), metavar="METERS", help=CONTEXT_M)
    add("--gsd", type=_parsed(_positive), metavar="METERS", help=GSD)
    add("--overlap", type=float, metavar="FRACTION", help=OVERLAP)
    add("--polygons", type=Path, metavar="FILE", help=POLYGONS)
    add("--threshold", type=float, metavar="T", help=THRESHOLD)
    add("--min-area", type=float, metavar="AREA", help=MIN_AREA)
    add("--dtype", choices=("uint8", "float32"), help=DTYPE)


def check_scene_options(parser: ArgumentParser, options: Namespace) -> None:
    """End with one line if options do not go together; fill in the defaults of scenes."""
    if not options.scene:
        for name in NEEDS_SCENE:
            if getattr(options, name) is not None:
                parser.error(f"--{name.replace('_', '-')} goes with --scene")
        return
    if options.dataset:
        parser.error("--scene takes --input, not --dataset")
    if options.size == "network":
        parser.error("--scene writes maps of the scene's own size: leave --size network out")
    if options.context and options.context_m:
        parser.error("give either --context in pixels or --context-m in meters")
    for name, value in DEFAULTS.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if not 0 < options.threshold <= 1:
        parser.error(f"--threshold must be above 0 and at most 1, not {options.threshold:g}")
    if not (options.min_area >= 0 and math.isfinite(options.min_area)):
        parser.error(f"--min-area must be 0 or more, not {options.min_area:g}")
    try:
        options.bounds = parse_range(options.range or "auto")
    except ValueError as error:
        parser.error(str(error))


def _parsed(parse: Callable[[str], object]) -> Callable[[str], object]:
    """Return a parser for argparse that shows the message of a ValueError."""

    def parsed(text: str) -> object:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parsed


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(_positive(part) for part in text.split(","))


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{text!r}: give positive numbers, such as 448 or 448,640")
    return number
