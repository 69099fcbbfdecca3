"""What is said to whom and when, driven with records and times by hand."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.config import Route
from pipeline.contracts.store import Matcher, Silence
from pipeline.errors import StateError
from pipeline.model import public
from pipeline.model.incident import Record
from pipeline.runtime.dispatch import Dispatcher
from pipeline.runtime.ledger import Intent
from tests.components import lives
from tests.components.lives import HOUR, SECOND, START

MINUTE = 60 * SECOND
DAY = 24 * HOUR
AT_ONCE: dict[str, Any] = {"receiver": "chat", "group_wait": "0s", "group_interval": "0s"}


def firing(identity: str, **changes: Any) -> Record:
    """An incident that goes on, on a node of its own."""
    given = {"status": "firing", "ended": None, **lives.on(node=identity), "summary": f"{identity} is broken"}
    return lives.record(lives.incident(identity, **{**given, **changes}), opened=START)


def changed(record: Record, **changes: Any) -> Record:
    """The next revision."""
    return lives.again(record, dataclasses.replace(record.incident, **changes))


def over(record: Record, at: int = START) -> Record:
    return changed(record, status="resolved", ended=at)


def below(record: Record, cause: Record) -> Record:
    return changed(record, cause=cause.id)


class Desk:
    """A dispatcher with the records of the moment; times are seconds from the start. With `restarts` it is replaced by one that
    was restored after each decision.
    """

    def __init__(self, route: dict[str, Any] | None = None, *, updates: bool = True, silences: Sequence[Silence] = ()) -> None:
        self.route = Route.model_validate(AT_ONCE if route is None else route)
        self.updates = {"chat": updates, "pager": updates, "team": updates}
        self.silences = list(silences)
        self.records: dict[str, Record] = {}
        self.made = Dispatcher(self.route, self.updates, "https://hw.example")

    def decide(self, seconds: float, *records: Record) -> list[Intent]:
        self.records.update({record.thread: record for record in records})
        saved, now = self.made.snapshot(), START + round(seconds * SECOND)
        intents = self.made.decide(self.records, self.silences, now)
        again = Dispatcher(self.route, self.updates, "https://hw.example", saved)
        assert again.decide(dict(reversed(self.records.items())), self.silences, now) == intents
        assert (again.snapshot(), again.due()) == (self.made.snapshot(), self.made.due())
        assert self.made.decide(self.records, self.silences, now) == []
        return intents

    def said(self, seconds: float, *records: Record) -> list[tuple[str, str, str]]:
        """Thread, event and whom it is about."""
        return [
            (i.notification.thread, i.notification.event, i.notification.incident.get("id", ""))
            for i in self.decide(seconds, *records)
        ]

    def due(self) -> float | None:
        due = self.made.due()
        return None if due is None else (due - START) / SECOND


def test_an_incident_is_told_of_from_its_beginning_to_its_end() -> None:
    """Opened, updated with each revision, resolved; nothing is said twice."""
    desk, a = Desk(), firing("a")
    (intent,) = desk.decide(1, a)
    assert intent.receiver == "chat"
    assert (intent.notification.key, intent.notification.link) == ("a.a.1.opened", "https://hw.example/a")
    assert intent.notification.labels["node"] == "a"
    assert intent.notification.at == START + SECOND
    a = changed(a, level="critical")
    assert desk.said(2, a) == [("a", "updated", "a")]
    assert desk.said(3, over(a)) == [("a", "resolved", "a")]
    assert desk.said(4, changed(over(a), rows=10)) == []
    assert desk.due() is None


def test_what_is_no_incident_is_not_told() -> None:
    """Near misses and vetoed ones, and what hangs below a cause."""
    cause = firing("c")
    symptom = firing("s", cause="c")
    assert Desk().said(1, firing("n", status="near_miss"), firing("v", vetoed=True)) == []
    (told,) = Desk().decide(1, firing("c", symptoms=("s",)), symptom)
    assert [below["id"] for below in told.notification.symptoms] == ["s"]
    assert cause.thread == told.notification.thread


def test_the_first_of_a_group_waits_and_further_ones_keep_their_distance() -> None:
    """group_wait before the first; group_interval between all others: a new incident, a change, an end."""
    desk = Desk({"receiver": "chat", "group_by": ["cluster"], "group_wait": "30s", "group_interval": "5m"})
    a = firing("a")
    assert desk.said(0, a) == []
    assert desk.due() == 30
    assert desk.said(10, firing("b")) == []
    assert desk.said(30) == [("a", "opened", "a"), ("b", "opened", "b")]
    assert desk.said(40, firing("c"), over(a)) == []
    assert desk.due() == 330
    assert desk.said(330) == [("a", "resolved", "a"), ("c", "opened", "c")]


def test_without_group_by_each_incident_is_a_group() -> None:
    """So that one does not wait for another."""
    desk = Desk({"receiver": "chat", "group_wait": "30s"})
    desk.decide(0, firing("a"))
    assert desk.said(20, firing("b")) == []
    assert desk.said(30) == [("a", "opened", "a")]
    assert desk.said(50) == [("b", "opened", "b")]


def test_what_goes_on_is_said_again() -> None:
    """After repeat_interval, with a key of its own; a change puts it off."""
    desk, a = Desk(AT_ONCE | {"repeat_interval": "1h"}), firing("a")
    desk.decide(0, a)
    assert desk.due() == 3600
    keys = [intent.notification.key for at in (3599, 3600, 5000, 7200) for intent in desk.decide(at)]
    assert keys == ["a.a.1.updated.1", "a.a.1.updated.2"]
    desk.decide(8000, changed(a, level="critical"))
    assert desk.due() == 11600


def test_a_cause_goes_on_in_the_conversation_of_its_symptom() -> None:
    """People were told of the symptom: that message becomes the cause's, and only the other symptoms' are closed."""
    desk, one, two = Desk(), firing("s1"), firing("s2")
    desk.decide(1, one)
    desk.decide(2, two)
    cause = firing("c", symptoms=("s1", "s2"))
    first, second = desk.decide(3, cause, below(one, cause), below(two, cause))
    assert (first.notification.thread, first.notification.event, first.notification.key) == ("s1", "updated", "s1.c.1.updated")
    assert (second.notification.thread, second.notification.event) == ("s2", "folded")
    assert second.notification.part_of is not None
    assert second.notification.part_of["summary"] == "c is broken"
    assert desk.said(4, over(cause)) == [("s1", "resolved", "c")]


def test_a_cause_with_a_conversation_of_its_own_keeps_it() -> None:
    """What then turns out to be its symptom is folded, and has its own message back when it stands for itself."""
    desk, cause, symptom = Desk(), firing("c"), firing("s")
    desk.decide(1, symptom)
    desk.decide(2, cause)
    symptom = below(symptom, cause)
    assert desk.said(3, symptom) == [("s", "folded", "s")]
    assert desk.said(4, changed(symptom, cause=None)) == [("s", "opened", "s")]


def test_a_symptom_gets_its_conversation_back_from_its_former_cause() -> None:
    """The cause, if it goes on, opens its own."""
    desk, symptom, cause = Desk(), firing("s"), firing("c")
    desk.decide(1, symptom)
    symptom = below(symptom, cause)
    assert desk.said(2, cause, symptom) == [("s", "updated", "c")]
    assert desk.said(3, changed(symptom, cause=None)) == [("c", "opened", "c"), ("s", "updated", "s")]


def test_a_cause_that_is_withdrawn_leaves_the_conversation_to_its_symptom() -> None:
    """Nothing is said of a withdrawn incident but where it was told."""
    desk, symptom, cause = Desk(), firing("s"), firing("c")
    desk.decide(1, symptom)
    symptom = below(symptom, cause)
    desk.decide(2, cause, symptom)
    gone = over(cause)
    gone = dataclasses.replace(gone, public={**gone.public, "withdrawn": True})
    assert desk.said(3, gone, changed(symptom, cause=None)) == [("s", "updated", "s")]


def test_what_was_merged_is_folded() -> None:
    """Or its conversation goes on, when the other had none."""
    desk, early, late = Desk(), firing("e"), firing("l")
    desk.decide(1, late)
    merged = dataclasses.replace(late, merged_into="e", revision=2)
    assert desk.said(2, early, merged) == [("l", "updated", "e")]
    desk = Desk()
    desk.decide(1, early, late)
    assert desk.said(2, merged) == [("l", "folded", "l")]


def test_an_incident_that_ended_before_it_was_told() -> None:
    """It is said once, as over; after an hour it is only in the store, and never when it was withdrawn."""
    desk = Desk()
    ended = lives.record(lives.incident("a", ended=START), opened=START)
    assert desk.said(60, ended) == [("a", "resolved", "a")]
    assert desk.said(61, changed(ended, rows=11)) == []
    assert Desk().said(3600, ended) == []
    assert Desk().said(60, dataclasses.replace(ended, public={**ended.public, "withdrawn": True})) == []


def test_what_is_withdrawn_is_resolved_visibly() -> None:
    """Also where its record has become a near miss, or is gone."""
    for happens in ("withdrawn", "near miss", "gone"):
        desk, a = Desk(), firing("a")
        desk.decide(1, a)
        later = over(a)
        later = dataclasses.replace(later, public={**later.public, "withdrawn": True})
        desk.records = {"withdrawn": {"a": later}, "near miss": {"a": changed(a, status="near_miss")}, "gone": {}}[happens]
        (intent,) = desk.decide(2)
        assert (intent.notification.event, intent.notification.incident["withdrawn"]) == ("resolved", True)
        assert public.microseconds(intent.notification.incident["ended"])
        desk.records = {}
        assert desk.said(3) == []


def test_a_receiver_that_cannot_follow_hears_of_beginning_rise_and_end() -> None:
    """And of a cause, which is a beginning too; not of repeats."""
    desk, a = Desk(AT_ONCE | {"repeat_interval": "1m"}, updates=False), firing("a", level="medium")
    assert desk.said(1, a) == [("a", "opened", "a")]
    a = changed(a, rows=99)
    assert desk.said(2, a) == []
    assert desk.said(3, changed(a, level="low")) == []
    a = changed(a, level="critical")
    assert desk.said(4, a) == [("a", "updated", "a")]
    assert desk.said(500) == []
    cause = firing("c")
    a = below(a, cause)
    assert desk.said(501, cause, a) == [("a", "updated", "c")]
    assert desk.said(502, over(cause)) == [("a", "resolved", "c")]


def test_a_silence_holds_back_what_begins() -> None:
    """Until it ends; what still goes on then is told. What was told before is ended all the same."""
    silence = Silence("1", (Matcher("node", "=~", "a|b"),), START, START + HOUR, "me", "known")
    desk, a, b = Desk(), firing("a"), firing("b")
    desk.decide(1, b)
    desk.silences = [silence]
    assert desk.said(2, a, changed(b, level="critical"), firing("other")) == [("other", "opened", "other")]
    assert desk.due() == 3600
    assert desk.said(10, over(changed(b, level="critical"))) == [("b", "resolved", "b")]
    assert desk.said(3600) == [("a", "opened", "a")]


def test_what_begins_and_ends_within_a_silence_is_never_told() -> None:
    """Neither then nor when the silence is over; if it comes back after that, it is."""
    desk, a = Desk(silences=[Silence("1", (Matcher("node", "=", "a"),), START, START + HOUR, "me", "")]), firing("a")
    assert desk.said(1, a) == []
    assert desk.said(3000, ended := over(a, START + 3000 * SECOND)) == []
    assert desk.due() is None
    assert desk.said(3600) == []
    assert desk.said(3700, changed(ended, status="firing", ended=None)) == [("a", "opened", "a")]


def test_what_was_told_is_ended_although_its_cause_is_silenced() -> None:
    """The cause is not told in its conversation, and gets one of its own when the silence is over."""
    desk, symptom, cause = Desk(), firing("s"), firing("c")
    desk.decide(1, symptom)
    desk.silences = [Silence("1", (Matcher("node", "=", "c"),), START, START + HOUR, "me", "")]
    symptom = below(symptom, cause)
    assert desk.said(2, cause, symptom) == []
    assert desk.said(3, over(symptom)) == [("s", "resolved", "s")]
    assert desk.said(3600) == [("c", "opened", "c")]


def test_beyond_the_cap_comes_a_digest() -> None:
    """One a day, edited as it grows, at most once a group_interval; updates and ends of what was told go on."""
    route = {"receiver": "chat", "group_wait": "0s", "group_interval": "5m", "daily_cap": 1}
    desk, a, b = Desk(route), firing("a"), firing("b")
    assert desk.said(0, a) == [("a", "opened", "a")]
    (first,) = desk.decide(1, b)
    assert (first.notification.event, first.notification.digest) == ("digest", ("04:00:00 HIGH: b is broken",))
    assert desk.said(2, firing("c")) == []
    assert desk.due() == 301
    own = firing("o", layer="headwater")
    assert desk.said(3, own) == [("o", "opened", "o")]
    (second,) = desk.decide(301, over(b))
    assert second.notification.thread == first.notification.thread
    assert second.notification.digest == ("04:00:00 HIGH: b is broken (ended)", "04:00:00 HIGH: c is broken")
    assert first.notification.key != second.notification.key
    assert desk.said(400, over(a)) == [("a", "resolved", "a")]


def test_a_digest_is_closed_when_its_day_is_over() -> None:
    """Once, with all that it held, also what was still waiting; the next day opens conversations again."""
    desk = Desk({"receiver": "chat", "group_wait": "0s", "group_interval": "5m", "repeat_interval": "2d", "daily_cap": 1})
    midnight = (DAY - START % DAY) / SECOND
    desk.decide(0, firing("a"))
    (first,) = desk.decide(1, firing("b"))
    assert desk.due() == midnight
    desk.decide(midnight - 200, firing("c"))
    assert desk.said(midnight - 1, firing("d")) == []
    assert desk.due() == midnight
    (last,) = desk.decide(midnight)
    assert (last.notification.thread, last.notification.event) == (first.notification.thread, "resolved")
    assert len(last.notification.digest) == 3
    assert desk.said(midnight + 1, firing("e")) == [("e", "opened", "e")]


def test_each_receiver_has_its_own_conversations() -> None:
    """One that is routed only the symptom hears of its cause as well, in the same conversation; another only of the cause."""
    route = {
        "routes": [
            {**AT_ONCE, "receiver": "team", "matchers": ["node=s"]},
            {**AT_ONCE, "receiver": "pager", "matchers": ["node=c"]},
        ]
    }
    desk, symptom, cause = Desk(route), firing("s"), firing("c")
    assert [intent.receiver for intent in desk.decide(1, symptom)] == ["team"]
    found = {i.receiver: (i.notification.thread, i.notification.event) for i in desk.decide(2, cause, below(symptom, cause))}
    assert found == {"team": ("s", "updated"), "pager": ("c", "opened")}


def test_a_clock_that_is_set_back_makes_nothing_wait_longer() -> None:
    """What was noted moves with it."""
    desk, a = Desk({"receiver": "chat", "group_wait": "0s", "group_interval": "5m"}), firing("a")
    desk.decide(7200, a)
    assert desk.said(3600, changed(a, level="critical")) == []
    assert desk.due() == 3900


def test_a_receiver_that_is_gone_is_forgotten() -> None:
    """The configuration has changed over a restart."""
    desk = Desk(AT_ONCE | {"daily_cap": 1})
    desk.decide(1, firing("a"), firing("b"))
    again = Dispatcher(desk.route, {"other": True}, None, desk.made.snapshot())
    assert again.decide({}, [], START + DAY) == []


def test_what_cannot_be_restored_is_an_error() -> None:
    """Damaged, or of another version."""
    for saved, why in ((b"{", "damaged"), (b'{"format": 1}', "damaged"), (b'{"format": 9}', "another version")):
        with pytest.raises(StateError, match=why):
            Dispatcher(Route(), {}, None, saved)
