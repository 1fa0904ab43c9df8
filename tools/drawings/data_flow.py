"""Draw the data's way through the repository: packages, and the files that go in and come out."""

from tools.drawings.svg import Drawing

LEFT, MIDDLE, RIGHT = 20, 262, 596
FILES, PACKAGE, RESULT = 196, 288, 214

Lines = tuple[str, ...]
ROWS: tuple[tuple[Lines, Lines, Lines], ...] = (
    (
        ("images and masks", "data/ORSSD/"),
        ("datasets/", "catalog → decode → cache", "→ transforms → loader"),
        ("cache of decoded images", "data/cache/"),
    ),
    (
        ("configuration", "configs/NAME.yaml"),
        ("train.py: training/ and models/", "detector + ASRD + TFGM", "losses, checkpoints, validation"),
        ("a run, runs/NAME/", "best.safetensors, log.csv,", "curves.png, checkpoints/"),
    ),
    (
        ("trained network", "best.safetensors"),
        ("tools.prune, inference.export", "drop ASRD, TFGM, heads 2 to 5", "fold batch norm"),
        ("detector alone", ".safetensors, .onnx, .xml"),
    ),
    (
        ("images or scenes", ".jpg, .png, .tif"),
        ("getsmaps.py: inference/", "backend: torch, ONNX, OpenVINO", "images, or windows of a scene"),
        ("saliency maps", ".png; .tif and polygons", "for scenes"),
    ),
    (
        ("maps and masks", "maps/, data/ORSSD/"),
        ("compute_results/", "protocols authors and field", "tables, significance, report"),
        ("scores", "scores.json, CSV, LaTeX,", "curves, report/index.html"),
    ),
)
"""Files in, code and files out."""


def data_flow() -> Drawing:
    """Return the drawing of the data's way."""
    drawing = Drawing(
        830, 548, "The data's way: data sets, training, export, inference and scoring, with the files in and out"
    )
    drawing.text(LEFT + FILES / 2, 26, "files in", 13, True)
    drawing.text(MIDDLE + PACKAGE / 2, 26, "code", 13, True)
    drawing.text(RIGHT + RESULT / 2, 26, "files out", 13, True)
    for number, (given, code, made) in enumerate(ROWS):
        y = 42 + 104 * number
        drawing.box(LEFT, y + 6, FILES, 64, given, "file")
        drawing.box(MIDDLE, y, PACKAGE, 76, code)
        drawing.box(RIGHT, y + 6, RESULT, 64, made, "file")
        drawing.arrow((LEFT + FILES, y + 38), (MIDDLE, y + 38), kind="plain")
        drawing.arrow((MIDDLE + PACKAGE, y + 38), (RIGHT, y + 38), kind="plain")
    for number, label in enumerate(("batches of views", "weights", "detector", "maps")):
        y = 42 + 104 * number
        drawing.arrow((MIDDLE + PACKAGE / 2, y + 76), (MIDDLE + PACKAGE / 2, y + 104))
        drawing.text(MIDDLE + PACKAGE / 2 + 10, y + 94, label, 12, anchor="start")
    return drawing
