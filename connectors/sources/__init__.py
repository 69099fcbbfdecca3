"""Sources: where rows and topology come from."""
