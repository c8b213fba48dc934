"""Windows that sound alike: nearest embeddings of a clip, and clusters of what no class explains."""
