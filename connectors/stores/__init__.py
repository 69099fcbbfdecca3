"""Stores: where incidents are kept and found again."""
