"""Validated documents to the compiled `RuleSet`: names resolved, detections turned into trees and literals."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import polars as pl

from pipeline.errors import Problem, nearest
from pipeline.model import columns as model_columns
from pipeline.model.vocabulary import Facts, Vocabulary
from pipeline.signatures import conditions, detection, literals, logsource
from pipeline.signatures.detection import DetectionError
from pipeline.signatures.entry import Entry
from pipeline.signatures.models import Baseline, Block, Cascade, Correlation, Filter, Ratio, Signature
from pipeline.signatures.ruleset import Detection, Disaster, Rule, RuleSet

TOPOLOGY_COLUMNS = frozenset(model_columns.TOPOLOGY)


def row_kinds(vocabulary: Vocabulary) -> frozenset[str]:
    """Every row kind there is."""
    return frozenset(vocabulary.sources() | logsource.DENSE | {"text"})


def references(correlation: Correlation) -> tuple[str, ...]:
    """The rules that a correlation names, in its order."""
    if correlation.type == "ratio":
        return (correlation.of, correlation.among)
    if correlation.type == "absence":
        return tuple(dict.fromkeys((correlation.of, correlation.while_, correlation.after.rule)))
    if correlation.type == "baseline":
        return tuple(name for name in (correlation.of, correlation.among) if name)
    if isinstance(correlation, Cascade):
        others = [effect.rule for effect in (*correlation.effects, *correlation.absent)]
        return tuple(dict.fromkeys((correlation.cause.rule, *others)))
    return tuple(correlation.rules)


class _Names:
    """What every name, id and folder stands for."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.by_name: dict[str, Entry] = {}
        for entry in entries:
            for alias in (entry.slug, entry.model.name, entry.model.id):
                if alias:
                    self.by_name.setdefault(alias, entry)

    def resolve(self, name: str) -> Entry | None:
        return self.by_name.get(name)


def compile_rules(entries: Sequence[Entry], problems: list[Problem], digest: str, vocabulary: Vocabulary) -> RuleSet:
    """Compile what can be compiled; what cannot is added to `problems`."""
    names = _Names(entries)
    detections: dict[str, Detection] = {}
    for entry in entries:
        if isinstance(entry.model, Block) and (compiled := _detection(entry, entry.model, problems, vocabulary)):
            detections[entry.name] = compiled
    _apply_filters(entries, names, detections, problems, vocabulary)
    rules = _rules(entries, names, detections, problems)
    signatures = {
        entry.slug: Disaster(entry.slug, entry.name, entry.model, _digest(entry))
        for entry in entries
        if entry.slug and isinstance(entry.model, Signature)
    }
    return RuleSet(detections, rules, dict(sorted(signatures.items())), digest)


def _digest(entry: Entry) -> str:
    return hashlib.sha256(repr(entry.document.value).encode()).hexdigest()[:16]


def _detection(entry: Entry, block: Block, problems: list[Problem], vocabulary: Vocabulary) -> Detection | None:
    if block.detection is None or block.logsource is None:
        return None
    try:
        tree = detection.compile_detection(block.detection)
        selector = logsource.select(block.logsource, row_kinds(vocabulary))
    except DetectionError as error:
        problems.append(entry.document.problem(("detection", *error.loc), error.what, error.hint))
        return None
    except KeyError as error:
        word = str(error.args[0])
        hint = nearest(word, logsource.categories())
        problems.append(entry.document.problem(("logsource", "category"), f"unknown category '{word}'", hint))
        return None
    extracted = _extracted(entry, block, problems, vocabulary)
    named = detection.fields(tree)
    return Detection(
        name=entry.name,
        selector=selector,
        tree=tree,
        loose=detection.loosen(tree, TOPOLOGY_COLUMNS),
        columns=named,
        literals=literals.required(tree, _verbatim(selector, vocabulary), vocabulary.everyday()),
        dense=selector.sources is not None and selector.sources <= logsource.DENSE,
        cheap=_is_cheap(selector, named - TOPOLOGY_COLUMNS, vocabulary),
        extract={column: tuple(patterns) for column, patterns in block.extract.items()},
        extracted=extracted,
        fields=tuple(block.fields),
        title=block.title,
        keeps_topology=bool(named & TOPOLOGY_COLUMNS),
    )


