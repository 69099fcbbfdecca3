"""Sliding windows over the matched rows of one group: when a condition held, and from which row on.

Definitions, shared by every correlation (DESIGN contract 1): windows slide and are inclusive (newest - oldest <= timespan);
rows of equal time enter together; nothing here depends on the order of arrival, since rows are sorted by time and identity first.
"""

import math
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.signatures.models import Threshold

GAMMA = 1.02
"""Ratio between the bounds of a percentile bin: values are known to 1 %."""
MICRO = 1_000_000


@dataclass(frozen=True, slots=True, order=True)
class Hit:
    """A moment at which a rule's condition held (microseconds): `at` completed it, `start` is its earliest evidence, and
    `until` (0: no longer than `at`) is how long it is known to have held without further rows, as silence does.
    """

    at: int
    start: int
    until: int = 0


@dataclass(slots=True)
class Series:
    """The rows of one group in order of time. `rule` is the index of the rule that a row is of, `value` what is measured,
    `start` the earliest evidence behind a row (its own time, unless it is the hit of another correlation).
    """

    t: list[int]
    w: list[int]
    rule: list[int]
    value: list[Hashable]
    start: list[int]


def meets(bounds: dict[str, float], value: float | None) -> bool:
    """Whether a value satisfies every operator."""
    if value is None:
        return False
    return all(_OPERATORS[name](value, bound) for name, bound in bounds.items())


_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
}


def monotone(condition: Threshold) -> bool:
    """Whether more rows can only help: then a hit needs not wait for the watermark."""
    return not set(condition.bounds()) - {"gt", "gte"}


class Measure:
    """What a window holds, kept up to date as rows enter and leave."""

    def add(self, weight: int, rule: int, value: Hashable, sign: int) -> None:
        """Let a row in (`sign` 1) or out (-1)."""
        raise NotImplementedError

    def value(self) -> float | None:
        """The measured value."""
        raise NotImplementedError


class Count(Measure):
    """Rows by weight."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, weight: int, rule: int, value: Hashable, sign: int) -> None:  # noqa: D102 (see Measure)
        self.total += sign * weight

    def value(self) -> float:  # noqa: D102 (see Measure)
        return self.total


class Distinct(Measure):
    """Distinct values; a missing value is none."""

    def __init__(self) -> None:
        self.seen: Counter[Hashable] = Counter()

    def add(self, weight: int, rule: int, value: Hashable, sign: int) -> None:  # noqa: D102 (see Measure)
        if value is not None:
            self.seen[value] += sign
            if not self.seen[value]:
                del self.seen[value]

    def value(self) -> float:  # noqa: D102 (see Measure)
        return len(self.seen)


class Rules(Measure):
    """How many rows of each rule; its value is the number of rules seen."""

    def __init__(self) -> None:
        self.seen: Counter[int] = Counter()

    def add(self, weight: int, rule: int, value: Hashable, sign: int) -> None:  # noqa: D102 (see Measure)
        self.seen[rule] += sign

    def value(self) -> float:  # noqa: D102 (see Measure)
        return sum(number > 0 for number in self.seen.values())


class Total(Measure):
    """Sum or mean of a number, in whole millionths so that the order of addition cannot matter."""

    def __init__(self, *, mean: bool) -> None:
        self.mean, self.sum, self.rows = mean, 0, 0

    def add(self, weight: int, rule: int, value: Hashable, sign: int) -> None:  # noqa: D102 (see Measure)
        if isinstance(value, int | float):
            self.sum += sign * weight * round(value * MICRO)
            self.rows += sign * weight

    def value(self) -> float | None:  # noqa: D102 (see Measure)
        if not self.rows:
            return None
        return self.sum / self.rows / MICRO if self.mean else self.sum / MICRO


class Percentile(Measure):
    """Nearest-rank percentile over fixed logarithmic bins: the same whatever the order, to 1 %."""

    def __init__(self, percent: float) -> None:
        self.percent = percent
        self.bins: Counter[int] = Counter()

    def add(self, weight: int, rule: int, value: Hashable, sign: int) -> None:  # noqa: D102 (see Measure)
        if isinstance(value, int | float):
            self.bins[bin_of(value)] += sign * weight

    def value(self) -> float | None:  # noqa: D102 (see Measure)
        total = sum(self.bins.values())
        if not total:
            return None
        rank = max(1, math.ceil(self.percent / 100 * total))
        for number in sorted(self.bins):
            rank -= self.bins[number]
            if rank <= 0:
                return value_of(number)
        return None


def bin_of(value: float) -> int:
    """The bin of a value; zero and below share the lowest."""
    return -(10**6) if value <= 0 else round(math.log(value, GAMMA))


def value_of(number: int) -> float:
    """The value that stands for a bin."""
    return 0.0 if number == -(10**6) else GAMMA**number


def slide(series: Series, span: int, measure: Measure, holds: Callable[[Measure], bool], until: int) -> list[Hit]:
    """Every row time (up to `until`) at which the window that ends there satisfies `holds`."""
    hits: list[Hit] = []
    left = 0
    # Rows of the window that start before all later ones: the first is where its evidence begins.
    earliest: deque[int] = deque()
    for begin, last in _ties(series.t):
        for row in range(begin, last + 1):
            measure.add(series.w[row], series.rule[row], series.value[row], 1)
            while earliest and series.start[earliest[-1]] >= series.start[row]:
                earliest.pop()
            earliest.append(row)
        now = series.t[last]
        if now > until:
            break
        while series.t[left] < now - span:
            measure.add(series.w[left], series.rule[left], series.value[left], -1)
            left += 1
        while earliest[0] < left:
            earliest.popleft()
        if holds(measure):
            hits.append(Hit(now, series.start[earliest[0]]))
    return hits


def _ties(times: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(first, last) index of each run of equal times."""
    begin = 0
    for at in range(1, len(times) + 1):
        if at == len(times) or times[at] != times[begin]:
            yield begin, at - 1
            begin = at


