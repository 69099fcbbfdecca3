"""The command line: a thin face. It prints, it never computes."""
