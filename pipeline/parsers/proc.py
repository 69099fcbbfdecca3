"""Counters of the kernel's network code, sampled from files below /proc (and from `ip -s link`).

A record is the JSON line `{"at": RFC 3339, "path": "/proc/...", "text": "file content as read"}`. Names of columns come from
the header a file carries, never from a position where there is a header, because they differ between kernels. A text that
was cut gives no sample: half a table would look like a counter that fell. Sources of fact: net/ipv4/proc.c,
net/core/net-procfs.c, net/core/neighbour.c and net/netfilter/nf_conntrack_standalone.c of Linux.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import batched, chain
from typing import Any, Final, Literal

import orjson
import polars as pl

from pipeline.model.columns import TIME
from pipeline.parsers import text as texts
