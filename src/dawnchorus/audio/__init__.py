"""Any recording → mono float32 at one sample rate → an HDF5 store → crops.

===================  ==============================================================================
``listing``          which recordings there are
``decode``           the only decoder: headers, streams, whole recordings, single crops (on ``container``)
``windows``          where crops and windows begin and end, in whole samples; late normalisation
``store_layout``     what one HDF5 file a recording looks like
``store_writing``    writing it: in one pass, whole or not at all
``store``            reading crops of it; ``published_store`` those of the published layout
``source``           one handle for all, so that nobody else asks where a crop comes from
``converting``       what is done to one recording (``torchaudio_decode`` is an option of it)
``precompute``       many recordings → stores: parallel, resumable; verifying them
===================  ==============================================================================

Sound is a NumPy array of shape (n_samples,), float32, full scale ±1, everywhere in this room.
Importing the package itself imports none of the modules above.
"""
