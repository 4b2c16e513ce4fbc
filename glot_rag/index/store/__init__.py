"""The documents of an index in one SQLite file, which everything else in the index is derived from."""
