"""Draw the method: the detector, what trains it, the losses, and the size of every tensor (ResNet-50, 224×224)."""

from tools.drawings.svg import FAINT, INK, Drawing

FEATURES = ("64×112×112", "256×56×56", "512×28×28", "1024×14×14", "2048×7×7")
"""F1 … F5: channels × height × width."""
DECODED = ("256×112×112", "256×56×56", "256×28×28", "256×14×14", "256×7×7")
"""Outputs of TSDD's blocks, finest first."""
LOGITS = ("1×224×224", "1×112×112", "1×56×56", "1×28×28", "1×14×14")
"""Outputs of the saliency heads before they are upsampled, finest first."""
CONTEXT, INPUT, OUTPUT, COLOR = "256×7×7", "3×224×224", "1×448×448", "3×448×448"

TOP, ROW, HIGH = 96, 62, 44
ENCODER, DECODER, HEADS, RIGHT = 48, 218, 376, 548
WIDE = 122


def row(level: int) -> float:
    """Return the top of a level's boxes; level 1 is the finest."""
    return TOP + ROW * (level - 1)


def method() -> Drawing:
    """Return the drawing of the method."""
    drawing = Drawing(
        830,
        640,
        "SRAL: the detector that infers, and the branches and losses that train it, with the sizes of all tensors",
    )
    _detector(drawing)
    _supervision(drawing)
    _super_resolution(drawing)
    _guidance(drawing)
    _legend(drawing)
    return drawing


def _detector(drawing: Drawing) -> None:
    drawing.box(ENCODER, 24, WIDE, HIGH, ("RGB image", INPUT), "file")
    drawing.arrow((ENCODER + WIDE / 2, 24 + HIGH), (ENCODER + WIDE / 2, TOP))
    drawing.text(DECODER + WIDE / 2, 82, "TSDD", 13, True, INK)
    drawing.text(ENCODER + WIDE + 8, 82, "encoder", 13, True, INK, "start")
    for level, (feature, decoded) in enumerate(zip(FEATURES, DECODED, strict=True), start=1):
        y = row(level)
        drawing.box(ENCODER, y, WIDE, HIGH, (f"F{level}, stride {2**level}", feature))
        drawing.box(DECODER, y, WIDE, HIGH, (f"block {level}", decoded))
        drawing.arrow((ENCODER + WIDE, y + HIGH / 2), (DECODER, y + HIGH / 2))
        if level < 5:
            drawing.arrow((ENCODER + WIDE / 2, y + HIGH), (ENCODER + WIDE / 2, y + ROW))
            drawing.arrow((DECODER + WIDE / 2, y + ROW), (DECODER + WIDE / 2, y + HIGH))
    below = row(6)
    drawing.arrow((ENCODER + WIDE / 2, row(5) + HIGH), (ENCODER + WIDE / 2, below))
    drawing.box(ENCODER, below, WIDE, HIGH, ("PPM: F6", CONTEXT))
    drawing.arrow(
        (ENCODER + WIDE, below + HIGH / 2), (DECODER + WIDE / 2, below + HIGH / 2), (DECODER + WIDE / 2, row(5) + HIGH)
    )


def _supervision(drawing: Drawing) -> None:
    drawing.text(HEADS + WIDE / 2, 82, "saliency heads", 13, True, INK)
    for level, logits in enumerate(LOGITS, start=1):
        y, kind = row(level), "kept" if level == 1 else "training"
        drawing.box(HEADS, y, WIDE, HIGH, (f"head {level}", logits), kind)
        drawing.arrow((DECODER + WIDE, y + HIGH / 2), (HEADS, y + HIGH / 2), kind=kind)
    first = row(1) + HIGH / 2
    drawing.box(RIGHT, row(1), WIDE, HIGH, ("logits, ↑ 448", OUTPUT))
    drawing.arrow((HEADS + WIDE, first), (RIGHT, first))
    drawing.box(702, row(1), 112, HIGH, ("saliency map", OUTPUT), "file")
    drawing.arrow((RIGHT + WIDE, first), (702, first))
    drawing.text(686, first - 30, "sigmoid", 12)
    x, bus = RIGHT + 28, RIGHT - 22
    y = row(3)
    for level in range(2, 6):
        drawing.arrow((HEADS + WIDE, row(level) + HIGH / 2), (bus, row(level) + HIGH / 2), kind="training", head=False)
    drawing.arrow((bus, row(2) + HIGH / 2), (bus, row(5) + HIGH / 2), kind="training", head=False)
    drawing.box(
        x,
        y,
        238,
        HIGH + 15,
        ("structure losses", "five maps, ↑ 448, against the mask", "weights 1, 1, 1/2, 1/4, 1/8"),
        "training",
    )
    drawing.arrow((bus, y + 30), (x, y + 30), kind="training")
    drawing.arrow((RIGHT + 94, row(1) + HIGH), (RIGHT + 94, y), kind="training")


def _super_resolution(drawing: Drawing) -> None:
    y = 486
    drawing.area(206, y - 20, 294, 142, "ASRD, super-resolution decoder", "#e0b566")
    drawing.box(218, y + 10, 126, 62, ("convolutions", "of F2 and F6 ↑ 56", "64×56×56"), "training")
    drawing.box(368, y + 10, 122, 62, ("3 × upsampling", "residual blocks", "16×448×448"), "training")
    drawing.arrow((344, y + 41), (368, y + 41), kind="training")
    drawing.arrow((ENCODER, row(2) + HIGH / 2), (26, row(2) + HIGH / 2), (26, y + 52), (218, y + 52), kind="training")
    drawing.text(34, y + 47, "F2", 12, anchor="start")
    drawing.arrow((ENCODER + WIDE / 2, row(6) + HIGH), (ENCODER + WIDE / 2, y + 28), (218, y + 28), kind="training")
    drawing.text(ENCODER + WIDE / 2 + 8, y + 22, "F6", 12, anchor="start")
    drawing.box(ENCODER, 572, WIDE, HIGH, ("YCbCr image", INPUT), "file")
    drawing.text(284, 590, "bicubic, ×2", 12)
    drawing.arrow((ENCODER + WIDE, 594), (576, 594), kind="training")
    drawing.arrow((429, y + 72), (429, 594), kind="training")
    drawing.text(437, 578, "+ residual", 12, anchor="start")


def _guidance(drawing: Drawing) -> None:
    drawing.box(576, 572, 238, HIGH + 4, ("mean squared error × 100", f"SR image {COLOR}, SR target"), "training")
    drawing.box(
        576, 452, 238, 92,
        ("TFGM: guidance losses", "logits × SR features", "against mask × SR target", f"spatial and affinity, {COLOR}"),
        "training",
    )  # fmt: skip
    drawing.arrow((490, 517), (576, 517), kind="training")
    drawing.text(537, 511, "SR features", 12)
    drawing.arrow((RIGHT + 12, row(1) + HIGH), (RIGHT + 12, 464), (576, 464), kind="training")


def _legend(drawing: Drawing) -> None:
    drawing.box(RIGHT, 24, 20, 14, (), "kept")
    drawing.text(RIGHT + 28, 35, "the detector: training and inference", 12, color=FAINT, anchor="start")
    drawing.box(RIGHT, 48, 20, 14, (), "training")
    drawing.text(RIGHT + 28, 59, "training only: dropped for inference", 12, color=FAINT, anchor="start")
