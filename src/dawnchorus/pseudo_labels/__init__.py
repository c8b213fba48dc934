"""Pseudo-labels: tables of a model's predictions of unlabelled soundscapes, to train the next one on."""
