"""The compiled rules: what the engine runs.

A `RuleSet` is plain frozen data (it is pickled into the user's cache by content hash), resolved and checked: every name in it
exists, every pattern compiles, every detection has its literals.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.signatures import conditions
from pipeline.signatures.detection import Tree
from pipeline.signatures.literals import Literals
from pipeline.signatures.logsource import Selector
from pipeline.signatures.models import Correlation, Signature


@dataclass(frozen=True, slots=True)
class Detection:
    """A compiled detection.

    `loose` is `tree` where columns that only topology knows are taken for granted; `literals` is the set to scan for
    (None where there is none), `dense` that all its sources are parsed row by row anyway, `cheap` that all its columns have a
    cheap face, so that it can be counted over all rows.
    """

    name: str
    selector: Selector
    tree: Tree
    loose: Tree
    columns: frozenset[str]
    literals: Literals | None
    dense: bool
    cheap: bool
    extract: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    extracted: Mapping[str, str] = field(default_factory=dict)
    """Named group of `extract` to the column it fills."""
    fields: tuple[str, ...] = ()
    title: str = ""
    keeps_topology: bool = False
    """Whether `tree` names topology columns, so that it must be verified after every re-join."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A correlation by name. `detections` are those it stands on, directly or through other correlations."""

    name: str
    correlation: Correlation
    condition: conditions.Node | None
    rules: tuple[str, ...]
    detections: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Disaster:
    """A signature with its folder name, its rule and the hash of its text."""

    slug: str
    rule: str
    signature: Signature
    digest: str


@dataclass(frozen=True, slots=True, eq=False)
class RuleSet:
    """All rules of one or more folders. `digest` is the hash of their content. Compared by identity, so that what is derived
    of it can be kept.
    """

    detections: Mapping[str, Detection]
    rules: Mapping[str, Rule]
    """In an order in which every rule stands behind those it names."""
    signatures: Mapping[str, Disaster]
    digest: str

    def columns(self, detection: str) -> frozenset[str]:
        """The columns that rules standing on `detection` need of its rows, beside the common ones."""
        found = self.detections[detection]
        return found.columns | frozenset(found.extracted.values()) | frozenset(found.fields)
