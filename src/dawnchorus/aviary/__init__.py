"""A synthetic aviary: invented birds, their recordings and soundscapes, made from a seed.

It is what ``dawnchorus demo`` runs on without data of one's own, and where tests get their sound. Its species
share their bands and differ in the shape of their songs, so that a mean spectrum is not enough to tell them.
"""

from dawnchorus.aviary.aviary_settings import AviarySettings
from dawnchorus.aviary.synthesis import Aviary, make_aviary

__all__ = ["Aviary", "AviarySettings", "make_aviary"]
