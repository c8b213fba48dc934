"""Training of a config's folds: the run directory, the Lightning module, losses."""
