"""Audio → HDF5: ``precompute_features.py data/train_audio data/train_features --n_cores 8``."""

import sys

from dawnchorus.cli import main

if __name__ == "__main__":
    main(["precompute", *sys.argv[1:]])
