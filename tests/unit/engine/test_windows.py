"""What windows mean, by small examples that can be checked by hand. Times are whole seconds unless a fraction is written."""

from collections.abc import Callable, Hashable, Sequence

import pytest

from pipeline.engine import windows
from pipeline.engine.windows import Effects, Hit, Measure, Seconds, Series
from pipeline.signatures.models import Threshold

FOREVER = 10**15


def us(seconds: float) -> int:
    """Seconds in microseconds."""
    return round(seconds * 1_000_000)


def micros(*seconds: float) -> list[int]:
    """Several of them."""
    return [us(second) for second in seconds]


def shown(hits: Sequence[Hit]) -> list[tuple[float, float]]:
    """(at, start) of hits in seconds."""
    return [(hit.at / 1_000_000, hit.start / 1_000_000) for hit in hits]


def series(*seconds: float, weights: Sequence[int] = (), rules: Sequence[int] = (), values: Sequence[Hashable] = ()) -> Series:
    """One group's rows; by default of weight 1, of one rule, without a value."""
    number, times = len(seconds), micros(*seconds)
    measured: list[Hashable] = list(values) or [None] * number
    return Series(times, list(weights) or [1] * number, list(rules) or [0] * number, measured, list(times))


def slid(found: Series, span: float, measure: Measure, until: float = FOREVER, **bounds: float) -> list[tuple[float, float]]:
    """The hits of a sliding window whose measure lies within the bounds."""
    hits = windows.slide(found, us(span), measure, lambda m: windows.meets(bounds, m.value()), us(until))
    return shown(hits)


# Counting ----------------------------------------------------------------------------------------------------------------------


def test_window_is_inclusive() -> None:
    """Newest - oldest may be as long as the timespan, and not a microsecond longer."""
    assert slid(series(0, 10), 10, windows.Count(), gte=2) == [(10, 0)]
    assert slid(series(0, 10.000001), 10, windows.Count(), gte=2) == []


def test_window_slides() -> None:
    """A window is not clipped to the clock, and every row may complete one."""
    assert slid(series(59, 60, 61, 75), 2, windows.Count(), gte=2) == [(60, 59), (61, 59)]


def test_rows_of_one_moment_enter_together() -> None:
    """No count in between is seen, whatever the order of the rows."""
    assert slid(series(1, 1, 1), 5, windows.Count(), eq=2) == []
    assert slid(series(1, 1, 1), 5, windows.Count(), gte=3) == [(1, 1)]


def test_rows_weigh() -> None:
    """A row that stands for five counts as five, and leaves as five."""
    assert slid(series(0, 1, 20, weights=[5, 1, 1]), 10, windows.Count(), gte=6) == [(1, 0)]


def test_a_range_has_two_ends() -> None:
    """`gt` and `lte` together: two or three rows, not four."""
    assert slid(series(0, 1, 2, 3), 10, windows.Count(), gt=1, lte=3) == [(1, 0), (2, 0)]


def test_thresholds_may_be_fractions() -> None:
    """`gte: 1.5` is met by two, and not cut to one."""
    assert slid(series(0, 1), 10, windows.Count(), gte=1.5) == [(1, 0)]


def test_nothing_is_decided_beyond_the_watermark() -> None:
    """Rows later than `until` do not hit."""
    assert slid(series(0, 1, 2), 10, windows.Count(), until=1, gte=1) == [(0, 0), (1, 0)]


@pytest.mark.parametrize(
    ("bounds", "monotone"),
    [({"gte": 1}, True), ({"gt": 1}, True), ({"gte": 1, "lte": 5}, False), ({"eq": 1}, False), ({"neq": 1}, False)],
)
def test_only_lower_bounds_need_no_watermark(bounds: dict[str, float], monotone: bool) -> None:  # noqa: FBT001 (a case)
    """More rows cannot undo a lower bound."""
    assert windows.monotone(Threshold.model_validate(bounds)) == monotone


