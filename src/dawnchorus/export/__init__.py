"""From trained folds to one graph that other engines run, refused where it does not agree."""
