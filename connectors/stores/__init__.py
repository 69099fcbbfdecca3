"""Stores: where incidents and checkpoints are kept."""