# Values ------------------------------------------------------------------------------------------------------------------------


def test_distinct_values_leave_with_their_last_row() -> None:
    """A value is in the window as long as one row of it is; a missing value is none."""
    found = series(0, 1, 2, 11.5, values=["a", "b", "a", None])
    assert slid(found, 10, windows.Distinct(), gte=2) == [(1, 0), (2, 0)]


def test_sums_and_means_do_not_drift() -> None:
    """Ten times a tenth is one, exactly, and rows without a number are no zeros."""
    tenths = series(*range(10), values=[0.1] * 10)
    assert slid(tenths, 60, windows.Total(mean=False), gte=1) == [(9, 0)]
    assert slid(series(0, 1, values=[4, None]), 60, windows.Total(mean=True), eq=4) == [(0, 0), (1, 0)]
    assert slid(series(0, values=[None]), 60, windows.Total(mean=False), gte=0) == []


def test_mean_weighs() -> None:
    """A row that stands for three has three times the say."""
    assert slid(series(0, 1, weights=[3, 1], values=[1, 5]), 60, windows.Total(mean=True), eq=2) == [(1, 0)]


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 2), (75, 3), (76, 4), (100, 4)])
def test_percentile_is_the_nearest_rank(percent: float, value: float) -> None:
    """Of four values, each known to 1 %."""
    measure = windows.Percentile(percent)
    for number in (3, 1, 4, 2):
        measure.add(1, 0, number, 1)
    assert measure.value() == pytest.approx(value, rel=0.01)


def test_percentile_forgets_what_left() -> None:
    """And has no value when everything has; zero and below are zero."""
    measure = windows.Percentile(100)
    measure.add(2, 0, -3.0, 1)
    assert measure.value() == 0
    measure.add(1, 0, 7.0, 1)
    measure.add(1, 0, 7.0, -1)
    assert measure.value() == 0
    measure.add(2, 0, -3.0, -1)
    assert measure.value() is None


@pytest.mark.parametrize("value", [1e-9, 0.004, 1, 99.5, 1e12])
def test_bins_know_values_to_one_percent(value: float) -> None:
    """At any magnitude."""
    assert windows.value_of(windows.bin_of(value)) == pytest.approx(value, rel=0.01)


# Several rules -----------------------------------------------------------------------------------------------------------------


def test_rules_are_counted_once_each() -> None:
    """Two rows of one rule are not two rules."""
    assert slid(series(0, 1, 2, rules=[0, 0, 1]), 10, windows.Rules(), gte=2) == [(2, 0)]


@pytest.mark.parametrize(
    ("first", "second", "times"),
    [([0], [10], [10]), ([0], [10.000001], []), ([5], [5], [5]), ([6], [5], []), ([0, 4], [3, 20], [3]), ([], [1], [])],
    ids=["at the edge", "too late", "equal times", "wrong order", "first of two", "nothing before"],
)
def test_order(first: list[float], second: list[float], times: list[float]) -> None:
    """All rules in order within ten seconds; rows of one moment are in order."""
    found = windows.ordered([micros(*first), micros(*second)], us(10))
    assert [at for at, _ in shown(found)] == times


def test_order_of_three_uses_rows_between() -> None:
    """The second rule must stand between the first and the third, not only anywhere in the window."""
    assert windows.ordered([micros(1), micros(0), micros(2)], us(10)) == []
    assert [at for at, _ in shown(windows.ordered([micros(0), micros(1, 5), micros(2)], us(10)))] == [2]


# Whole seconds -----------------------------------------------------------------------------------------------------------------


def shares(until: float = FOREVER, minimum: int = 1) -> list[tuple[float, float]]:
    """Where in four seconds at least half are bad, within two seconds."""
    found = Seconds(micros(0, 1, 2, 3), [0, 3, 0, 0], [2, 3, 1, 3])
    return shown(windows.ratio(found, us(2), {"gte": 0.5}, minimum, us(until)))


