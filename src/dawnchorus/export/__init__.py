"""Export of trained folds as one graph for other engines, refused where it does not agree with PyTorch."""
