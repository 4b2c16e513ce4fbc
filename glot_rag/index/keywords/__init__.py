"""Keyword search: texts to terms, terms to posting lists, posting lists to BM25 scores."""
