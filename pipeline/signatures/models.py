"""The rule language as pydantic models: Sigma's words for matching, Prometheus' for behaviour, ours for causes.

Sigma facts are of specification v2.1.0. A document is one of three: a detection or correlation that others name
(`Block`), a signature (`Signature`: has `version` and everything a person reads), or a site's `Filter`. The JSON Schema
printed by `headwater rules schema` is generated from here.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, model_validator

from pipeline.documents import duration
from pipeline.model.columns import OBSERVER

Level = Literal["informational", "low", "medium", "high", "critical"]
LEVELS: tuple[Level, ...] = ("informational", "low", "medium", "high", "critical")
Layer = Literal[
    "node", "cni", "service", "dns", "policy", "ingress", "loadbalancer", "mesh", "gateway", "certificate",
    "multicluster", "headwater",
]  # fmt: skip
Status = Literal["stable", "test", "experimental", "deprecated", "unsupported"]
Text = Annotated[str, Field(min_length=1)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Duration = Annotated[
    int,
    BeforeValidator(duration),
    Field(json_schema_extra={"type": "string", "pattern": r"^\d+[smhdw]$", "examples": ["90s", "5m"]}),
]
OneOrMore = Annotated[list[Text], BeforeValidator(_as_list)]


class Strict(BaseModel):
    """Unknown keys are errors: a misspelt key must never be a silent no-match."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class LogSource(Strict):
    """Which rows a detection looks at (Sigma); see `pipeline.signatures.logsource` for what each word selects."""

    category: str | None = None
    product: str | None = None
    service: str | None = None
    definition: str | None = None


class Related(Strict):
    """A rule that this one comes from or replaces (Sigma)."""

    id: Text
    type: Literal["derived", "obsolete", "merged", "renamed", "similar"]


class Threshold(Strict):
    """Sigma's condition map. Two operators form a range; numbers may be fractions; `field` names what is counted."""

    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None
    eq: float | None = None
    neq: float | None = None
    field: OneOrMore | None = None
    percentile: Annotated[float, Field(ge=0, le=100)] | None = None

    @model_validator(mode="after")
    def _one_operator(self) -> "Threshold":
        if not self.bounds():
            raise ValueError("needs at least one of gt, gte, lt, lte, eq, neq")
        return self

    def bounds(self) -> dict[str, float]:
        """Operator to number."""
        return {name: value for name in ("gt", "gte", "lt", "lte", "eq", "neq") if (value := getattr(self, name)) is not None}


class Factor(Strict):
    """How many times the usual a baseline must be."""

    factor: Annotated[float, Field(gt=1)]
    field: OneOrMore | None = None


class _Correlation(Strict):
    group_by: Annotated[OneOrMore, Field(alias="group-by")] = []
    timespan: Duration
    aliases: dict[str, dict[str, str]] = {}
    generate: bool = False


class EventCount(_Correlation):
    """So many rows within the timespan (Sigma). Kubernetes events count by the growth of their count."""

    type: Literal["event_count"]
    rules: Annotated[OneOrMore, Field(min_length=1)]
    condition: Threshold


class Value(_Correlation):
    """Distinct values, sum, mean or percentile of a field within the timespan (Sigma)."""

    type: Literal["value_count", "value_sum", "value_avg", "value_percentile"]
    rules: Annotated[OneOrMore, Field(min_length=1)]
    condition: Threshold

    @model_validator(mode="after")
    def _needs_field(self) -> "Value":
        if not self.condition.field:
            raise ValueError(f"{self.type} needs condition.field, the column whose values it takes")
        if (self.type == "value_percentile") != (self.condition.percentile is not None):
            raise ValueError("value_percentile needs condition.percentile (0 to 100), and no other type takes it")
        return self


class Temporal(_Correlation):
    """Every rule at least once within the timespan; a string condition may combine them with and, or, not (Sigma)."""

    type: Literal["temporal", "temporal_ordered"]
    rules: Annotated[OneOrMore, Field(min_length=1)]
    condition: Threshold | Text | None = None


class Ratio(_Correlation):
    """The share of `of` among `among`, in whole seconds, once at least `minimum` rows of `among` are in the window."""

    type: Literal["ratio"]
    of: Text
    among: Text
    condition: Threshold
    minimum: PositiveInt = 1


class After(Strict):
    """What must have been seen before its absence means anything."""

    rule: Text
    gte: PositiveInt = 1
    within: Duration


class Absence(_Correlation):
    """`of` is not seen for the timespan although it was before (`after`), while `while` shows that the source lives."""

    type: Literal["absence"]
    of: Text
    while_: Annotated[Text, Field(alias="while")]
    after: After


class Baseline(_Correlation):
    """`of` within the timespan is `factor` times what the same key had per timespan over `against` before."""

    type: Literal["baseline"]
    of: Text
    among: Text | None = None
    against: Duration
    condition: Factor
    minimum: Annotated[float, Field(gt=0)] = 1


