"""The commands that the documentation's blocks find on their PATH: python, torchrun, pip and make.

    python tests/documentation_commands.py SOCKET     the server

`python` starts in milliseconds: the server has imported torch and the other large packages once, and forks a process
for every command line. `torchrun` starts its processes so too. `pip` only looks for the requirements files, and `make`
for the targets. Trainings of the pages last hours, so `train.py` gets the options in `shortened`, and
`tools.gradient_analysis` reads two batches.
"""

import array
import atexit
import contextlib
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path

import yaml

PACKAGES = (
    "models.encoders", "torchvision", "accelerate", "cv2", "safetensors.torch", "matplotlib.pyplot", "pandas",
    "scipy.stats", "skimage.metrics", "py_sod_metrics", "jsonargparse", "segmentation_models_pytorch",
    "torch.utils.tensorboard", "rasterio", "plotly", "jinja2", "training.trainer", "train", "hubconf",
    "compute_results.scoring", "datasets.catalog",
)  # fmt: skip
"""What many commands import. Packages that start threads are left out: a fork would lose them."""

CLIENT = """#!{python} -IS
import array, json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
files = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
connection.sendmsg([len(request).to_bytes(8, "big")], [files])
connection.sendall(request)
status = connection.recv(1)
sys.exit(status[0] if status else 1)
"""

TORCHRUN = """#!/usr/bin/env bash
set -u
[ "$1" = --nproc_per_node ] || {{ echo "torchrun: expected --nproc_per_node" >&2; exit 2; }}
export WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT={port}
shift 2
RANK=0 LOCAL_RANK=0 python "$@" & first=$!
RANK=1 LOCAL_RANK=1 python "$@" >/dev/null; second=$?
wait "$first" && exit "$second"
"""

PIP = """#!/usr/bin/env bash
while [ $# -gt 0 ]; do
    [ "$1" != -r ] || [ -f "$2" ] || {{ echo "pip: no file $2" >&2; exit 1; }}
    shift
done
"""

MAKE = """#!/usr/bin/env bash
exec {make} --dry-run "$@" >/dev/null
"""


def write_commands(folder: Path, address: Path, port: int, make: str) -> None:
    """Write the commands into a folder, which goes to the front of PATH."""
    values = {"python": sys.executable, "address": str(address), "port": port, "make": make}
    for name, text in {"python": CLIENT, "torchrun": TORCHRUN, "pip": PIP, "make": MAKE}.items():
        if name != "make" or make:
            (folder / name).write_text(text.format(**values))
            (folder / name).chmod(0o755)


def shortened(arguments: list[str]) -> list[str]:
    """Return train.py's arguments with those that make a training short; later options count."""
    given = {word.partition("=")[0] for word in arguments}
    if given & {"--help", "--config"} != {"--config"}:
        return arguments  # a run that is resumed keeps its own settings
    batch = 2 * int(os.environ.get("WORLD_SIZE", "1"))
    short = [
        "--epochs=1",
        "--detector.input_size=64",
        f"--batch_size={batch}",
        "--precision=fp32",
        "--optimizer.warmup_epochs=0",
    ]
    config = yaml.safe_load(Path(arguments[arguments.index("--config") + 1]).read_text())
    downloads = config.get("encoder_weights", "imagenet") == "imagenet"
    if downloads and not given & {"--encoder_weights", "--weights"}:
        short.append("--encoder_weights=none")
    return arguments + short


def serve(address: str) -> None:
    """Answer requests until the process is ended."""
    for package in PACKAGES:
        with contextlib.suppress(ImportError):
            importlib.import_module(package)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(16)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os._exit(_answer(connection))
        connection.close()


def _answer(connection: socket.socket) -> int:
    header, extra, _, _ = connection.recvmsg(8, socket.CMSG_SPACE(12))
    files = array.array("i", extra[0][2])
    size, request = int.from_bytes(header, "big"), b""
    while len(request) < size:
        request += connection.recv(1 << 16)
    for number, file in enumerate(files):
        os.dup2(file, number)
    arguments, folder, environment = json.loads(request)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status = _run(arguments)
    with contextlib.suppress(OSError):
        connection.sendall(bytes([status % 256]))
    return status


def _run(arguments: list[str]) -> int:
    """Run a script, a module or code as the interpreter would; return the exit status."""
    try:
        if arguments[0] == "-m":
            few = ["--num-batches=2"] if arguments[1] == "tools.gradient_analysis" else []
            sys.argv, sys.path[0] = [*arguments[1:], *few], os.getcwd()
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            script = Path(arguments[0])
            rest = shortened(arguments[1:]) if script.name == "train.py" else arguments[1:]
            sys.argv, sys.path[0] = [arguments[0], *rest], str(script.resolve().parent)
            runpy.run_path(str(script), run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else bool(end.code)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    serve(sys.argv[1])
