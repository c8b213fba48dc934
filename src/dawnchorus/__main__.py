"""``python -m dawnchorus``: the command line."""

from dawnchorus.cli import main

main()
