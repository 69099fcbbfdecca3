"""What rules may talk about: the columns and row kinds that parsers yield. The runtime hands it to the rule checker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from pipeline.model import columns


@dataclass(frozen=True, slots=True)
class Facts:
    """What a format yields.

    `sources` are its row kinds, `verbatim` columns stand letter by letter in the text, `cheap` ones can be cut out of every row.
    `everyday` is what its program writes all day in a healthy cluster: a text in it tells nothing.
    """

    name: str
    sources: tuple[str, ...]
    columns: frozenset[str]
    verbatim: frozenset[str]
    cheap: frozenset[str]
    everyday: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The columns with their types, and the formats."""

    columns: Mapping[str, pl.DataType]
    formats: Sequence[Facts]

    def all_columns(self) -> dict[str, pl.DataType]:
        """Every column a rule may name."""
        return {**columns.COMMON, **columns.TOPOLOGY, **columns.DERIVED, **self.columns}

    def sources(self) -> frozenset[str]:
        """Every row kind that formats yield."""
        return frozenset(kind for fmt in self.formats for kind in fmt.sources)

    def everyday(self) -> str:
        """Everyday lines of all formats, lower-case."""
        return "\n".join(line for fmt in self.formats for line in fmt.everyday).lower()
