"""The C library told to keep large blocks of memory instead of giving them back and asking anew.

glibc maps every buffer above 128 KiB freshly and the kernel faults each page in: for blocks of several MB that costs as much as
parsing them. Elsewhere (musl, macOS) nothing is changed.
"""

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Parameters of mallopt(3), from malloc.h."""
_SETTINGS = ((_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 256 << 20), (_TOP_PAD, 16 << 20))


def keep_blocks() -> None:
    """Tune malloc for this process; does nothing where the C library has no mallopt."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for parameter, value in _SETTINGS:
        mallopt(parameter, value)
