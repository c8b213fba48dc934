"""Pseudo-labels: tables of what a model says of unlabelled soundscapes, to train the next one on."""
