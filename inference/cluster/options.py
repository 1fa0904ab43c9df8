"""The command line. Neither torch nor Dask is imported."""

import argparse
import math
import os
import re
from argparse import ArgumentParser, Namespace
from pathlib import Path

from inference.cluster.addresses import is_url, without_scheme
from inference.options import add_dataset_options, add_map_options, add_network_options, check_options
from inference.scenes.options import add_scene_options

USAGE = """python -m inference.cluster (--input PATH | --dataset NAME --root DIR) --output DIR
       [--scheduler ADDRESS | --workers N] [--resume] [options]"""
DESCRIPTION = "Make the saliency maps of an archive on several machines, each exactly once, by Dask (docs/cluster.md)."
INPUT = """an image, a folder, a prefix such as s3://bucket/images, or a list: a text file with one path or address a
line, or a Parquet file with a column 'input'"""
OUTPUT = "folder or prefix (s3://…, gs://…) of the maps and of _manifest, the record of the run"
SCHEDULER = "address of a running Dask scheduler (tcp://HOST:8786), or its scheduler file (.json)"
WORKERS = "processes on this machine, without --scheduler (default: one for every two cores)"
MEMORY = "memory of a worker on this machine, such as 2GB, at which it is ended and started anew (default: its share)"
ATTEMPTS = "an input is set aside after so many deaths of workers that had it alone (default: 3)"
TIMEOUT = "seconds after which a bundle's worker counts as dead (default: 600)"
PATIENCE = "seconds that a lost scheduler, or the first worker, is waited for (default: 600)"
RESUME = "go on: leave out what the manifest calls done, keep existing maps, try failed inputs again"
EPILOG = """A map is written only where none is. Broken inputs are named in OUTPUT/_manifest; the exit status is then 1.
Credentials are those of the storage: AWS_* variables, profiles, Google's default credentials."""


def parse_arguments() -> Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(usage=USAGE, description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    add = parser.add_argument
    add("--input", metavar="PATH", help=INPUT)
    add_dataset_options(parser)
    add("--output", metavar="DIR", required=True, help=OUTPUT)
    add_map_options(parser)
    add("--resume", action="store_true", help=RESUME)
    add_network_options(parser)
    add_scene_options(parser)
    add = parser.add_argument_group("cluster").add_argument
    add("--scheduler", metavar="ADDRESS", help=SCHEDULER)
    add("--workers", type=int, metavar="N", help=WORKERS)
    add("--memory", metavar="SIZE", help=MEMORY)
    add("--attempts", type=int, default=3, metavar="N", help=ATTEMPTS)
    add("--timeout", type=float, default=600, metavar="S", help=TIMEOUT)
    add("--patience", type=float, default=600, metavar="S", help=PATIENCE)
    options = parser.parse_args()
    check_options(parser, options)
    _check_cluster(parser, options)
    return options


def _check_cluster(parser: ArgumentParser, options: Namespace) -> None:
    """End with one line if the options of the cluster are wrong."""
    if options.scheduler and (options.workers is not None or options.memory):
        parser.error("--workers and --memory are for workers on this machine: leave them out with --scheduler")
    for name in ("workers", "attempts"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, not {value}")
    for name in ("timeout", "patience"):
        value = getattr(options, name)
        if not (value > 0 and math.isfinite(value)):
            parser.error(f"--{name} must be above 0 seconds, not {value:g}")
    if options.memory and not re.fullmatch(r"\d+(\.\d+)? ?([kKMGT]i?)?B?", options.memory):
        parser.error(f"--memory {options.memory}: give a size, such as 2GB")
    if options.scheduler and not (options.scheduler.endswith(".json") or "://" in options.scheduler):
        options.scheduler = f"tcp://{options.scheduler}"
    _make_absolute(options)


def _make_absolute(options: Namespace) -> None:
    """Name files by absolute paths: workers have working folders of their own."""
    if not is_url(options.output):
        options.output = os.path.abspath(without_scheme(options.output))
    for name in ("weights", "host_file"):
        if path := getattr(options, name):
            setattr(options, name, Path(os.path.abspath(path)))


def set_local_defaults(options: Namespace) -> None:
    """Choose workers and threads on this machine where they are not given."""
    if options.scheduler:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if options.workers is None:
        options.workers = max(cores // (options.threads or 2), 1)
    if options.threads is None:
        options.threads = max(cores // options.workers, 1)
