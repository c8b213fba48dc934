"""Datasets: clips and targets of labelled recordings, for training and for validation."""
