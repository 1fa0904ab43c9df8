"""Freed memory stays with the process: the same again costs no page faults."""

import subprocess
import sys

import pytest

from tests.helpers import ROOT

REPEATED = """
import resource
from utils.devices import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        b"x" * (48 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
keep_freed_memory()
print(given_back, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")
def test_what_is_freed_is_kept():
    done = subprocess.run([sys.executable, "-c", REPEATED], cwd=ROOT, capture_output=True, text=True, check=True)
    given_back, kept = (int(count) for count in done.stdout.split())
    assert kept < given_back / 5
