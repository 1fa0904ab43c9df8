"""Which sizes of image the networks take, and how large their maps are."""

STRIDE = 32
OUTPUT_SCALE = 2


def check_size(height: int, width: int, what: str = "input size") -> None:
    """Raise a ValueError that names the nearest size that works, where height or width is no multiple of 32."""
    if height % STRIDE or width % STRIDE or height < STRIDE or width < STRIDE:
        nearest = tuple(max(STRIDE, round(side / STRIDE) * STRIDE) for side in (height, width))
        raise ValueError(
            f"{what} {height}×{width}: height and width must be multiples of {STRIDE}; "
            f"the nearest that works is {nearest[0]}×{nearest[1]}"
        )


def in_proportion(side: int, of: int, to: int) -> int:
    """The multiple of 32 next to side · to / of: what becomes of a side where one of `of` pixels becomes `to`."""
    return (2 * side * to + of * STRIDE) // (2 * of * STRIDE) * STRIDE
