"""Run the command: python -m inference.export."""

from inference.export.command import main

if __name__ == "__main__":
    main()
