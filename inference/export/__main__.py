"""Run the command: python -m inference.export."""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")

from inference.export.command import main

if __name__ == "__main__":
    command.run(main)
