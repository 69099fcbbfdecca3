"""A naive evaluator of correlations: what incidents a set of rows means, written from the prose and not from the engine.

Everything is looked at at once and over again (quadratic and worse), so that each definition stands here in its plainest form:

* a window ends at a sighting and holds all with newest - oldest <= timespan; sightings of one moment enter together;
* ratio, absence and baseline know whole seconds: a second counts when its start lies in the window, and decides at its end;
* an incident starts with the earliest evidence of its first hit, is detected when that hit is complete (with `for`: at the first hit
  so much later), takes in all further evidence of its group and ends when there was none for `keep_firing_for`;
* a group with a missing value is none, and Kubernetes events count by the growth of their count.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SECOND = 1_000_000
Group = tuple[str, ...]
Rules = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Row:
    """A log row: which detections match it, and its columns. `uid` and `count` are those of a folded event, `first` its first time."""

    id: str
    t: int
    matches: frozenset[str]
    fields: Mapping[str, Hashable]
    weight: int = 1
    uid: str | None = None
    count: int = 1
    first: int = 0


@dataclass(frozen=True)
class Sighting:
    """A row of a detection, or a hit of a rule that another rule names; `since` is its earliest evidence."""

    t: int
    since: int
    weight: int
    rule: str
    group: Group
    value: Hashable = None


@dataclass(frozen=True, order=True)
class Hit:
    """A moment at which a rule holds, and its earliest evidence."""

    at: int
    start: int


@dataclass(frozen=True)
class Found:
    """An incident. `rows` are (detection, row) pairs."""

    group: Group
    started: int
    detected: int
    last: int
    status: str
    rows: Sequence[tuple[str, Row]] = field(repr=False)

    def counts(self) -> dict[str, int]:
        """Evidence by detection."""
        names = sorted({name for name, _ in self.rows})
        return {name: sum(row.weight for other, row in self.rows if other == name) for name in names}


def duration(text: str) -> int:
    """Microseconds of `90s`, `5m`, `1h`."""
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]] * SECOND


def holds(condition: Mapping[str, Any], value: float | None) -> bool:
    """Whether a value lies within every bound of a condition; no value lies in none."""
    tests: dict[str, Callable[[float, float], bool]] = {
        "gt": lambda a, b: a > b,
        "gte": lambda a, b: a >= b,
        "lt": lambda a, b: a < b,
        "lte": lambda a, b: a <= b,
        "eq": lambda a, b: a == b,
        "neq": lambda a, b: a != b,
    }
    return value is not None and all(tests[key](value, condition[key]) for key in tests if key in condition)


def unfold(rows: Iterable[Row]) -> list[Row]:
    """Sightings of folded events as growth: of the first sighting, one at the event's first time and the others at its last."""
    plain = [row for row in rows if row.uid is None]
    for uid in sorted({row.uid for row in rows if row.uid is not None}):
        known = 0
        for row in sorted((row for row in rows if row.uid == uid), key=lambda row: (row.count, row.t, row.id)):
            grown, early = row.count - known, known == 0 and row.count > 1 and row.first < row.t
            if early:
                plain.append(_weighing(row, 1, at=row.first, suffix="#first"))
                grown -= 1
            if grown:
                plain.append(_weighing(row, grown))
            known = row.count
    return plain


def _weighing(row: Row, weight: int, *, at: int | None = None, suffix: str = "") -> Row:
    return Row(row.id + suffix, row.t if at is None else at, row.matches, row.fields, weight)


