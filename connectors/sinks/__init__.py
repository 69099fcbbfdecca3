"""Sinks: who is told of an incident."""
