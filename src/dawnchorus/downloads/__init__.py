"""Labelled recordings and competition data from the services that hold them."""
