"""Waveform → log-mel spectrogram, in NumPy and in PyTorch, and how it is drawn."""
