"""Cross-validation training: ``python scripts/main_train.py train_configs/selected_ebs.py``."""

import sys

from dawnchorus.cli import main

main(["train", *sys.argv[1:]])
