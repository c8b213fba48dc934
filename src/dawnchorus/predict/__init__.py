"""Predictions of recordings, arrays and streams: sound → windows → detections.

====================  ===================================================================
``model``             ``Model`` and ``load_model``: any sound in, ``predictions`` out
``predictions``       ``Predictions`` of windows, and ``Detections``
``recording_files``   the recordings that files, folders and patterns name
``birds_inference``   ``BirdsInference``: sounds → ``windows``, one sound after the other
``clip_requests``     sounds → clips, read in a stream (``prefetch``: in threads, early)
``postprocess``       shifts, overlaps, smoothing, scaling
``detections``        windows → detections, by ``thresholds`` and species
``window_tables``     every window as a row of Parquet
====================  ===================================================================
"""
