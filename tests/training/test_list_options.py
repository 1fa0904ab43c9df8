"""Names in data.exclude are text as written."""

import pytest

from training.config import parse


@pytest.mark.parametrize("form", ["{key}", "{key}="])
def test_on_the_command_line(form):
    text = "[0003, 12:30, no, 1.10, a b]"
    arguments = ["--data.exclude", text] if form == "{key}" else [f"--data.exclude={text}"]
    assert parse(arguments).settings.data.exclude == ("0003", "12:30", "no", "1.10", "a b")


@pytest.mark.parametrize(
    "block", [" [0003, 2021]\n", "\n  - 0003\n  - 2021\n", "\n    - 0003 # a comment\n    - 2021\n"]
)
def test_in_a_configuration(tmp_path, block):
    (tmp_path / "c.yaml").write_text(f"data:\n  exclude:{block}  validation: 0.25\nepochs: 3\n")
    settings = parse(["--config", str(tmp_path / "c.yaml")]).settings
    assert settings.data.exclude == ("0003", "2021")
    assert (settings.data.validation, settings.epochs) == (0.25, 3)


def test_auto_is_no_range_for_training():
    with pytest.raises(ValueError, match="set it to LOW:HIGH"):
        parse(["--data.range", "auto"])


@pytest.mark.parametrize(
    ("arguments", "exclude"),
    [
        (["--data.exclude", "0003", "0009", "--epochs", "3"], ("0003", "0009")),
        (["--data.exclude", "0003,0009"], ("0003", "0009")),
        (["--data.exclude=a b, 12:30"], ("a b", "12:30")),
        (["--data.exclude", "[0003,", "0009]"], ("0003", "0009")),  # as a shell splits it
        (["--data.exclude="], ()),
        (["--data.exclude", "--epochs=3"], ()),
    ],
)
def test_brackets_are_not_needed(arguments, exclude):
    assert parse(arguments).settings.data.exclude == exclude


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        (["--detector.input_size", "96"], (96, 96)),
        (["--detector.input_size", "96,128"], (96, 128)),
        (["--detector.input_size", "96", "128"], (96, 128)),
        (["--detector.input_size=[96,128]"], (96, 128)),
    ],
)
def test_one_number_is_a_square(arguments, size):
    assert parse(arguments).settings.detector.input_size == size


@pytest.mark.parametrize(("text", "size"), [("96", (96, 96)), ("96,128", (96, 128)), ("[96, 128]", (96, 128))])
def test_a_configuration_may_leave_brackets_out_too(tmp_path, text, size):
    content = f"weights_kept: 3\ndetector:\n  input_size: {text}  # a comment\n  width: 8\ndata:\n  exclude: 0003\n"
    (tmp_path / "c.yaml").write_text(content)
    settings = parse(["--config", str(tmp_path / "c.yaml")]).settings
    assert (settings.detector.input_size, settings.detector.width) == (size, 8)
    assert (settings.weights_kept, settings.data.exclude) == ((3,), ("0003",))


def test_null_stays_null(tmp_path):
    assert parse(["--detector.encoder_size", "null"]).settings.detector.encoder_size is None
    (tmp_path / "c.yaml").write_text("detector:\n  encoder_size: null\n")
    assert parse(["--config", str(tmp_path / "c.yaml")]).settings.detector.encoder_size is None


def test_a_name_that_is_not_utf8_is_refused_by_its_key() -> None:
    with pytest.raises(
        ValueError, match=r"^output run\\udcff is not UTF-8: rename it, or use a locale such as C\.UTF-8$"
    ):
        parse(["--output", "run\udcff"])
