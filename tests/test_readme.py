"""The documents name commands, options and files that exist."""

import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers import ROOT

PAGES = sorted(page for folder in ("weights", "docs", "examples") for page in (ROOT / folder).rglob("*.md"))
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *(page.relative_to(ROOT).as_posix() for page in PAGES))
NESTED = ("--detector.host", "--detector.tokens")
"""Options of train.py that `--help` lists without the keys below them, since they may be null."""

FILES = re.compile(
    r"(?<![\w./-])(?:models|datasets|training|inference|compute_results|tools|utils|recipes|benchmarks|configs|docs|tests"
    r"|weights)/[\w/-]+\.(?:py|sh|yaml|md|safetensors|onnx|png|jpg)\b"
)


def commands(document: str) -> list[tuple[str, ...]]:
    """Return the Python commands in a document's bash blocks: script (or -m and module) and arguments."""
    found = []
    text = (ROOT / document).read_text()
    for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
        for line in re.split(r"\n|&&|;", block.replace("\\\n", " ")):
            words = shlex.split(line, comments=True)
            if "python" in words:
                words = words[words.index("python") + 1 :]
            elif words[:1] in (["torchrun"], ["accelerate"]):
                words = words[next(at for at, word in enumerate(words) if word.endswith(".py")) :]
            else:
                continue
            start = 2 if words[0] == "-m" else 1
            found.append((" ".join(words[:start]), *words[start:]))
    return found


def help_of(command: str) -> str:
    """Return what a command's --help prints, or nothing where it fails."""
    words = [sys.executable, *command.split(), "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done.stdout if done.returncode == 0 else ""


def options_in(words: list[str]) -> list[str]:
    """Return the names of the options among the words of a command line."""
    return sorted({word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)})


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """The help of every command that the documents give options, by command."""
    names = sorted({command for document in DOCUMENTS for command, *words in commands(document) if options_in(words)})
    with ThreadPoolExecutor(2) as threads:
        return dict(zip(names, threads.map(help_of, names), strict=True))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_options_exist(document: str, helps: dict[str, str]) -> None:
    offenders = []
    for command, *words in commands(document):
        for option in options_in(words):
            nested = command == "train.py" and option.startswith(NESTED)
            if not nested and not re.search(rf"{re.escape(option)}(?![\w.-])", helps[command]):
                offenders.append(f"{command} has no {option}")
    assert not offenders, "\n" + "\n".join(dict.fromkeys(offenders))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_exist(document: str) -> None:
    named = set(FILES.findall((ROOT / document).read_text()))
    assert not sorted(name for name in named if not (ROOT / name).exists())


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    folder = Path(ROOT / document).parent
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / document).read_text())
    assert not sorted(link for link in links if not (folder / link).exists())


def test_make_targets_exist() -> None:
    rules = (ROOT / "Makefile").read_text() + (ROOT / "web" / "page.mk").read_text()
    targets = set(re.findall(r"^([a-z-]+):", rules, flags=re.MULTILINE))
    for document in DOCUMENTS:
        code = "\n".join(re.findall(r"`+[^`]+`+", (ROOT / document).read_text()))
        assert set(re.findall(r"\bmake ([a-z-]+)", code)) <= targets, document
