"""Sources: where raw blocks and topology come from."""
