"""Whole jobs made of the stages: the order of things, no arithmetic."""
