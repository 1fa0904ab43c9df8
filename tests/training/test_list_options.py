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
