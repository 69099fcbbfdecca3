"""Data only: event columns, streams and blocks, incidents. No I/O, no clock, no behaviour beyond derived values."""
