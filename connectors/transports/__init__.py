"""Transports: what carries raw blocks from the collectors to the engine."""
