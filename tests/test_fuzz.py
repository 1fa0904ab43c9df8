"""Damaged weights, configurations and plans of sweeps: accepted, or refused in one line; no traceback, no hang.

FUZZ=10000 tries as many of them, FUZZ_SEED=20000 starts there; a seed is the number of an input.
"""

import copy
import os
import random
import signal
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.weights import load_detector
from tests.helpers import ROOT
from tools.sweep import main as sweep
from training.config import parse

FUZZ = int(os.environ.get("FUZZ", "120"))
FIRST = int(os.environ.get("FUZZ_SEED", "0"))
SECONDS = 20
LEAVES = [
    None, -1, 0, 1e400, float("nan"), "", "x" * 400, [], {}, [[1]], {"a": {"b": 1}}, True, "ä\n", 10**30, "[", "null",
    "!!python/object:os.system x",
]  # fmt: skip
CONFIG = str(ROOT / "configs" / "demo.yaml")
RUNS = {"a": {"config": CONFIG}, "b": {"config": CONFIG, "baseline": "a", "options": {"epochs": 2}}}


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Replace, remove and insert bytes, mostly near the start, or cut the end off."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 12)):
        changed = changed or bytearray(b"x")
        place, what = chance.randrange(min(len(changed), 4000)), chance.random()
        if what < 0.5:
            changed[place] = chance.randrange(256)
        elif what < 0.7:
            del changed[place : place + chance.randint(1, 20)]
        elif what < 0.85:
            changed[place:place] = bytes(chance.randrange(32, 127) for _ in range(chance.randint(1, 12)))
        else:
            changed = changed[: chance.randint(0, len(changed))]
    return bytes(changed)


def restructured(values: dict[str, Any], chance: random.Random) -> bytes:
    """Put other values, of any type, in the place of some, or under keys that are not known; as YAML."""
    values = copy.deepcopy(values)
    for _ in range(chance.randint(1, 3)):
        node = values
        while inside := [each for each in node.values() if isinstance(each, dict) and each]:
            if chance.random() < 0.3:
                break
            node = chance.choice(inside)
        node[chance.choice([*node, "extra", "", "1"])] = chance.choice(LEAVES)
    return yaml.safe_dump(values, allow_unicode=True).encode()


def outcome(use: Callable[[], object]) -> str:
    """Return 'accepted', 'refused', or what came instead of one line."""
    try:
        use()
    except (OSError, ValueError) as error:
        said = str(error)
    except SystemExit as error:
        said = str(error.code).removeprefix("error: ") if str(error.code).startswith("error: ") else f"\n{error.code}"
    else:
        return "accepted"
    return "refused" if said and "\n" not in said else f"several lines: {said}"


def late(*_: object) -> None:
    raise AssertionError(f"it takes longer than {SECONDS} s")


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs an alarm")
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_accepted_or_refused_in_one_line(small_weights: Path, tmp_path: Path, capsys: Any) -> None:
    weights = small_weights.read_bytes()
    weights = weights[: 8 + int.from_bytes(weights[:8], "little") + 20_000]
    texts = [path.read_bytes() for path in sorted((ROOT / "configs").glob("*.yaml"))]
    plan = {"seeds": [1, 2], "output": str(tmp_path / "out"), "runs": RUNS}
    file, counts = tmp_path / "file.yaml", Counter[str]()
    usual = signal.signal(signal.SIGALRM, late)
    try:
        for seed in range(FIRST, FIRST + FUZZ):
            chance = random.Random(seed)
            kind = ("weights", "weights", "configuration", "configuration", "plan")[seed % 5]
            text = chance.choice(texts) if kind == "configuration" else yaml.safe_dump(plan).encode()
            whole = chance.random() < 0.5
            if kind == "weights":
                file.write_bytes(damaged(weights, chance))
            else:
                file.write_bytes(restructured(yaml.safe_load(text), chance) if whole else damaged(text, chance))
            use = {
                "weights": lambda: load_detector(file),
                "configuration": lambda: parse(["--config", str(file)]),
                "plan": lambda: sweep(["--list", str(file), "--dry-run"], types.MappingProxyType({})),
            }[kind]
            signal.alarm(SECONDS)
            found = outcome(use)
            signal.alarm(0)
            assert found in ("accepted", "refused"), f"{kind}, seed {seed}: {found}"
            counts[f"{kind} {found}"] += 1
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, usual)
    capsys.readouterr()
    print(dict(counts))
    assert counts["configuration refused"]


def test_a_configuration_that_holds_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").write_text("data: &a\n  more: *a\n")
    assert outcome(lambda: parse(["--config", str(tmp_path / "loop.yaml")])) == "refused"