def _formats_of(selector: logsource.Selector, vocabulary: Vocabulary) -> list[Facts]:
    return [fmt for fmt in vocabulary.formats if any(selector.admits(kind) for kind in fmt.sources)]


def _verbatim(selector: logsource.Selector, vocabulary: Vocabulary) -> Callable[[str], bool]:
    formats = _formats_of(selector, vocabulary)

    def verbatim(column: str) -> bool:
        if column == detection.MESSAGE:
            return True  # what a format undoes or takes out of it are escapes, and a literal never contains any
        declaring = [fmt for fmt in formats if column in fmt.columns]
        return bool(declaring) and all(column in fmt.verbatim for fmt in declaring)

    return verbatim


def _is_cheap(selector: logsource.Selector, named: frozenset[str], vocabulary: Vocabulary) -> bool:
    if selector.sources is None or selector.programs:
        return False
    formats = _formats_of(selector, vocabulary)
    return bool(formats) and all(fmt.cheap and named <= fmt.cheap for fmt in formats)


def _extracted(entry: Entry, block: Block, problems: list[Problem], vocabulary: Vocabulary) -> dict[str, str]:
    """Named groups to columns: a group called like a column with `_` for `.` fills that column."""
    columns = {name.replace(".", "_"): name for name in vocabulary.all_columns()}
    found: dict[str, str] = {}
    for column, patterns in block.extract.items():
        for pattern in patterns:
            try:
                detection.check_regex(pattern, ("extract", column))
                groups = [field.name for field in _groups(pattern)]
            except DetectionError as error:
                problems.append(entry.document.problem(error.loc, error.what, error.hint))
                continue
            if not groups:
                hint = "write (?P<name>...) around what to take"
                problems.append(entry.document.problem(("extract", column), "the pattern has no named group", hint))
            found.update({group: columns.get(group, group) for group in groups})
    return found


def _groups(pattern: str) -> list[pl.Field]:
    dtype = pl.select(pl.lit("").str.extract_groups(pattern)).to_series().dtype
    return [field for field in getattr(dtype, "fields", []) if not field.name.isdigit()]


def _apply_filters(
    entries: Iterable[Entry],
    names: _Names,
    detections: dict[str, Detection],
    problems: list[Problem],
    vocabulary: Vocabulary,
) -> None:
    for entry in entries:
        if not isinstance(entry.model, Filter):
            continue
        body = entry.model.filter
        try:
            searches = {**(body.model_extra or {}), "condition": body.condition}
            tree = detection.compile_detection(searches)
        except DetectionError as error:
            problems.append(entry.document.problem(("filter", *error.loc), error.what, error.hint))
            continue
        for at, name in enumerate(body.rules):
            target = names.resolve(name)
            if target is None:
                problems.append(_unknown_rule(entry, ("filter", "rules", at), name, names))
                continue
            for found in _detections_below(target, names, detections):
                detections[found] = _narrow(detections[found], tree, vocabulary)


def _narrow(found: Detection, tree: detection.Tree, vocabulary: Vocabulary) -> Detection:
    named = found.columns | detection.fields(tree)
    both = detection.All((found.tree, tree))
    return replace(
        found,
        tree=both,
        loose=detection.loosen(both, TOPOLOGY_COLUMNS),
        columns=named,
        cheap=found.cheap and _is_cheap(found.selector, named - TOPOLOGY_COLUMNS, vocabulary),
        keeps_topology=bool(named & TOPOLOGY_COLUMNS),
    )


def _detections_below(entry: Entry, names: _Names, detections: Mapping[str, Detection]) -> list[str]:
    found: dict[str, None] = {}
    stack, seen = [entry], set[str]()
    while stack:
        current = stack.pop()
        if current.name in seen or not isinstance(current.model, Block):
            continue
        seen.add(current.name)
        if current.name in detections:
            found[current.name] = None
        elif current.model.correlation is not None:
            stack.extend(other for name in references(current.model.correlation) if (other := names.resolve(name)))
    return sorted(found)


