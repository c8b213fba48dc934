"""From trained folds to tables: runs on disk, engines, windows, detections.

======================  ===========================================================================
``runs``                the files of an experiment
``runtimes``            the engines: PyTorch, ONNX Runtime, OpenVINO; several models as one
``sources``             which recordings are meant
``ensembles``           models with weights, as they are asked for
``clip_requests``       recordings → clips, decoded in a stream (``ahead``: in threads, early)
``birds_inference``     ``BirdsInference``: clips → ``windows``, recording by recording
``journal``, ``bulk``   many recordings, resumable; the tables follow from what is kept
``postprocess``         shifts, overlaps, smoothing, scaling
``detecting``           windows → detections, by ``thresholds`` and species
``formats``             detections → Raven, Audacity, BirdNET, Kaleidoscope, CSV, Parquet
``window_tables``       every window as a row of Parquet
``segments``            the surest detections as sound files
``pseudo_labelling``    ``soundscapes`` → pseudo-labels to train on (``pseudo_label_table``, ``…_settings``)
``out_of_fold``         every recording by the model that never heard it, and the score
``calibration``         thresholds at a wanted precision (``reliability``: how far scores can be trusted)
``soundscape_truth``    annotated soundscapes → a score
======================  ===========================================================================

Importing the package itself imports none of the modules above. ``python -m dawnchorus.inference`` predicts
with NumPy, soundfile and one engine alone.
"""
