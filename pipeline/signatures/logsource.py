"""What rows a Sigma `logsource` selects.

| logsource | rows |
|---|---|
| `{product: linux, service: kernel}` | kernel messages |
| `{product: linux, service: counters}` | counters sampled from /proc |
| `{product: kubernetes, service: events}` | Kubernetes events |
| `{product: kubernetes, service: objects}` | changes of topology objects |
| `{category: webserver}` | access lines of every ingress |
| `{category: dns}` | the query log of CoreDNS |
| `{category: application}` | what containers print that no infrastructure format understands |
| `{product: nginx, service: error}` | error lines of every nginx, ingress-nginx among them |
| `{product: P}`, `{product: P, service: S}` | the format P (its kind P.S), or else the programs called P (and S) |
| `{product: kubernetes or linux, service: S}` | the program S |

A program is called what its container, image, process or workload is called.
"""

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from pipeline.signatures.models import LogSource

COUNTERS = "counters"
OBJECTS = "k8s.objects"
EVENTS = "k8s.events"
DENSE = frozenset({EVENTS, COUNTERS, OBJECTS})
"""Sources of which every row is parsed anyway: a rule on them needs no literal."""

_FIXED = {
    ("linux", "kernel"): "kernel",
    ("linux", "counters"): COUNTERS,
    ("kubernetes", "events"): EVENTS,
    ("kubernetes", "objects"): OBJECTS,
}
_CATEGORIES = {
    "webserver": frozenset({"ingress-nginx.access", "nginx.access", "haproxy.http"}),
    "dns": frozenset({"coredns.query"}),
    "application": frozenset({"json", "logfmt", "klog", "text"}),
}
_FAMILIES = {"nginx": ("nginx", "ingress-nginx")}
"""Products whose lines look alike: which of the two a container without a usual name is cannot be told from an error line."""
PROGRAM_COLUMNS = ("container.name", "process.name", "container.image.name", "k8s.pod.app")


@dataclass(frozen=True, slots=True)
class Selector:
    """Rows of `sources` (None: any), written by all of `programs` (empty: any)."""

    sources: frozenset[str] | None = None
    programs: tuple[str, ...] = ()

    def admits(self, source: str) -> bool:
        """Whether rows of this kind may be meant."""
        return self.sources is None or source in self.sources

    def expr(self) -> pl.Expr:
        """Whether a row is meant, over a frame with `source` and the program columns."""
        parts = [pl.lit(value=True)]
        if self.sources is not None:
            parts.append(pl.col("source").is_in(sorted(self.sources)))
        parts.extend(_written_by(program) for program in self.programs)
        return pl.all_horizontal(parts).fill_null(value=False)


def _written_by(program: str) -> pl.Expr:
    return pl.any_horizontal(pl.col(name).str.contains(program, literal=True).fill_null(value=False) for name in PROGRAM_COLUMNS)


def categories() -> Collection[str]:
    """The categories there are."""
    return _CATEGORIES


def select(logsource: LogSource, sources: Collection[str]) -> Selector:
    """The selector of a logsource, given the row kinds that parsers yield. Raises KeyError for an unknown category."""
    if logsource.category is not None and logsource.product is None:
        return Selector(_CATEGORIES[logsource.category], (logsource.service,) if logsource.service else ())
    product, service = logsource.product, logsource.service
    if product is None:
        return Selector(None, (service,) if service else ())
    if service is not None and (product, service) in _FIXED:
        return Selector(frozenset({_FIXED[product, service]}))
    families = _FAMILIES.get(product, (product,))
    kinds = frozenset(kind for kind in sources if kind.partition(".")[0] in families or kind in families)
    if kinds:
        return _of_format(families, service, kinds)
    programs = (service,) if product in ("kubernetes", "linux") else (product, service)
    return Selector(None, tuple(program for program in programs if program))


def _of_format(families: tuple[str, ...], service: str | None, kinds: frozenset[str]) -> Selector:
    if service is None:
        return Selector(kinds)
    wanted = kinds & {f"{family}.{service}" for family in families}
    return Selector(wanted) if wanted else Selector(kinds, (service,))
