"""First small experiment of ``rock_that_bird.sh --sample``: labelled recordings alone."""

CONFIG = {"base": "parts/sample.py", "exp_name": "sample_a"}
