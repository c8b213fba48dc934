"""``python -m dawnchorus.inference``: predictions with NumPy, soundfile and one engine alone."""
