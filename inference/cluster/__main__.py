"""Make the saliency maps of an archive on several machines.

python -m inference.cluster --input FOLDER --output DIR                    workers on this machine
python -m inference.cluster --input s3://bucket/images --output s3://bucket/maps --scheduler tcp://10.0.0.1:8786
"""

from utils import command

if __name__ == "__main__":
    command.begin("the maps that are there are whole; the same command with --resume makes the others")

import sys

from inference.cluster.options import parse_arguments, set_local_defaults
from utils.environment import leave_launchers

REQUIREMENTS = "requirements-cluster.txt"


def main() -> None:
    """Parse, run, report. Bad input ends with one line on standard error and a non-zero exit status."""
    options = parse_arguments()
    if sys.platform == "win32":
        sys.exit("error: inference.cluster needs Linux or macOS: on Windows, run it under WSL 2")
    set_local_defaults(options)
    try:
        leave_launchers()
        from inference.cluster.addresses import public
        from inference.cluster.command import make_archive  # imports Dask, which --help need not wait for
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error.name} is not installed: pip install -r {REQUIREMENTS}")
    try:
        failed = make_archive(options)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    if failed:
        sys.exit(
            f"error: inputs without a map: {failed}, see {public(options.output)}/_manifest; the others are written"
        )


if __name__ == "__main__":
    command.run(main)