def ordered(by_rule: Sequence[Sequence[int]], span: int) -> list[Hit]:
    """Times of the last rule that complete all rules in order within the span; equal times are in order.

    The latest row of each earlier rule decides whether there is such an order; the first rule's earliest row in the span is
    where the evidence begins.
    """
    hits: list[Hit] = []
    for now in dict.fromkeys(by_rule[-1]):
        at = now
        for times in reversed(by_rule[:-1]):
            found = bisect_right(times, at)
            if not found:
                break
            at = times[found - 1]
        else:
            if now - at <= span:
                first = by_rule[0][bisect_left(by_rule[0], now - span)]
                hits.append(Hit(now, first))
    return hits


@dataclass(slots=True)
class Effects:
    """The rows of one rule in a cascade's group, with what a cause asks of them."""

    t: list[int]
    w: list[int]
    value: list[Hashable]
    start: list[int]
    within: int
    bounds: dict[str, float]
    distinct: bool
    absent: bool = False

    def completed(self, cause: int, skew: int) -> int | None:
        """The earliest time in the cause's window at which enough rows are there, or None."""
        begin, end = bisect_left(self.t, cause - skew), bisect_right(self.t, cause + self.within)
        seen: set[Hashable] = set()
        total = 0
        for row in range(begin, end):
            if self.distinct:
                if self.value[row] is not None:
                    seen.add(self.value[row])
                total = len(seen)
            else:
                total += self.w[row]
            last_of_tie = row + 1 == end or self.t[row + 1] != self.t[row]
            if last_of_tie and meets(self.bounds, total):
                return self.t[row]
        return None


def cascade(
    causes: Sequence[tuple[int, int]], effects: Sequence[Effects], span: int, skew: int, until: int
) -> tuple[list[Hit], list[int]]:
    """Causes that their effects prove, and those whose time ran out (near misses).

    `causes` are (time, earliest evidence). `absent` effects must not be complete when the time runs out; such a cause is
    decided at its deadline.
    """
    hits: list[Hit] = []
    missed: list[int] = []
    for cause, begun in dict(sorted(causes, reverse=True)).items():
        needed = [effect.completed(cause, skew) for effect in effects if not effect.absent]
        waits = any(effect.absent for effect in effects)
        if any(at is None for at in needed):
            missed.append(cause)
            continue
        if waits and (cause + span > until or any(e.completed(cause, skew) is not None for e in effects if e.absent)):
            missed.append(cause)
            continue
        complete = max([cause, *(at for at in needed if at is not None)])
        earliest = min([begun, *(_first(e, cause, skew) for e in effects if not e.absent)])
        hits.append(Hit(cause + span if waits else complete, earliest))
    return hits, missed


