"""recipes/: every command of the shipped networks' recipes is one that train.py and the tools accept."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT
from training.config import parse

RECORDER = f"""#!{sys.executable} -IS
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
"""


@pytest.mark.parametrize("recipe", ["lite2_eorssd", "strong_eorssd"])
def test_every_command_parses(recipe, tmp_path):
    recorder, calls = tmp_path / "python", tmp_path / "calls"
    recorder.write_text(RECORDER)
    recorder.chmod(0o755)
    script = ROOT / "recipes" / f"{recipe}.sh"
    environment = os.environ | {"PYTHON": str(recorder), "CALLS": str(calls)}
    subprocess.run([script], cwd=tmp_path, env=environment, check=True)
    made: set[str] = set()
    for line in calls.read_text().splitlines():
        command, *arguments = json.loads(line)
        if command == "train.py":
            start = parse(arguments)
            assert start.resume
            read = [start.settings.weights] if start.settings.weights else []
            written = [f"{start.settings.output}/{name}.safetensors" for name in ("last", "best")]
        elif arguments[0] == "tools.average_weights":
            *read, option, output = arguments[1:]
            assert option == "--output"
            written = [output]
        else:
            assert (arguments[0], arguments[2], arguments[4]) == ("tools.prune", "--output", "--half")
            read, written = arguments[1:2], arguments[3:4]
        assert made.issuperset(read)  # each file is made before it is read
        made.update(written)
    assert f"runs/{recipe}.safetensors" in made


def test_the_ablation_scores_the_test_split_only_after_all_trainings(tmp_path):
    recorder, calls = tmp_path / "python", tmp_path / "calls"
    failing = 'if "tools.sweep" in sys.argv and os.environ.get("UNFINISHED"): sys.exit(1)\n'
    printing = 'if "--print-output" in sys.argv: print(os.environ["RUNS"])\n'
    recorder.write_text(RECORDER + printing + failing)
    recorder.chmod(0o755)
    environment = os.environ | {"PYTHON": str(recorder), "CALLS": str(calls), "RUNS": str(tmp_path)}
    script = ROOT / "recipes" / "sral_ablation.sh"
    stopped = subprocess.run([script], env=environment | {"UNFINISHED": "1"})
    assert stopped.returncode
    assert "--test" not in calls.read_text()
    (tmp_path / "asrd" / "seed_0" / "weights").mkdir(parents=True)
    calls.unlink()
    subprocess.run([script], env=environment, check=True)
    asked = [json.loads(line) for line in calls.read_text().splitlines()]
    tools = [call[1] for call in asked]
    assert tools == [
        "tools.ablation", "tools.sweep", "tools.inspect_sr", "tools.gradient_analysis", "tools.sweep", "tools.ablation",
    ]  # fmt: skip
    assert ["--test" in call for call in asked] == [False, False, False, False, True, True]
