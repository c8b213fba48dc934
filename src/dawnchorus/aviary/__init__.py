"""A synthetic aviary: invented birds, their recordings and soundscapes, made from a seed.

``dawnchorus demo`` runs on it without data of one's own, and tests get their sound from it. Its species
share their bands and differ in the shape of their songs, so that a mean spectrum is not enough to tell them.
"""

from dawnchorus.aviary.aviary_settings import AviarySettings
from dawnchorus.aviary.synthesis import Aviary, make_aviary

__all__ = ["Aviary", "AviarySettings", "make_aviary"]
