"""Runs exported encoders. No torch, no transformers."""
