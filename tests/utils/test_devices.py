"""Devices by name; freed memory stays with the process, so that the same again costs no page faults."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers import ROOT
from training.distributed import build_accelerator
from utils.devices import check_device, find_device

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


ADVISED = """
import ctypes
import re
import sys
from pathlib import Path
from utils.devices import keep_freed_memory, trim_memory

keep_freed_memory()
if sys.argv[1:] == ["trimmed"]:
    trim_memory()
array = bytearray(48 << 20)
areas = Path("/proc/self/smaps").read_text()
areas = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) .*?^VmFlags: ([^\\n]*)", areas, re.M | re.S)
middle = ctypes.addressof(ctypes.c_char.from_buffer(array)) + (24 << 20)
print([flags for low, high, flags in areas if int(low, 16) <= middle < int(high, 16)][0])
"""


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="the system has no large pages")
@pytest.mark.parametrize("state", ["fresh", "trimmed"])
def test_large_arrays_ask_for_large_pages(state):
    done = subprocess.run([sys.executable, "-c", ADVISED, state], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "hg" in done.stdout.split()


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:x", "cpu:1", ""])
def test_an_unknown_device_is_refused_by_name(name):
    with pytest.raises(ValueError, match=r"^device '.*': choose auto, cpu, cuda, cuda:N or mps$"):
        check_device(name)


def test_a_device_that_is_absent_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name, says in (("cuda:1", "finds no GPU here"), ("mps", "finds no Apple GPU here")):
        for choose in (check_device, find_device, build_accelerator_on):
            with pytest.raises(ValueError, match=rf"^device {name}: torch .* {says}; use cpu or auto$"):
                choose(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match=r"^device cuda:2: torch finds 2 GPU\(s\) here, cuda:0 to cuda:1; choose one$"):
        find_device("cuda:2")
    with pytest.raises(ValueError, match="2 or more processes would share it"):
        find_device("cuda:1", process=1)


def build_accelerator_on(name: str) -> object:
    return build_accelerator(name, "fp32")
