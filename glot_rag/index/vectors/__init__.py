"""The vectors of an index in FAISS: in memory for searching, on disk to open faster. Derived from the store."""
