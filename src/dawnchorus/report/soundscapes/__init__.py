"""A page on what was detected in soundscapes: who sings when, and when nobody listened."""
