"""The version of this distribution. The build reads it here, and so does the program: no look at metadata at start."""

__version__ = "0.1.0"
