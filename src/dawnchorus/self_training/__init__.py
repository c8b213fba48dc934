"""Rounds of training on what the model before has labelled."""