class Cause(Strict):
    """The weak cause of a cascade."""

    rule: Text


class Effect(Strict):
    """One effect that a cascade demands, from `skew` before the cause to `within` after it."""

    rule: Text
    within: Duration | None = None
    condition: Threshold = Threshold(gte=1)


class Cascade(_Correlation):
    """A weak cause and the effects that together prove it; `absent` rules must not show up until the deadline."""

    type: Literal["cascade"]
    cause: Cause
    effects: Annotated[list[Effect], Field(min_length=1)]
    absent: list[Effect] = []


Correlation = Annotated[EventCount | Value | Temporal | Ratio | Absence | Baseline | Cascade, Field(discriminator="type")]


class Shift(Strict):
    """Rows of `rule` near an incident that move its confidence; `veto` ends it instead."""

    rule: Text
    on: OneOrMore = []
    within: Duration = duration("5m")
    condition: Threshold = Threshold(gte=1)
    confidence: Annotated[float, Field(ge=-1, le=1)] = 0.0
    veto: bool = False


class Explains(Strict):
    """Signatures whose evidence this one accounts for, where they share the entities `on` within reach and time.

    `observer.k8s.node.name` under `on` is the node of whoever wrote the evidence, not what that is about. It counts only where
    `coverage` of a symptom was written on nodes of such causes, and for several services. `k8s.cluster.name` is everything: for a
    cause that one program tells of and many feel; what names a place goes before it.
    """

    rules: OneOrMore
    on: OneOrMore = []
    within: Duration = duration("15m")
    level: Level | None = None
    coverage: Annotated[float, Field(gt=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _one_side(self) -> "Explains":
        if OBSERVER in self.on and len(self.on) > 1:
            raise ValueError(f"{OBSERVER} stands alone under `on`; the rest needs another entry")
        return self


class Alert(Strict):
    """Behaviour in Prometheus' words: persistence before firing, quiet before resolving, labels and annotations."""

    for_: Annotated[Duration, Field(alias="for")] = 0
    keep_firing_for: Duration = duration("5m")
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Metadata(Strict):
    """Sigma's metadata, common to detections, correlations and signatures."""

    title: Annotated[str, Field(min_length=1, max_length=256)]
    id: str | None = None
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] | None = None
    related: list[Related] = []
    taxonomy: str | None = None
    status: Status | None = None
    description: str | None = None
    license: str | None = None
    author: str | None = None
    references: list[str] = []
    date: str | None = None
    modified: str | None = None
    fields: list[str] = []
    falsepositives: Annotated[list[str], BeforeValidator(_as_list)] = []
    level: Level | None = None
    tags: list[str] = []
    scope: list[str] = []


class Block(_Metadata):
    """A detection or correlation that others build on: a plain Sigma document, with `extract` and `expensive` of ours."""

    logsource: LogSource | None = None
    detection: dict[str, Any] | None = None
    correlation: Correlation | None = None
    generate: bool = False
    extract: dict[str, OneOrMore] = {}
    expensive: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> "Block":
        if (self.detection is None) == (self.correlation is None):
            raise ValueError("needs either detection or correlation")
        if self.detection is not None and self.logsource is None:
            raise ValueError("a detection needs logsource, which says what rows it looks at")
        return self


class Signature(Block):
    """A disaster by name: its evidence, what it explains, and what a person reads at 3 a.m."""

    id: Text
    version: PositiveInt
    status: Status
    layer: Layer
    level: Level
    what: Text
    cause: Text
    impact: Text
    first_aid: Annotated[list[Text], Field(min_length=1)]
    fix: Annotated[list[Text], Field(min_length=1)]
    false_positives: Annotated[list[Text], Field(min_length=1)]
    references: Annotated[list[str], Field(min_length=1)]
    confidence: Annotated[float, Field(gt=0, le=1)]
    supports: list[Shift] = []
    contradicts: list[Shift] = []
    skew: Duration = duration("30s")
    explains: list[Explains] = []
    alert: Alert

    @model_validator(mode="after")
    def _correlates(self) -> "Signature":
        if self.correlation is None:
            raise ValueError("a signature is a correlation: put the detection into a document of its own and count it")
        return self


class FilterBody(Strict):
    """Sigma's filter: rows that the named rules must (`condition: selection`) or must not (`not selection`) have."""

    model_config = ConfigDict(extra="allow", frozen=True)
    rules: OneOrMore
    condition: Text


class Filter(_Metadata):
    """A site's own tuning of rules it does not want to fork (Sigma filters)."""

    logsource: LogSource = LogSource()
    filter: FilterBody


Document = Signature | Block | Filter
SIGNATURE_KEYS = frozenset(Signature.model_fields) - frozenset(Block.model_fields)
