"""Competitions: data, a miniature, bundles of models, submissions and scores, and all of it in a row."""
