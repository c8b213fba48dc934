"""``python -m dawnchorus.inference``: predictions with NumPy, pydantic, soundfile and one engine alone."""
