"""Labelled recordings from the services that hold them."""
