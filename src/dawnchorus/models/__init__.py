"""The network: waveform → log-mel spectrogram → convolutional backbone → attention head.

``features.frontend`` turns sound into a spectrogram, ``backbone`` makes the backbone, ``head`` pools its
features into a prediction, ``wave_cnn`` joins the three, and ``weights`` reads checkpoints. Import from
these: nothing is re-exported here, so that modules without torch do not load it.
"""
