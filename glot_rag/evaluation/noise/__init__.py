"""Noise at a given share: what it is made of, and the documents and collections that it is put into."""
