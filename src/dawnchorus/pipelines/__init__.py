"""Pipelines: whole jobs made of the stages, without arithmetic of their own."""
