"""Downloads of labelled recordings from public services."""
