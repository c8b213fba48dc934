"""Sound → windows → detections: what a model says of recordings, arrays and streams.

====================  ===================================================================
``model``             ``Model`` and ``load_model``: any sound in, ``predictions`` out
``predictions``       ``Predictions`` of windows, ``Detections`` of what counts
``sources``           which recordings are meant
``birds_inference``   ``BirdsInference``: sounds → ``windows``, one sound after the other
``clip_requests``     sounds → clips, read in a stream (``prefetch``: in threads, early)
``postprocess``       shifts, overlaps, smoothing, scaling
``detections``        windows → detections, by ``thresholds`` and species
``window_tables``     every window as a row of Parquet
====================  ===================================================================
"""
