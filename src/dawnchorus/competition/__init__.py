"""Competitions: data, a miniature, bundles of models, submissions, scores, and the whole pipeline."""
