"""Sound → windows → detections: what a model says of recordings, arrays and streams.

====================  ===================================================================
``sources``           which recordings are meant
``clip_requests``     recordings → clips, decoded in a stream (``prefetch``: in threads, early)
``birds_inference``   ``BirdsInference``: clips → ``windows``, recording by recording
``postprocess``       shifts, overlaps, smoothing, scaling
``detections``        windows → detections, by ``thresholds`` and species
``window_tables``     every window as a row of Parquet
====================  ===================================================================
"""
