"""Checks on rules that are valid by themselves but wrong together, or that would never do what they say."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pipeline.documents import Loc
from pipeline.errors import Problem, nearest
from pipeline.model import columns as model_columns
from pipeline.model.vocabulary import Vocabulary
from pipeline.signatures import conditions, detection, templates
from pipeline.signatures.entry import Entry
from pipeline.signatures.models import (
    Absence,
    Baseline,
    Block,
    Cascade,
    Correlation,
    Effect,
    Factor,
    Filter,
    Signature,
    Threshold,
)
from pipeline.signatures.ruleset import RuleSet

RETENTION = 3600 * 1_000_000
"""Microseconds for which evidence can be revised (DESIGN contract 1): no window may be longer."""


def check(entries: Sequence[Entry], ruleset: RuleSet, vocabulary: Vocabulary) -> list[Problem]:
    """Every problem and warning of the documents, given what could be compiled of them."""
    known = frozenset(vocabulary.all_columns())
    names = frozenset(alias for entry in entries for alias in (entry.slug, entry.model.name) if alias)
    slugs = _slugs(entries)
    extracted = frozenset(column for found in ruleset.detections.values() for column in found.extracted.values())
    problems: list[Problem] = []
    for entry in entries:
        model = entry.model
        if isinstance(model, Filter):
            problems.extend(_filter(entry, model, known))
            continue
        if model.detection is not None:
            problems.extend(_detection(entry, model, ruleset, known))
        if model.correlation is not None:
            problems.extend(_correlation(entry, model.correlation, ruleset, known))
        if isinstance(model, Signature):
            problems.extend(_shifts(entry, model, names, known | extracted))
            problems.extend(_explanations(entry, model, slugs))
            problems.extend(_texts(entry, model, ruleset))
    problems.extend(_cycles(entries, ruleset))
    return problems


def _slugs(entries: Sequence[Entry]) -> dict[str, str]:
    """What signatures may be called, and their folders."""
    return {alias: entry.slug for entry in entries if entry.slug for alias in (entry.slug, entry.model.name) if alias}


def _unknown(entry: Entry, loc: Loc, columns: Iterable[str], known: Iterable[str]) -> Iterator[Problem]:
    """Columns at `loc` (one, or a list with a place for each) that there are not."""
    for at, column in enumerate(columns):
        if column not in known:
            yield entry.document.problem((*loc, at), f"unknown column '{column}'", nearest(column, known))


def _filter(entry: Entry, model: Filter, known: frozenset[str]) -> Iterator[Problem]:
    searches = model.filter.model_extra or {}
    try:
        tree = detection.compile_detection({**searches, "condition": model.filter.condition})
    except detection.DetectionError:
        return  # said already
    for column in sorted(detection.fields(tree) - known):
        loc = _key_of(searches, ("filter",), column)
        yield entry.document.problem(loc, f"unknown column '{column}'", nearest(column, known))


def _detection(entry: Entry, model: Block, ruleset: RuleSet, known: frozenset[str]) -> Iterator[Problem]:
    found = ruleset.detections.get(entry.name)
    if found is None:
        return
    extracted = frozenset(found.extracted.values())
    unknown = sorted(found.columns - known - extracted)
    for column in unknown:
        loc = _key_of(model.detection, ("detection",), column)
        yield entry.document.problem(loc, f"unknown column '{column}'", nearest(column, known))
    for column in sorted(set(model.extract) - known):
        yield entry.document.problem(("extract", column), f"unknown column '{column}'", nearest(column, known))
    yield from _unknown(entry, ("fields",), model.fields, known | extracted)
    if found.literals is None and not (unknown or found.dense or found.cheap or model.expensive):
        yield entry.document.problem(
            ("detection",),
            "no text of 3 bytes or more that everyday lines lack is required, so every row would have to be parsed for this rule",
            "add a selection with fixed text, or say `expensive: true`",
        )


def _key_of(searches: object, loc: Loc, column: str) -> Loc:
    """Where a column stands in the search identifiers at `loc`."""

    def search(value: object, loc: Loc) -> Loc | None:
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

    return search(searches, loc) or loc


def _correlation(entry: Entry, correlation: Correlation, ruleset: RuleSet, known: frozenset[str]) -> Iterator[Problem]:
    rule = ruleset.rules.get(entry.name)
    below = frozenset(column for name in (rule.detections if rule else ()) for column in ruleset.columns(name))
    yield from _unknown(entry, ("correlation", "group-by"), correlation.group_by, known | below | set(correlation.aliases))
    yield from _conditions(entry, correlation, known | below)
    if rule and rule.condition is not None:
        for name in sorted(set(rule.rules) - conditions.names(rule.condition)):
            what = f"the condition does not say what '{name}' is for, which stands in `rules`"
            yield entry.document.problem(("correlation", "condition"), what, "name it, or take it out of `rules`")
    if isinstance(entry.model, Signature):
        yield from _unknown(entry, ("fields",), entry.model.fields, known | below)
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
            loc = ("correlation", "aliases", alias, name)
            if rules is not None and name not in rules:
                hint = nearest(name, rules) or "use the name as it stands there"
                yield entry.document.problem(loc, f"alias of '{name}', which this correlation does not name", hint)
            if column not in known:
                yield entry.document.problem(loc, f"unknown column '{column}'", nearest(column, known))


def _windows(entry: Entry, correlation: Correlation) -> Iterator[Problem]:
    for loc, why, hint in _impossible(correlation):
        yield entry.document.problem(("correlation", *loc), f"impossible window: {why}", hint)


def _impossible(correlation: Correlation) -> Iterator[tuple[Loc, str, str]]:
    """Windows that nothing can ever fill, or that reach further back than is kept."""
    if correlation.timespan <= 0:
        yield ("timespan",), "it is empty", "give at least 1s"
    if isinstance(correlation, Baseline):
        yield from _impossible_baseline(correlation)
    elif correlation.timespan > RETENTION:
        yield ("timespan",), "evidence is kept for 1h only", "shorten it"
    if isinstance(correlation, Cascade):
        for loc, effect in _effects(correlation):
            if effect.within is not None and effect.within > correlation.timespan:
                yield (*loc, "within"), "`within` is longer than the timespan", "shorten it"
    if isinstance(correlation, Absence) and correlation.after.within > RETENTION:
        yield ("after", "within"), "evidence is kept for 1h only", "shorten it"


def _impossible_baseline(correlation: Baseline) -> Iterator[tuple[Loc, str, str]]:
    longest = max(correlation.timespan, correlation.against)
    if longest > RETENTION:
        key = "timespan" if correlation.timespan > RETENTION else "against"
        yield (key,), "the past is kept for 1h only", "shorten it"
    if correlation.against <= correlation.timespan:
        yield ("against",), "the past is not longer than the timespan", "compare with more"


def _effects(correlation: Cascade) -> list[tuple[Loc, Effect]]:
    """The effects of a cascade and where they stand."""
    both = (("effects", correlation.effects), ("absent", correlation.absent))
    return [((key, at), effect) for key, effects in both for at, effect in enumerate(effects)]


def _conditions(entry: Entry, correlation: Correlation, known: frozenset[str]) -> Iterator[Problem]:
    """What the conditions of a correlation say: columns that are not there, numbers that cannot be."""
    if isinstance(correlation, Cascade):
        for loc, effect in _effects(correlation):
            yield from _threshold(entry, ("correlation", *loc, "condition"), effect.condition, known)
    condition = getattr(correlation, "condition", None)
    loc = ("correlation", "condition")
    if isinstance(condition, Threshold):
        yield from _threshold(entry, loc, condition, known)
        if correlation.type == "ratio" and max(condition.gt or 0, condition.gte or 0, condition.eq or 0) > 1:
            yield entry.document.problem(loc, "impossible condition: a ratio is never above 1", "0.2 means 20 %")
    if isinstance(condition, Factor):
        yield from _unknown(entry, (*loc, "field"), condition.field or [], known)


def _threshold(entry: Entry, loc: Loc, condition: Threshold, known: frozenset[str]) -> Iterator[Problem]:
    yield from _unknown(entry, (*loc, "field"), condition.field or [], known)
    low = max((v for v in (condition.gt, condition.gte, condition.eq) if v is not None), default=None)
    high = min((v for v in (condition.lt, condition.lte, condition.eq) if v is not None), default=None)
    if low is not None and high is not None and low > high:
        yield entry.document.problem(loc, f"impossible condition: above {low:g} and below {high:g}", "swap them")


def _shifts(entry: Entry, model: Signature, names: frozenset[str], known: frozenset[str]) -> Iterator[Problem]:
    """What moves the confidence: rules and columns that are not there."""
    both = (("supports", model.supports), ("contradicts", model.contradicts))
    for key, at, shift in [(key, at, shift) for key, shifts in both for at, shift in enumerate(shifts)]:
        if shift.rule not in names:
            yield entry.document.problem((key, at, "rule"), f"unknown rule '{shift.rule}'", nearest(shift.rule, names))
        yield from _unknown(entry, (key, at, "on"), shift.on, known)
        yield from _threshold(entry, (key, at, "condition"), shift.condition, known)


def _explanations(entry: Entry, model: Signature, slugs: Mapping[str, str]) -> Iterator[Problem]:
    """What is explained: signatures and entities that are not there."""
    for at, explains in enumerate(model.explains):
        for index, name in enumerate(explains.rules):
            if name not in slugs:
                loc = ("explains", at, "rules", index)
                yield entry.document.problem(loc, f"unknown signature '{name}'", nearest(name, slugs))
    allowed = (*model_columns.ENTITY, model_columns.OBSERVER, model_columns.CLUSTER)
    for at, column in [(i, c) for i, e in enumerate(model.explains) for c in e.on if c not in allowed]:
        hint = nearest(column, allowed)
        yield entry.document.problem(("explains", at, "on"), f"'{column}' is not an entity", hint)


def _texts(entry: Entry, model: Signature, ruleset: RuleSet) -> Iterator[Problem]:
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
    places: list[tuple[Loc, str]] = [(("alert", "annotations", key), text) for key, text in model.alert.annotations.items()]
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
    slugs = _slugs(entries)
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