def _first(effect: Effects, cause: int, skew: int) -> int:
    return min(effect.start[bisect_left(effect.t, cause - skew) : bisect_right(effect.t, cause + effect.within)])


@dataclass(slots=True)
class Seconds:
    """Whole seconds of one group: start (microseconds), and what was counted in each."""

    t: list[int]
    of: list[float]
    among: list[float]


def ratio(seconds: Seconds, span: int, bounds: dict[str, float], minimum: int, until: int) -> list[Hit]:
    """Seconds at whose end the share of `of` among `among` in the window meets the bounds."""
    hits: list[Hit] = []
    left, of, among = 0, 0.0, 0.0
    for at, now in enumerate(seconds.t):
        if now + MICRO > until:
            break
        of, among = of + seconds.of[at], among + seconds.among[at]
        while seconds.t[left] < now - span:
            of, among = of - seconds.of[left], among - seconds.among[left]
            left += 1
        if among >= minimum and meets(bounds, of / among if among else None):
            first = next((seconds.t[i] for i in range(left, at + 1) if seconds.of[i]), now)
            hits.append(Hit(now + MICRO, first))
    return hits


def absence(
    gaps: Iterable[tuple[int, int | None]],
    alive: Sequence[int],
    before: Sequence[tuple[int, float]],
    span: int,
    after: tuple[float, int],
    until: int,
) -> list[Hit]:
    """Silences among `gaps` (the last second, and that in which it was seen again, if any): what fell silent was seen often
    enough `before` (second, number) until the silence is known, and `alive` seconds went on until its end.

    A silence is known at the end of the span and holds until what is missing is seen again. Where everything falls silent one is
    the first: so there must be a sign of life in the second half.
    """
    enough, within = after
    seconds = [at for at, _ in before]
    hits: list[Hit] = []
    for now, following in gaps:
        deadline = now + MICRO + span
        if deadline > until or (following is not None and following < deadline):
            continue
        number = sum(n for _, n in before[bisect_left(seconds, now - within) : bisect_left(seconds, deadline)])
        living = bisect_left(alive, deadline - span // 2) < bisect_left(alive, deadline)
        if number >= enough and living:
            hits.append(Hit(deadline, now + MICRO, min(following if following is not None else until, until)))
    return hits


def baseline(  # noqa: PLR0913 (the words of the rule language)
    seconds: Seconds, span: int, against: int, factor: float, minimum: float, *, share: bool, begun: int, until: int
) -> list[Hit]:
    """Seconds at whose end the window holds `factor` times what the same span held on average over `against` before it.

    Where less than `against` was observed (`begun` is the first second of the source), what there is counts, but never
    less than one span. With `share`, shares of `among` are compared and `minimum` is of `among`.
    """
    hits: list[Hit] = []
    for at, now in enumerate(seconds.t):
        if now + MICRO > until:
            break
        past = min(against, now - span - begun)
        if past < span:
            continue
        lo, mid = bisect_left(seconds.t, now - span - past), bisect_left(seconds.t, now - span)
        current, weight = math.fsum(seconds.of[mid : at + 1]), math.fsum(seconds.among[mid : at + 1])
        usual, usual_weight = math.fsum(seconds.of[lo:mid]), math.fsum(seconds.among[lo:mid])
        if (weight if share else current) < minimum or (share and usual_weight < minimum):
            continue  # too little to tell, now or before
        value = current / weight if share and weight else current
        expected = (usual / usual_weight if usual_weight else 0.0) if share else usual * span / past
        if value >= factor * expected and value > 0:
            hits.append(Hit(now + MICRO, next((seconds.t[i] for i in range(mid, at + 1) if seconds.of[i]), now)))
    return hits
