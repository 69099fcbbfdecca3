"""Signatures: the rule language. Models, loading with positions, checks, and compilation to expressions and literals."""
