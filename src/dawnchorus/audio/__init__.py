"""Any recording → mono float32 at one sample rate → an HDF5 store → crops.

===================  ==============================================================================
``listing``          lists of recordings
``decode``           the only decoder: headers, streams, whole recordings, single crops (on ``container``)
``windows``          first and last samples of crops and windows; late normalisation
``store_layout``     layout of a store: one HDF5 file a recording
``store_writing``    writing of a store: in one pass, complete or not at all
``store``            crops read from a store; ``published_store`` those of the published layout
``source``           one handle for a recording in a store or an audio file
``conversion``       conversion of one recording (``torchaudio_decode`` is an option of it)
``precompute``       many recordings → stores: parallel, resumable; their verification
===================  ==============================================================================

Sound is a NumPy array of shape (n_samples,), float32, full scale ±1, everywhere in this room.
Importing the package itself imports none of the modules above.
"""
