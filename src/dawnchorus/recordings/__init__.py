"""Labelled recordings: their tables, their labels, and the files that the tables name."""
