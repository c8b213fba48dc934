"""Resumable jobs over many recordings: the journal of predictions, output folders, clips of detections."""
