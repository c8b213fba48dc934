"""Any recording → mono float32 at one sample rate → an HDF5 store → crops.

===================  ==============================================================================
``decode``           the only decoder: headers, streams, whole recordings, single crops
``windows``          where crops and windows begin and end, in whole samples; late normalisation
``store``            one HDF5 file a recording: written atomically, read crop by crop
``source``           one handle for both, so that nobody else asks where a crop comes from
``precompute``       a folder of recordings → a folder of stores: parallel, resumable
===================  ==============================================================================

Sound is a NumPy array of shape (n_samples,), float32, full scale ±1, everywhere in this room.
Importing the package itself imports none of the modules above.
"""
