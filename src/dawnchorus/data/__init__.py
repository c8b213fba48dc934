"""From recordings on disk to clips and targets: tables, labels, folds, datasets."""
