"""Waveform → log-mel spectrogram, in NumPy and in PyTorch, and its plot."""
