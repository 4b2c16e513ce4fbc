"""What a search reads: derived from the store, kept in step with its commits, in files that save building it."""
