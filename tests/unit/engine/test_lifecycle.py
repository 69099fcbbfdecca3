"""What people have seen of an incident stays theirs: ids, threads and revisions while evidence comes late."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.lifecycle import KEPT, Book, threads
from pipeline.model.incident import Incident

SECOND = 1_000_000


def incident(started: int, last: int, *, node: str = "n1", status: str = "firing", **fields: object) -> Incident:
    """An incident of one signature on a node; times in seconds, the id follows from the start."""
    return Incident(
        id=f"{node}@{started}", signature="table-full", title="Table full", layer="node", level="medium", status=status,
        cluster="lab", group={"k8s.node.name": node}, started=started * SECOND, detected=started * SECOND, last=last * SECOND,
        ended=last * SECOND if status == "resolved" else None, rows=1, counts={}, titles={}, entities={}, cells=(), rest=0, lines=(),
        shown={}, confidence=0.7, **fields,
    )  # fmt: skip


def kinds(book: Book, incidents: list[Incident], now: int) -> list[tuple[str, str]]:
    """What an update says, as (kind, thread)."""
    return [(change.kind, change.record.thread) for change in book.update(incidents, now * SECOND)]


def test_an_incident_is_opened_once() -> None:
    """The same incident again says nothing; more rows refresh it, a higher level is a revision."""
    book = Book()
    assert kinds(book, [incident(10, 12)], 20) == [("opened", "n1@10")]
    assert kinds(book, [incident(10, 12)], 21) == []
    more = replace(incident(10, 13), counts={"line": 2})
    assert kinds(book, [more], 22) == [("refreshed", "n1@10")]
    assert kinds(book, [replace(more, level="critical")], 23) == [("revised", "n1@10")]
    assert book.records["n1@10"].revision == 2


def test_a_late_row_moves_the_start_and_the_old_id_stays_an_alias() -> None:
    """The id is that of the earlier start, the thread that of the id that was given out first."""
    book = Book()
    book.update([incident(10, 12)], 20 * SECOND)
    assert kinds(book, [incident(5, 12)], 21) == [("revised", "n1@10")]
    record = book.records["n1@10"]
    assert (record.id, record.aliases) == ("n1@5", ("n1@10",))
    assert threads(book.records) == {"n1@10": "n1@10", "n1@5": "n1@10"}


def test_an_id_that_comes_back_is_no_alias_of_itself() -> None:
    """When the start moves to and fro, every id is named once."""
    book = Book()
    for now, start in enumerate((10, 5, 10, 5)):
        book.update([incident(start, 12)], (20 + now) * SECOND)
    assert book.records["n1@10"].aliases == ("n1@10",)


def test_late_evidence_joins_two_incidents() -> None:
    """The later is merged into the earlier, whose thread goes on; ids of both lead there."""
    book = Book()
    book.update([incident(10, 12, status="resolved"), incident(400, 410)], 420 * SECOND)
    assert kinds(book, [incident(10, 410)], 421) == [("revised", "n1@10"), ("merged", "n1@400")]
    assert threads(book.records)["n1@400"] == "n1@10"
    assert kinds(book, [incident(10, 411)], 422) == [("refreshed", "n1@10")]


def test_what_nothing_supports_is_withdrawn() -> None:
    """A silence that turns out to be late rows is ended, and says so; one that had ended stays as it was."""
    book = Book()
    book.update([incident(10, 12), incident(10, 12, node="n2", status="resolved")], 20 * SECOND)
    assert kinds(book, [], 21) == [("withdrawn", "n1@10")]
    assert book.records["n1@10"].public["withdrawn"] is True
    assert kinds(book, [], 22) == []
    assert kinds(book, [incident(10, 12)], 23) == [("revised", "n1@10")]


def test_another_node_is_another_incident() -> None:
    """Only the same signature and group at the same time are the same incident."""
    book = Book()
    book.update([incident(10, 12)], 20 * SECOND)
    assert kinds(book, [incident(10, 12), incident(10, 12, node="n2")], 21) == [("opened", "n2@10")]
    assert kinds(book, [incident(10, 12), incident(10, 12, node="n2"), incident(900, 901)], 950) == [("opened", "n1@900")]


def test_the_book_lets_go_of_what_is_old() -> None:
    """Ended incidents that the engine no longer derives are kept while evidence may revise them, near misses not at all."""
    book = Book()
    book.update([incident(10, 12, status="resolved"), incident(10, 12, node="n2", status="near_miss")], 20 * SECOND)
    book.update([], 21 * SECOND)
    assert set(book.records) == {"n1@10"}
    book.update([], 13 * SECOND + KEPT)
    assert not book.records


spans = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=4, unique_by=lambda span: span[0])


@given(st.lists(spans, min_size=1, max_size=6))
def test_every_id_ever_given_leads_to_one_thread(history: list[list[tuple[int, int]]]) -> None:
    """Whatever the engine says in turn: an id once given out is found, and every present incident has exactly one open record."""
    book = Book()
    given_out: set[str] = set()
    for now, found in enumerate(history):
        incidents = [incident(start, start + length) for start, length in found]
        book.update(incidents, (100 + now) * SECOND)
        given_out |= {one.id for one in incidents}
        leads = threads(book.records)
        assert given_out <= set(leads)
        assert len({leads[one.id] for one in incidents}) == len(incidents)


@pytest.mark.parametrize("status", ["resolved", "firing"])
def test_counts_are_told_exactly_only_in_the_end(status: str) -> None:
    """One row more is a revision of an ended incident and none of a growing one."""
    book = Book()
    book.update([replace(incident(10, 12, status=status), rows=100)], 20 * SECOND)
    (change,) = book.update([replace(incident(10, 12, status=status), rows=101)], 21 * SECOND)
    assert change.kind == ("revised" if status == "resolved" else "refreshed")


def test_a_near_miss_that_grows_is_no_news() -> None:
    """Its end is that of its evidence; when it begins to fire, it opens."""
    book = Book()
    book.update([replace(incident(10, 12, status="near_miss"), ended=12 * SECOND, summary="3 of 9")], 20 * SECOND)
    (change,) = book.update([replace(incident(10, 14, status="near_miss"), ended=14 * SECOND, summary="4 of 9")], 21 * SECOND)
    assert change.kind == "refreshed"
    assert kinds(book, [incident(10, 15)], 22) == [("opened", "n1@10")]
