"""Sinks: where incidents are sent."""
