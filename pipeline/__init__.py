"""The core of Headwater: what turns rows into explained incidents. It knows no vendor client.

Layers, top to bottom (import-linter holds them): cli, runtime, engine, signatures beside parsers and config, contracts, model,
errors.
"""
