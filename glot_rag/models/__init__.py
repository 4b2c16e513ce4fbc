"""The frozen transformer: where its files are, its tokeniser, running it, dropping tokens on the way."""
