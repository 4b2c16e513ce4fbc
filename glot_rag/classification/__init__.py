"""Classifiers over frozen hidden states."""