def test_share_is_decided_at_the_end_of_a_second() -> None:
    """3 of 5, 3 of 6, 3 of 7: the first two; it begins with the first second that had a bad one."""
    assert shares() == [(2, 1), (3, 1)]


def test_share_needs_enough_rows() -> None:
    """The minimum is of all rows in the window."""
    assert shares(minimum=6) == [(3, 1)]


def test_share_waits_for_the_watermark() -> None:
    """A second that is not over is not decided."""
    assert shares(until=2.999999) == [(2, 1)]


def silences(of: list[float], alive: list[float], until: float = FOREVER, enough: float = 1) -> list[tuple[float, float]]:
    """Silences of ten seconds after at least `enough` rows within a minute."""
    before = [(second, 1.0) for second in micros(*of)]
    limits = enough, us(60)
    gaps = zip(micros(*of), [*micros(*of[1:]), None], strict=True)
    return shown(windows.absence(gaps, micros(*alive), before, us(10), limits, us(until)))


def test_silence_begins_when_the_last_second_is_over() -> None:
    """Last seen in second 3: silent from 4, known at 14."""
    assert silences([2, 3], [9]) == [(14, 4)]
    assert silences([2, 3], [9], until=13.9) == []


def test_silence_of_a_dead_source_is_unknown() -> None:
    """Alive before the silence or after it does not help."""
    assert silences([3], [0, 3]) == []
    assert silences([3], [14, 15]) == []
    assert silences([3], [13]) == [(14, 4)]


def test_who_falls_silent_first_of_all_is_not_accused() -> None:
    """Alive in the first half of the silence alone does not help either: then everything has ended."""
    assert silences([3], [4, 8]) == []
    assert silences([3], [9]) == [(14, 4)]


def test_silence_needs_a_past() -> None:
    """What was hardly ever seen is not missed."""
    assert silences([1, 2], [9], enough=3) == []
    assert silences([0, 1, 2], [9], enough=3) == [(13, 3)]
    assert silences([0, 60], [69], enough=2) == [(71, 61)]
    assert silences([0, 61], [69], enough=2) == []


def test_silence_ends_when_it_is_broken() -> None:
    """A row just before the end of the span breaks it; every silence counts for itself."""
    assert silences([0, 10, 30], [9, 19, 39]) == [(21, 11), (41, 31)]
    assert silences([0, 11], [9]) == [(11, 1)]


def surges(of: list[float], begun: float = 0, **more: float) -> list[tuple[float, float]]:
    """Where within two seconds of counts (one a second from 0) three times the usual of the six before is reached."""
    found = Seconds(micros(*range(len(of))), of, [0.0] * len(of))
    minimum = more.get("minimum", 1)
    hits = windows.baseline(found, us(2), us(6), 3, minimum, share=False, begun=us(begun), until=FOREVER)
    return shown(hits)


def test_surge_over_the_usual() -> None:
    """One a second is two in two seconds; six of them are a surge, five are not."""
    assert surges([1, 1, 1, 1, 1, 1, 1, 1, 4]) == [(9, 6)]
    assert surges([1, 1, 1, 1, 1, 1, 1, 1, 3]) == []


def test_surge_needs_a_minimum() -> None:
    """Three times almost nothing is nothing."""
    assert surges([1, 1, 1, 1, 1, 1, 1, 1, 4], minimum=7) == []


def test_surge_with_a_short_past() -> None:
    """What there is of the past counts, once it is as long as the window."""
    assert surges([1, 1, 9]) == []
    assert surges([1, 1, 1, 1, 9]) == [(5, 2)]
    assert surges([1, 1, 1, 1, 9], begun=0.5) == []