def _unknown_rule(entry: Entry, loc: tuple[str | int, ...], name: str, names: _Names) -> Problem:
    hint = nearest(name, names.by_name) or "a rule is called by its name, id or signature folder"
    return entry.document.problem(loc, f"unknown rule '{name}'", hint)


def _rules(
    entries: Sequence[Entry], names: _Names, detections: Mapping[str, Detection], problems: list[Problem]
) -> dict[str, Rule]:
    """The correlations, each behind those it names; references become canonical names."""
    found: dict[str, Rule] = {}
    pending = {
        entry.name: (entry, entry.model.correlation)
        for entry in entries
        if isinstance(entry.model, Block) and entry.model.correlation is not None
    }
    open_: list[str] = []

    def visit(name: str) -> None:
        if name in found or name not in pending:
            return
        if name in open_:
            chain = " -> ".join([*open_[open_.index(name) :], name])
            problems.append(pending[name][0].document.problem(("correlation",), f"rules refer to each other: {chain}"))
            return
        open_.append(name)
        entry, correlation = pending[name]
        resolved = _resolve(entry, correlation, names, problems)
        for other in resolved.values():
            visit(other)
        open_.pop()
        rule = _rule(entry, correlation, resolved, problems)
        below = [d for r in rule.rules for d in _detections_below(names.by_name[r], names, detections)]
        found[name] = replace(rule, detections=tuple(dict.fromkeys(below)))

    for name in pending:
        visit(name)
    return found


def _resolve(entry: Entry, correlation: Correlation, names: _Names, problems: list[Problem]) -> dict[str, str]:
    resolved: dict[str, str] = {}
    for name in references(correlation):
        target = names.resolve(name)
        if target is None:
            problems.append(_unknown_rule(entry, ("correlation", *_loc_of(correlation, name)), name, names))
        else:
            resolved[name] = target.name
    return resolved


def _loc_of(correlation: Correlation, name: str) -> tuple[str | int, ...]:
    rules = getattr(correlation, "rules", None)
    if rules:
        return ("rules", rules.index(name))
    if isinstance(correlation, Cascade):
        places = (("effects", correlation.effects), ("absent", correlation.absent))
        found = [(key, at, "rule") for key, effects in places for at, effect in enumerate(effects) if effect.rule == name]
        return found[0] if found else ("cause", "rule")
    if correlation.type == "absence":
        return ("of",) if correlation.of == name else ("while",) if correlation.while_ == name else ("after", "rule")
    return ("of",) if getattr(correlation, "of", None) == name else ("among",)


def _rule(entry: Entry, correlation: Correlation, resolved: dict[str, str], problems: list[Problem]) -> Rule:
    canonical = _rename(correlation, resolved)
    condition = getattr(canonical, "condition", None)
    node = None
    if isinstance(condition, str):
        try:
            node = conditions.parse(condition, tuple(resolved))
        except conditions.ConditionError as error:
            problems.append(entry.document.problem(("correlation", "condition"), str(error), nearest(error.name, resolved)))
        else:
            node = conditions.rename(node, resolved)
    return Rule(entry.name, canonical, node, tuple(dict.fromkeys(resolved.values())), ())


def _rename(correlation: Correlation, resolved: Mapping[str, str]) -> Correlation:
    """The correlation with canonical names in every reference."""

    def new(name: str) -> str:
        return resolved.get(name, name)

    aliases = {alias: {new(r): f for r, f in fields.items()} for alias, fields in correlation.aliases.items()}
    update: dict[str, object] = {"aliases": aliases}
    if correlation.type == "absence":
        update |= {"of": new(correlation.of), "while_": new(correlation.while_)}
        update["after"] = correlation.after.model_copy(update={"rule": new(correlation.after.rule)})
    elif isinstance(correlation, Cascade):
        update["cause"] = correlation.cause.model_copy(update={"rule": new(correlation.cause.rule)})
        for key in ("effects", "absent"):
            update[key] = [e.model_copy(update={"rule": new(e.rule)}) for e in getattr(correlation, key)]
    elif isinstance(correlation, Ratio | Baseline):
        update["of"] = new(correlation.of)
        update["among"] = new(correlation.among) if correlation.among else None
    else:
        update["rules"] = [new(name) for name in correlation.rules]
    return correlation.model_copy(update=update)
