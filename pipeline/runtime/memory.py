"""The allocators of this process: which freed pages they keep, and for how long.

Keeping none costs as much as parsing, since the kernel faults every page of every block in anew; keeping all lets memory grow
with the number of lines, since blocks differ in size. The figures were chosen by `python -m tests.benchmark`.
"""

import ctypes
import os

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Parameters of mallopt(3), from malloc.h."""
_SETTINGS = ((_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 256 << 20), (_TOP_PAD, 16 << 20))
_JEMALLOC = "oversize_threshold:2097152,dirty_decay_ms:200,muzzy_decay_ms:0"
"""Polars brings jemalloc: buffers from 2 MiB (texts of whole blocks) get an arena of their own and go back at once, others after
0.2 s instead of 10 (jemalloc(3), opt.*)."""


def give_back() -> None:
    """Settings of jemalloc, which it reads when Polars is imported: to be called before. What the environment says holds."""
    os.environ.setdefault("_RJEM_MALLOC_CONF", _JEMALLOC)


def keep_blocks() -> None:
    """Tune malloc of the C library for this process, which reads blocks of several MB; does nothing where there is no mallopt."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for parameter, value in _SETTINGS:
        mallopt(parameter, value)