def test_surge_from_nothing() -> None:
    """Of what was never seen while its source was observed, any number from the minimum on is a surge."""
    found = Seconds(micros(100), [5], [0.0])
    hits = windows.baseline(found, us(2), us(6), 3, 5, share=False, begun=0, until=FOREVER)
    assert shown(hits) == [(101, 100)]


def test_surge_of_a_share() -> None:
    """Shares are compared with shares: twice the traffic with twice the errors is none."""
    counts: list[float] = [1, 1, 1, 1, 2, 2, 2]
    rows: list[float] = [10, 10, 10, 10, 20, 20, 20]

    def surges_of(counted: list[float]) -> list[tuple[float, float]]:
        found = Seconds(micros(*range(7)), counted, rows)
        return shown(windows.baseline(found, us(2), us(6), 3, 1, share=True, begun=0, until=FOREVER))

    assert surges_of(counts) == []
    assert surges_of([*counts[:6], 20]) == [(7, 4)]


# Cascades ----------------------------------------------------------------------------------------------------------------------


def effect(*seconds: float, within: float = 10, absent: bool = False, **bounds: float) -> Effects:
    """An effect seen at these times, of which at least one (or `bounds`) must be there."""
    number = len(seconds)
    times = micros(*seconds)
    none: list[Hashable] = [None] * number
    return Effects(times, [1] * number, none, times, us(within), bounds or {"gte": 1}, distinct=False, absent=absent)


def proven(causes: Sequence[float], *effects: Effects, skew: float = 0, until: float = FOREVER) -> list[tuple[float, float]]:
    """The hits of a cascade of twenty seconds."""
    hits, _ = windows.cascade([(us(cause), us(cause)) for cause in causes], effects, us(20), us(skew), us(until))
    return shown(hits)


def test_cascade_needs_every_effect() -> None:
    """It is complete with the last of them."""
    assert proven([0], effect(3), effect(5, 7, gte=2)) == [(7, 0)]
    assert proven([0], effect(3), effect()) == []


def test_effects_have_their_own_time() -> None:
    """Up to `within` after the cause, inclusive."""
    assert proven([0], effect(10)) == [(10, 0)]
    assert proven([0], effect(10.000001)) == []


@pytest.mark.parametrize(("skew", "hits"), [(0, []), (4.999999, []), (5, [(10, 5)])])
def test_skew_lets_an_effect_come_first(skew: float, hits: list[tuple[float, float]]) -> None:
    """Then the cause completes it, and the effect is the earliest evidence."""
    assert proven([10], effect(5), skew=skew) == hits


def test_absent_is_decided_at_the_end_of_the_timespan() -> None:
    """Not before, and not if it was seen, from `skew` before the cause on."""
    assert proven([0], effect(3), effect(absent=True)) == [(20, 0)]
    assert proven([0], effect(3), effect(absent=True), until=19.9) == []
    assert proven([0], effect(3), effect(9, absent=True)) == []
    assert proven([10], effect(13), effect(9, absent=True), skew=1) == []
    assert proven([10], effect(13), effect(9, absent=True)) == [(30, 10)]
    assert proven([0], effect(3), effect(9, absent=True, gte=2)) == [(20, 0)]


def test_a_cause_without_effects_is_a_near_miss() -> None:
    """It is kept, and told apart from one that is proven."""
    hits, missed = windows.cascade([(us(0), us(0)), (us(100), us(100))], [effect(3)], us(20), 0, FOREVER)
    assert (shown(hits), missed) == ([(3, 0)], micros(100))


def test_causes_of_one_moment_are_one() -> None:
    """Equal times give one hit."""
    assert proven([0, 0, 0], effect(3)) == [(3, 0)]


@pytest.mark.parametrize("make", [windows.Count, windows.Distinct, windows.Rules, lambda: windows.Total(mean=False)])
def test_empty_series_never_hits(make: Callable[[], Measure]) -> None:
    """No rows, no window."""
    assert slid(series(), 10, make(), gte=0) == []
