"""Draw rendered scenes before and after: test images of the sample set, and what lite2 finds in them."""

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datasets.catalog import SAMPLE_ROOT
from datasets.io import open_image, read_pixels
from inference.backends import open_backend
from inference.maps import float_map
from models.shipped import LITE2

STEMS = ("0045", "0048", "0052", "0057")
TILE, GAP, CAPTION = (392, 294), 18, 44
TINT, OUTLINE, INK = (255, 60, 0), (255, 235, 0), (27, 31, 36)
THRESHOLD = 0.5


def overlay() -> Image.Image:
    """Return the picture at twice a README's width: a row of images, and the same with the objects marked."""
    network = open_backend("torch", LITE2, "cpu")
    font = ImageFont.load_default(size=28)
    width = len(STEMS) * (TILE[0] + GAP) + GAP
    picture = Image.new("RGB", (width, 2 * (TILE[1] + CAPTION) + GAP), "white")
    draw = ImageDraw.Draw(picture)
    lower = TILE[1] + CAPTION
    draw.text((GAP, 6), "before: the image", INK, font)
    draw.text((GAP, lower + 6), "after: its saliency as a tint, outlined at 0.5", INK, font)
    for number, stem in enumerate(STEMS):
        path = SAMPLE_ROOT / "test-images" / f"{stem}.jpg"
        image = open_image(path)
        saliency = float_map(network(read_pixels(path, network.input_size)[0][None])[0], image.size[::-1])
        left = GAP + number * (TILE[0] + GAP)
        picture.paste(image.resize(TILE, Image.Resampling.LANCZOS), (left, CAPTION))
        picture.paste(marked(image, saliency), (left, lower + CAPTION))
    return picture


def marked(image: Image.Image, saliency: np.ndarray) -> Image.Image:
    """Return an image as a tile, tinted by its saliency (H×W in [0, 1]), with a line around the objects."""
    pixels = np.asarray(image.resize(TILE, Image.Resampling.LANCZOS), np.float32)
    large = cv2.resize(saliency, TILE, interpolation=cv2.INTER_LINEAR)
    strength = 0.5 * large[..., None]
    tinted = (pixels * (1 - strength) + np.float32(TINT) * strength).round().astype(np.uint8)
    borders, _ = cv2.findContours((large >= THRESHOLD).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = np.ascontiguousarray(tinted)
    cv2.drawContours(drawn, borders, -1, OUTLINE, 2, cv2.LINE_AA)
    return Image.fromarray(drawn)
