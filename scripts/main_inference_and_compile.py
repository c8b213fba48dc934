"""Score and export: ``python scripts/main_inference_and_compile.py inference_configs/selected_ebs.py``."""

import sys

from dawnchorus.cli import main

if __name__ == "__main__":
    main(["compile", *sys.argv[1:]])
