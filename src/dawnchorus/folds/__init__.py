"""Splits of recordings that do not leak: one recordist, site or source is on one side of a fold."""
