"""Leak-free splits of recordings: one recordist, site or source is on one side of a fold."""
