"""Competitions: bundles of models, submissions within a time budget, scores."""
