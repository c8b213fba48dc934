"""Cross-validation training: ``python scripts/main_train.py train_configs/selected_ebs.py``."""

import sys

from dawnchorus.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