class Naive:
    """The hits of rules over rows. `end` is the end of the newest second, `begun` the first second of the counted source."""

    def __init__(self, rules: Rules, rows: Iterable[Row], *, end: int, begun: int = 0, skew: int = 30 * SECOND) -> None:
        self.rules = rules
        self.rows = unfold(list(rows))
        self.end, self.begun, self.skew = end, begun, skew

    def incidents(self, rule: Mapping[str, Any], alert: Mapping[str, str]) -> list[Found]:
        """Every incident of a signature with this correlation, near misses left out."""
        keep, persist = duration(alert["keep_firing_for"]), duration(alert["for"])
        evidence = self.evidence(rule)
        found = []
        for group, hits in self.hits(rule).items():
            rows = [(name, row) for name, row, its in evidence if its == group]
            found.extend(self._incidents(group, hits, rows, keep, persist))
        return found

    def _incidents(
        self, group: Group, hits: Iterable[Hit], rows: Sequence[tuple[str, Row]], keep: int, persist: int
    ) -> list[Found]:
        found, rest = [], sorted(hits, key=lambda hit: (hit.start, hit.at))
        while rest:
            started, last = rest[0].start, rest[0].at
            while True:  # evidence of the group, and hits whose own evidence begins within reach, extend it
                near = [row.t for _, row in rows if started <= row.t <= last + keep]
                reached = max([last, *near, *(hit.at for hit in rest if hit.start <= last + keep)])
                if reached == last:
                    break
                last = reached
            joined = sorted(hit.at for hit in rest if hit.at <= last)
            rest = [hit for hit in rest if hit.at > last]
            detected = [at for at in joined if at >= joined[0] + persist]
            if detected:
                own = [(name, row) for name, row in rows if started <= row.t <= last]
                status = "resolved" if last + keep <= self.end else "firing"
                found.append(Found(group, started, detected[0], last, status, own))
        return found

    def hits(self, rule: Mapping[str, Any]) -> dict[Group, list[Hit]]:
        """The hits of a correlation by group."""
        kind = {
            "temporal_ordered": self._ordered,
            "cascade": self._cascade,
            "ratio": self._ratio,
            "absence": self._absence,
            "baseline": self._baseline,
        }.get(rule["type"], self._window)
        found = {group: kind(rule, group) for group in sorted(self._groups(rule))}
        return {group: hits for group, hits in found.items() if hits}

    def evidence(self, rule: Mapping[str, Any]) -> list[tuple[str, Row, Group]]:
        """(detection, row, group) of all rows that speak for a rule; for a silence, one where it begins."""
        if rule["type"] == "absence":
            silences = [
                (group, start) for group, hits in self.hits(rule).items() for start in sorted({hit.start for hit in hits})
            ]
            return [(rule["of"], Row(f"{group}@{t}", t, frozenset(), {}), group) for group, t in silences]
        whole = rule["type"] in ("ratio", "baseline")
        found = []
        for name in _speaking(rule):
            if name not in self.rules:
                own = [(name, row, self._group(rule, name, row.fields)) for row in self.rows if name in row.matches]
                found += [(n, _whole(row) if whole else row, group) for n, row, group in own if group is not None]
                continue
            inner = self.rules[name]
            keys = inner.get("group-by", [])
            named = [(n, row, self._group(rule, name, dict(zip(keys, g, strict=True)))) for n, row, g in self.evidence(inner)]
            found += [(n, row, group) for n, row, group in named if group is not None]
        return found

    def _group(self, rule: Mapping[str, Any], name: str, fields: Mapping[str, Hashable]) -> Group | None:
        aliases = rule.get("aliases", {})
        values = [fields.get(aliases.get(key, {}).get(name, key)) for key in rule.get("group-by", [])]
        return None if None in values else tuple(str(value) for value in values)

    def sightings(self, rule: Mapping[str, Any], name: str, measured: Sequence[str] = ()) -> list[Sighting]:
        """What a rule sees of one it names, by its own groups, in order of time."""
        seen = []
        if name in self.rules:
            keys = self.rules[name].get("group-by", [])
            for inner, hits in self.hits(self.rules[name]).items():
                group = self._group(rule, name, dict(zip(keys, inner, strict=True)))
                seen += [Sighting(hit.at, hit.start, 1, name, group, None) for hit in hits if group is not None]
        for row in self.rows:
            group = self._group(rule, name, row.fields) if name in row.matches else None
            if group is not None:
                seen.append(Sighting(row.t, row.t, row.weight, name, group, _value(row.fields, measured)))
        return sorted(seen, key=lambda sighting: sighting.t)

    def _all(self, rule: Mapping[str, Any], group: Group, names: Sequence[str]) -> list[Sighting]:
        condition = rule.get("condition")
        measured = condition.get("field", []) if isinstance(condition, Mapping) else []
        fields = [measured] if isinstance(measured, str) else measured
        return [seen for name in names for seen in self.sightings(rule, name, fields) if seen.group == group]

    def _groups(self, rule: Mapping[str, Any]) -> set[Group]:
        return {seen.group for name in _named(rule) for seen in self.sightings(rule, name)}

    def _window(self, rule: Mapping[str, Any], group: Group) -> list[Hit]:
        """event_count, value_* and temporal: at every sighting, what the window that ends there holds."""
        seen = self._all(rule, group, rule["rules"])
        span, hits = duration(rule["timespan"]), []
        for now in sorted({one.t for one in seen}):
            window = [one for one in seen if now - span <= one.t <= now]
            if _holds_in(rule, window):
                hits.append(Hit(now, min(one.since for one in window)))
        return hits

    def _ordered(self, rule: Mapping[str, Any], group: Group) -> list[Hit]:
        """At every sighting of the last rule: some sightings of all rules, in the order of the list, within the timespan."""
        seen = self._all(rule, group, rule["rules"])
        span, hits = duration(rule["timespan"]), []
        for now in sorted({one.t for one in seen if one.rule == rule["rules"][-1]}):
            at, chain = now - span, []
            for name in rule["rules"]:
                following = [one for one in seen if one.rule == name and at <= one.t <= now]
                if not following:
                    break
                chain.append(following[0])
                at = following[0].t
            else:
                hits.append(Hit(now, chain[0].since))
        return hits

    def _cascade(self, rule: Mapping[str, Any], group: Group) -> list[Hit]:
        """Every cause with all its effects; where something must be absent, at the end of the timespan."""
        span, hits = duration(rule["timespan"]), []
        for cause in self._all(rule, group, [rule["cause"]["rule"]]):
            effects = [self._effect(rule, group, effect, cause.t) for effect in rule["effects"]]
            if any(effect is None for effect in effects):
                continue
            start = min([cause.since, *(effect.start for effect in effects if effect)])
            at = max([cause.t, *(effect.at for effect in effects if effect)])
            if rule.get("absent"):
                at = cause.t + span
                if at > self.end or any(self._effect(rule, group, other, cause.t) for other in rule["absent"]):
                    continue
            hits.append(Hit(at, start))
        return sorted(set(hits))

    def _effect(self, rule: Mapping[str, Any], group: Group, effect: Mapping[str, Any], cause: int) -> Hit | None:
        condition = effect.get("condition", {"gte": 1})
        fields = [condition["field"]] if "field" in condition else []
        limit = cause + duration(effect.get("within", rule["timespan"]))
        seen = [one for one in self.sightings(rule, effect["rule"], fields) if one.group == group]
        near = [one for one in seen if cause - self.skew <= one.t <= limit]
        for now in sorted({one.t for one in near}):
            so_far = [one for one in near if one.t <= now]
            number = len({one.value for one in so_far} - {None}) if fields else sum(one.weight for one in so_far)
            if holds(condition, number):
                return Hit(now, min(one.since for one in near))
        return None

    def _seconds(self, rule: Mapping[str, Any], name: str | None, group: Group | None) -> dict[int, int]:
        """Second to number; without a group, of all."""
        counts: dict[int, int] = {}
        for row in self.rows:
            if name in row.matches and group in (None, self._group(rule, str(name), row.fields)):
                second = row.t // SECOND * SECOND
                counts[second] = counts.get(second, 0) + row.weight
        return counts

    def _ratio(self, rule: Mapping[str, Any], group: Group) -> list[Hit]:
        of, among = (self._seconds(rule, rule[key], group) for key in ("of", "among"))
        span, hits = duration(rule["timespan"]), []
        for now in sorted({*of, *among}):
            part, whole = (_between(counts, now - span, now) for counts in (of, among))
            if whole >= rule.get("minimum", 1) and holds(rule["condition"], part / whole if whole else None):
                hits.append(Hit(now + SECOND, min([s for s in of if now - span <= s <= now], default=now)))
        return hits

    def _absence(self, rule: Mapping[str, Any], group: Group) -> list[Hit]:
        of, before = (self._seconds(rule, name, group) for name in (rule["of"], rule["after"]["rule"]))
        alive = self._seconds(rule, rule["while"], None)
        span, within, hits = duration(rule["timespan"]), duration(rule["after"]["within"]), []
        for now in sorted(of):
            deadline, back = now + SECOND + span, min([second for second in of if second > now], default=self.end)
            living = [second for second in alive if deadline - span // 2 <= second < deadline]
            expected = _between(before, now - within, deadline - 1) >= rule["after"].get("gte", 1)
            if living and expected:  # it holds for as long as the silence lasts
                hits += [Hit(at, now + SECOND) for at in range(deadline, min(back, self.end) + 1, SECOND)]
        return hits

    def _baseline(self, rule: Mapping[str, Any], group: Group) -> list[Hit]:
        of = self._seconds(rule, rule["of"], group)
        among = self._seconds(rule, rule["among"], group) if "among" in rule else {}
        span, against, hits = duration(rule["timespan"]), duration(rule["against"]), []
        for now in sorted({*of, *among}):
            past = min(against, now - span - self.begun)
            lo, mid = now - span - past, now - span
            current, usual = _between(of, mid, now), _between(of, lo, mid - 1) * span / max(past, 1)
            enough = current
            if "among" in rule:
                enough, then = _between(among, mid, now), _between(among, lo, mid - 1)
                current = current / enough if enough else 0
                usual = _between(of, lo, mid - 1) / then if then else 0
                enough = min(enough, then)  # too little to tell, now or before
            above = 0 < current >= rule["condition"]["factor"] * usual
            if past >= span and enough >= rule.get("minimum", 1) and above:
                hits.append(Hit(now + SECOND, min([s for s in of if mid <= s <= now], default=now)))
        return hits


def _between(counts: Mapping[int, int], low: int, high: int) -> float:
    return sum(number for second, number in counts.items() if low <= second <= high)


def _whole(row: Row) -> Row:
    return _weighing(row, row.weight, at=row.t // SECOND * SECOND)


def _named(rule: Mapping[str, Any]) -> list[str]:
    """The rules that make the groups of a rule."""
    if rule["type"] == "cascade":
        return [rule["cause"]["rule"]]
    return list(rule.get("rules") or [rule[key] for key in ("of", "among") if key in rule])


def _speaking(rule: Mapping[str, Any]) -> list[str]:
    """The rules whose rows speak for a rule: not what must be missing, nor what a share is taken of."""
    if rule["type"] == "cascade":
        return list(dict.fromkeys([rule["cause"]["rule"], *(effect["rule"] for effect in rule["effects"])]))
    if isinstance(rule.get("condition"), str):
        return [name for name in rule["rules"] if name in rule["condition"].replace("not ", "not_").split()]
    return list(rule["rules"]) if "rules" in rule else [rule["of"]]


def _value(fields: Mapping[str, Hashable], measured: Sequence[str]) -> Hashable:
    values = tuple(fields.get(name) for name in measured)
    return None if not values or None in values else values if len(values) > 1 else values[0]


def _holds_in(rule: Mapping[str, Any], window: Sequence[Sighting]) -> bool:
    seen, condition = {one.rule for one in window}, rule.get("condition")
    if isinstance(condition, str):
        return any(all(_true(word, seen) for word in part.split(" and ")) for part in condition.split(" or "))
    return holds(condition or {"gte": len(rule["rules"])}, _measure(rule, window, seen))


def _true(word: str, seen: set[str]) -> bool:
    return word.removeprefix("not ") not in seen if word.startswith("not ") else word in seen


def _measure(rule: Mapping[str, Any], window: Sequence[Sighting], seen: set[str]) -> float | None:
    """The number that the condition is about."""
    numbers = [(one.value, one.weight) for one in window if isinstance(one.value, int | float)]
    rows = sum(weight for _, weight in numbers)
    total = sum(round(value * SECOND) * weight for value, weight in numbers)
    match rule["type"]:
        case "event_count":
            return sum(one.weight for one in window)
        case "value_count":
            return len({one.value for one in window} - {None})
        case "value_sum":
            return total / SECOND if rows else None
        case "value_avg":
            return total / rows / SECOND if rows else None
        case "value_percentile":
            return _percentile([value for value, weight in numbers for _ in range(weight)], rule["condition"]["percentile"])
    return len(seen)


def _percentile(values: Sequence[float], percent: float) -> float | None:
    """Nearest rank of the values, each known to 1 %: as the whole power of 1.02 that is nearest to it (by its logarithm)."""
    if not values:
        return None
    known = sorted(0.0 if value <= 0 else 1.02 ** round(math.log(value, 1.02)) for value in values)
    return known[max(1, math.ceil(percent / 100 * len(known))) - 1]
