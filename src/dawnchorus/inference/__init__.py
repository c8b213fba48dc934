"""From trained folds to tables: runs on disk, engines, windows, detections."""
