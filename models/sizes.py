"""Which sizes of image the networks take, and how large their maps are."""

STRIDE = 32
OUTPUT_SCALE = 2


def check_size(height: int, width: int) -> None:
    """Raise a ValueError that names the nearest size that works, where height or width is no multiple of 32."""
    if height % STRIDE or width % STRIDE or height < STRIDE or width < STRIDE:
        nearest = tuple(max(STRIDE, round(side / STRIDE) * STRIDE) for side in (height, width))
        raise ValueError(
            f"input size {height}×{width}: height and width must be multiples of {STRIDE}; "
            f"the nearest that works is {nearest[0]}×{nearest[1]}"
        )
