"""Checks on rules that are valid by themselves but wrong together, or that would never do what they say."""

from collections.abc import Iterator, Sequence

from pipeline.errors import Problem
from pipeline.model import columns as model_columns
from pipeline.model.vocabulary import Vocabulary
from pipeline.signatures import templates
from pipeline.signatures.detection import nearest
from pipeline.signatures.entry import Entry
from pipeline.signatures.models import Block, Cascade, Correlation, Filter, Signature, Threshold
from pipeline.signatures.ruleset import RuleSet

RETENTION = 3600 * 1_000_000
"""Microseconds for which evidence can be revised (DESIGN contract 1): no window may be longer."""
MAX_BASELINE = 24 * RETENTION


def check(entries: Sequence[Entry], ruleset: RuleSet, vocabulary: Vocabulary) -> list[Problem]:
    """Every problem and warning of the documents, given what could be compiled of them."""
    known = frozenset(vocabulary.all_columns())
    problems: list[Problem] = []
    for entry in entries:
        model = entry.model
        if isinstance(model, Filter):
            continue
        if model.detection is not None:
            problems.extend(_detection(entry, model, ruleset, known))
        if model.correlation is not None:
            problems.extend(_correlation(entry, model.correlation, ruleset, known))
        if isinstance(model, Signature):
            problems.extend(_signature(entry, model, ruleset))
    problems.extend(_cycles(entries, ruleset))
    return problems


def _detection(entry: Entry, model: Block, ruleset: RuleSet, known: frozenset[str]) -> Iterator[Problem]:
    found = ruleset.detections.get(entry.name)
    if found is None:
        return
    extracted = frozenset(found.extracted.values())
    for column in sorted(found.columns - known - extracted):
        yield entry.document.problem(_key_of(model, column), f"unknown column '{column}'", nearest(column, known))
    for column in sorted(set(model.extract) - known):
        yield entry.document.problem(("extract", column), f"unknown column '{column}'", nearest(column, known))
    for at, column in enumerate(model.fields):
        if column not in known | extracted:
            yield entry.document.problem(("fields", at), f"unknown column '{column}'", nearest(column, known))
    if found.literals is None and not (found.dense or found.cheap or model.expensive):
        yield entry.document.problem(
            ("detection",),
            "no text of 3 bytes or more is required, so every row would have to be parsed for this rule",
            "add a selection with fixed text, or say `expensive: true`",
        )


def _key_of(model: Block, column: str) -> tuple[str | int, ...]:
    """Where a column stands in the detection."""

    def search(value: object, loc: tuple[str | int, ...]) -> tuple[str | int, ...] | None:
        if isinstance(value, dict):
            for key, item in value.items():
                if str(key).split("|")[0] == column or ("fieldref" in str(key) and item == column):
                    return (*loc, key)
                if found := search(item, (*loc, key)):
                    return found
        elif isinstance(value, list):
            for at, item in enumerate(value):
                if found := search(item, (*loc, at)):
                    return found
        return None

    return search(model.detection, ("detection",)) or ("detection",)


def _correlation(entry: Entry, correlation: Correlation, ruleset: RuleSet, known: frozenset[str]) -> Iterator[Problem]:
    rule = ruleset.rules.get(entry.name)
    below = frozenset(column for name in (rule.detections if rule else ()) for column in ruleset.columns(name))
    for at, column in enumerate(correlation.group_by):
        if column not in known | below | set(correlation.aliases):
            loc = ("correlation", "group-by", at)
            yield entry.document.problem(loc, f"unknown column '{column}'", nearest(column, known))
    yield from _aliases(entry, correlation, rule.rules if rule else None, known | below)
    if not correlation.group_by and isinstance(entry.model, Signature):
        yield entry.document.problem(
            ("correlation",),
            "no group-by: one incident for the whole cluster",
            "name the entity it is about",
            warning=True,
        )
    yield from _windows(entry, correlation)


def _aliases(entry: Entry, correlation: Correlation, rules: Sequence[str] | None, known: frozenset[str]) -> Iterator[Problem]:
    for alias, fields in correlation.aliases.items():
        for name, column in fields.items():
            loc = ("correlation", "aliases", alias)
            if rules is not None and name not in rules:
                hint = nearest(name, rules) or "use the name as it stands there"
                yield entry.document.problem(loc, f"alias of '{name}', which this correlation does not name", hint)
            if column not in known:
                yield entry.document.problem(loc, f"unknown column '{column}'", nearest(column, known))


def _windows(entry: Entry, correlation: Correlation) -> Iterator[Problem]:
    def problem(key: str, what: str, hint: str) -> Problem:
        return entry.document.problem(("correlation", key), what, hint)

    longest = MAX_BASELINE if correlation.type == "baseline" else RETENTION
    if correlation.timespan <= 0:
        yield problem("timespan", "impossible window: it is empty", "give at least 1s")
    if correlation.timespan > longest:
        yield problem("timespan", "impossible window: evidence is kept for 1h only", "shorten it")
    if isinstance(correlation, Cascade):
        for key in ("effects", "absent"):
            for effect in getattr(correlation, key):
                if effect.within is not None and effect.within > correlation.timespan:
                    yield problem(key, "impossible window: `within` is longer than the timespan", "shorten it")
    if correlation.type == "baseline" and correlation.against <= correlation.timespan:
        yield problem("against", "impossible window: the past is not longer than the timespan", "compare with more")
    if correlation.type == "absence" and correlation.after.within > RETENTION:
        yield problem("after", "impossible window: evidence is kept for 1h only", "shorten it")
    condition = getattr(correlation, "condition", None)
    if isinstance(condition, Threshold):
        yield from _threshold(entry, correlation, condition)


