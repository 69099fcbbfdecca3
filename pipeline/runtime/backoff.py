"""How long to wait after a failure: exponential with full jitter, and no shorter than the other side asked for."""

import random

FIRST, LONGEST = 1.0, 300.0
"""Seconds: after the first failure at most, and ever."""
ASKED = 3600.0
"""Seconds: the longest wait that another side may ask for."""


def wait(failures: int, chance: random.Random, asked: float | None = None) -> float:
    """Seconds to wait after so many failures in a row (1 or more); `asked` from Retry-After."""
    longest = min(LONGEST, FIRST * 2.0 ** min(failures - 1, 20))
    return max(chance.uniform(0.0, longest), min(asked or 0.0, ASKED))
