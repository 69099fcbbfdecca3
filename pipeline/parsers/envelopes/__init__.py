"""One file a parser; see `pipeline.parsers`."""
