"""The network: waveform → log-mel spectrogram → convolutional backbone → attention head.

``frontend`` turns sound into a spectrogram, ``backbone`` finds a timm network and its weights, ``head``
pools its features into a prediction, ``wave_cnn`` joins the three, and ``weights`` reads checkpoints.
Import from these: nothing is re-exported here, so that what needs no torch does not load it.
"""
