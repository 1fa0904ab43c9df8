"""What train.py stands on: typed settings, schedules, checkpoints and the logger."""
