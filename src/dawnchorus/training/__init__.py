"""From a config to trained folds: the run directory, the Lightning module, losses."""
