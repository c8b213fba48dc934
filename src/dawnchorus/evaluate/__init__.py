"""Scores of a run: out-of-fold predictions, calibration, reliability, annotated soundscapes."""