def _threshold(entry: Entry, correlation: Correlation, condition: Threshold) -> Iterator[Problem]:
    low = max((v for v in (condition.gt, condition.gte, condition.eq) if v is not None), default=None)
    high = min((v for v in (condition.lt, condition.lte, condition.eq) if v is not None), default=None)
    loc = ("correlation", "condition")
    if low is not None and high is not None and low > high:
        yield entry.document.problem(loc, f"impossible condition: above {low:g} and below {high:g}", "swap them")
    if correlation.type == "ratio" and low is not None and low > 1:
        yield entry.document.problem(loc, f"impossible condition: a ratio is never above {low:g}", "0.2 means 20 %")


def _signature(entry: Entry, model: Signature, ruleset: RuleSet) -> Iterator[Problem]:
    names = set(ruleset.detections) | set(ruleset.rules)
    aliases = {n: e for n, e in ((s.signature.name, slug) for slug, s in ruleset.signatures.items()) if n}
    for key in ("supports", "contradicts"):
        for at, shift in enumerate(getattr(model, key)):
            if shift.rule not in names and shift.rule not in aliases:
                hint = nearest(shift.rule, names)
                yield entry.document.problem((key, at, "rule"), f"unknown rule '{shift.rule}'", hint)
    for at, explains in enumerate(model.explains):
        for index, name in enumerate(explains.rules):
            if name not in ruleset.signatures and name not in aliases:
                loc = ("explains", at, "rules", index)
                hint = nearest(name, ruleset.signatures)
                yield entry.document.problem(loc, f"unknown signature '{name}'", hint)
    for at, column in [(i, c) for i, e in enumerate(model.explains) for c in e.on if c not in model_columns.ENTITY]:
        hint = nearest(column, model_columns.ENTITY)
        yield entry.document.problem(("explains", at, "on"), f"'{column}' is not an entity", hint)
    if "summary" not in model.alert.annotations:
        yield entry.document.problem(("alert",), "missing annotation 'summary'", "say it in one line")
    yield from _templates(entry, model, ruleset)


def template_keys(model: Signature, ruleset: RuleSet, name: str) -> frozenset[str]:
    """The keys that a signature's templates may name."""
    group = model.correlation.group_by if model.correlation else []
    below = ruleset.rules[name].detections if name in ruleset.rules else (name,)
    fields = {column for found in below if found in ruleset.detections for column in ruleset.detections[found].fields}
    counts = {f"count.{found}" for found in below}
    plain = {column.removeprefix("client.").removeprefix("upstream.") for column in group}
    return frozenset({*group, *plain, *fields, *model.fields, *counts, *model_columns.ENTITY, *templates.FIXED})


def _templates(entry: Entry, model: Signature, ruleset: RuleSet) -> Iterator[Problem]:
    allowed = template_keys(model, ruleset, entry.name)
    places: list[tuple[tuple[str | int, ...], str]] = [
        (("alert", "annotations", key), text) for key, text in model.alert.annotations.items()
    ]
    places += [(("alert", "labels", key), text) for key, text in model.alert.labels.items()]
    places += [(("first_aid", at), text) for at, text in enumerate(model.first_aid)]
    places += [(("fix", at), text) for at, text in enumerate(model.fix)]
    for loc, text in places:
        for key in templates.keys(text):
            if key not in allowed:
                hint = nearest(key, allowed) or "a template may name group keys, entities, `fields` and counts"
                yield entry.document.problem(loc, f"template names '{key}', which the incident does not have", hint)


def _cycles(entries: Sequence[Entry], ruleset: RuleSet) -> Iterator[Problem]:
    """A cycle of explanations: each would fold under the other."""
    slugs = {alias: e.slug for e in entries if e.slug for alias in (e.slug, e.model.name, e.model.id) if alias}
    graph = {
        slug: sorted({slugs[name] for explains in found.signature.explains for name in explains.rules if name in slugs})
        for slug, found in ruleset.signatures.items()
    }
    by_slug = {entry.slug: entry for entry in entries if entry.slug}
    done: set[str] = set()

    def visit(slug: str, path: list[str]) -> Iterator[Problem]:
        if slug in path:
            chain = " -> ".join([*path[path.index(slug) :], slug])
            what = f"explanation cycle: {chain}"
            yield by_slug[path[-1]].document.problem(("explains",), what, "drop the weaker of the two directions")
        elif slug not in done:
            for other in graph.get(slug, []):
                yield from visit(other, [*path, slug])
            done.add(slug)

    for slug in sorted(graph):
        yield from visit(slug, [])
