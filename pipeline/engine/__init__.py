"""The engine: enrich, match, window, correlate, explain. Pure: time is an argument, nothing is read or written."""
