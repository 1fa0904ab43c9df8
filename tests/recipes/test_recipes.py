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
