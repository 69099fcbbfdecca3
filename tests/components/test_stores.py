"""The battery for every store there is: what the contract in `pipeline.contracts.store` promises, tried on each.

Stores are found by walking, so a new one is tested without an edit here. Where its settings need something that runs, a module
`tests/components/<name>_store.py` with `settings(folder)` starts it.
"""

import dataclasses
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import contracts
from pipeline.contracts.store import Feedback, Matcher, Query, Silence, Store
from pipeline.errors import StoreError
from pipeline.model import public
from tests.components.lives import HOUR, SECOND, START, again, incident, on, record, replayed

STORES = contracts.names("stores")


def made(name: str, folder: Path) -> Store:
    """An empty store that keeps what it keeps below a folder."""
    module = contracts.find("stores", name)
    helper = f"tests.components.{name}_store"
    settings = importlib.import_module(helper).settings(folder) if importlib.util.find_spec(helper) else module.Settings()
    store: Store = module.create(settings, contracts.Context(cluster="lab", state=folder, name=name))
    return store


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each store, empty."""
    opened = made(request.param, tmp_path)
    yield opened
    opened.close()
    opened.close()


def threads(store: Store, query: Query) -> list[str]:
    """The incidents that a query gives."""
    return [found.thread for found in store.incidents(query)]


def found(store: Store, text: str, query: Query | None = None) -> list[str]:
    """The incidents that a search gives."""
    return [hit.incident.thread for hit in store.search(text, query or Query())]


# ---- keeping


@pytest.mark.parametrize("recording", ["conntrack-table-full", "coredns-oom-crashloop"])
def test_what_is_kept_comes_back_as_it_was(store: Store, recording: str) -> None:
    """The public form of every incident of a replay, evidence lines and their order included."""
    records = replayed(recording)
    store.save(records, START)
    for one in records:
        kept = store.incident(one.id)
        assert kept is not None
        assert kept.incident == public.as_dict(one.incident)
        assert (kept.thread, kept.id, kept.aliases, kept.merged_into, kept.revision) == (one.thread, one.id, (), None, 1)


def test_saving_again_changes_nothing(store: Store) -> None:
    """Neither a revision nor a hit more, however often a record comes."""
    records = replayed("conntrack-table-full")
    store.save(records, START)
    before = [store.incident(one.id) for one in records]
    hits = found(store, "conntrack")
    store.save([*records, *records], START + HOUR)
    store.save((), START + HOUR)
    assert [store.incident(one.id) for one in records] == before
    assert found(store, "conntrack") == hits


def test_a_revision_is_kept_for_every_new_number(store: Store) -> None:
    """Oldest first, with the time it was made known; its evidence lines are only in the incident itself."""
    first = record(incident("aaaaaa1", lines=["table full"], ended=None, status="firing", level="medium"))
    second = again(first, incident("aaaaaa1", lines=["table full", "dropping packet"], level="critical"))
    store.save([first], START)
    store.save([second], START)
    kept = store.incident("aaaaaa1")
    assert kept is not None
    assert [(number, at, form["level"]) for number, at, form in kept.revisions] == [
        (1, first.updated, "medium"), (2, second.updated, "critical"),
    ]  # fmt: skip
    assert [form["evidence"]["lines"] for _, _, form in kept.revisions] == [[], []]
    assert [line["text"] for line in kept.incident["evidence"]["lines"]] == ["table full", "dropping packet"]


def test_counts_that_grow_need_no_revision(store: Store) -> None:
    """The incident is kept as it is now, the revision as it was made known."""
    first = record(incident("aaaaaa1", rows=9))
    store.save([first], START)
    store.save([again(first, incident("aaaaaa1", rows=10), revision=1)], START)
    kept = store.incident("aaaaaa1")
    assert kept is not None
    assert kept.incident["evidence"]["rows"] == 10
    assert [form["evidence"]["rows"] for _, _, form in kept.revisions] == [9]


def test_every_id_it_ever_had_finds_it(store: Store) -> None:
    """The present one, those before it, and the beginning of one where no other begins so."""
    first = record(incident("aaaaaa111"))
    store.save([first, record(incident("cccccc333", at=START + HOUR))], START)
    store.save([again(first, incident("bbbbbb222", at=START - SECOND), id="bbbbbb222", aliases=("aaaaaa111",))], START)
    for identity in ("aaaaaa111", "bbbbbb222", "aaaaaa", "bbbbbb2"):
        kept = store.incident(identity)
        assert kept is not None
        assert (kept.thread, kept.id, kept.aliases) == ("aaaaaa111", "bbbbbb222", ("aaaaaa111",))


@pytest.mark.parametrize("identity", ["", "a", "aaaaa", "aaaaaa", "nothing", "aaaaaa1%", "aaaaaa_", "*", "'", "\U0010ffff" * 6])
def test_what_is_no_id_of_one_incident_finds_none(store: Store, identity: str) -> None:
    """Too short a beginning, one of several, and what is none."""
    store.save([record(incident("aaaaaa1")), record(incident("aaaaaa2", at=START + HOUR))], START)
    assert store.incident(identity) is None


def test_a_merged_incident_points_to_where_it_went(store: Store) -> None:
    """Its own id still finds it; lists, searches and statistics count the disaster once."""
    into, other = record(incident("aaaaaa1")), record(incident("bbbbbb2", at=START + SECOND))
    store.save([into, other], START)
    store.save([dataclasses.replace(other, merged_into="aaaaaa1", revision=2)], START)
    kept = store.incident("bbbbbb2")
    assert kept is not None
    assert kept.merged_into == "aaaaaa1"
    assert threads(store, Query()) == found(store, "conntrack") == ["aaaaaa1"]
    assert [one.count for one in store.statistics(Query())] == [1]
    assert not store.similar("aaaaaa1")


# ---- lists


def some(store: Store) -> None:
    """A root with a symptom, an older one elsewhere that goes on, a near miss."""
    store.save(
        [
            record(incident("aaaaaa1", at=START + HOUR, level="critical")),
            record(incident("bbbbbb2", at=START + HOUR + SECOND, signature="ingress-timeout", layer="ingress", below=["aaaaaa1"],
                            **on(namespace="shop", workload="cart"))),
            record(incident("cccccc3", signature="dns-loop", layer="dns", status="firing", ended=None, **on(node="node-c", zone="b"))),
            record(incident("dddddd4", at=START + 2 * HOUR, signature="dns-loop", layer="dns", status="near_miss")),
        ],
        START,
    )  # fmt: skip


LISTS = {
    "everything, newest first": (Query(), "dbac"),
    "roots": (Query(roots=True), "ac"),
    "the newest": (Query(roots=True, limit=1), "a"),
    "since: what goes on is always there": (Query(since=START + 90 * 60 * SECOND), "dc"),
    "since: what ended just then": (Query(since=START + HOUR + 60 * SECOND), "dbac"),
    "until": (Query(until=START + HOUR), "ac"),
    "between": (Query(since=START, until=START), "c"),
    "signature": (Query(signature="dns-loop"), "dc"),
    "layer": (Query(layer="ingress"), "b"),
    "level": (Query(level="critical"), "a"),
    "status": (Query(status="near_miss"), "d"),
    "entity": (Query(entity="node-c"), "c"),
    "entity by key": (Query(entity="cloud.availability_zone=b"), "c"),
    "entity by another key": (Query(entity="k8s.pod.name=b"), ""),
    "entity in a namespace": (Query(entity="shop/cart"), "b"),
    "entity in another namespace": (Query(entity="media/cart"), ""),
    "all must hold": (Query(layer="dns", entity="node-b"), "d"),
    "nothing": (Query(signature="' OR 1"), ""),
}


@pytest.mark.parametrize("what", LISTS)
def test_lists_by_filters(store: Store, what: str) -> None:
    """All that are given must hold."""
    some(store)
    query, expected = LISTS[what]
    assert [thread[0] for thread in threads(store, query)] == list(expected)


# ---- search


def logged(store: Store) -> None:
    """Two incidents with lines of logs, one of them with a note."""
    nf = "nf_conntrack: nf_conntrack: table full in netns 4026534055, dropping packet"
    timeout = 'upstream timed out (110: Connection timed out), client: 10.244.2.10, host: "shöp.example.com" 100%'
    store.save([record(incident("aaaaaa1", lines=[nf, nf + "!"]))], START)
    other = incident(
        "bbbbbb2", at=START + HOUR, signature="ingress-timeout", title="Upstreams time out", summary="Nobody answers", lines=[timeout],
        **on(namespace="shop", workload="cart"),
    )  # fmt: skip
    store.save([record(other)], START)
    store.add_feedback(Feedback("bbbbbb2", START, "wrong", "alice", "mtu-blackhole", "The tunnel lost 50 bytes"))


SEARCHES = {
    "conntrack": "a", "CONNTRACK": "a", "nf_conntrack": "a", "table packet": "a", "packet table": "a", "conntrack node-b": "a",
    "conntr*": "a", "conntr": "", "full*": "a", '"table full"': "a", '"full table"': "", '"table fu"*': "a", '"dropping packet': "a",
    "10.244.2.10": "b", "10.244.2": "b", "10.2": "", "shop/cart": "b", "ingress-timeout": "b", "shöp": "b", "SHOP.example": "b",
    "tunnel bytes": "b", "mtu-blackhole": "b", "tim*": "b", "time": "b", "conntrack upstream": "", "answers* timed": "b",
    "": "", "   ": "", '"': "", "*": "", '""': "", "- + : ^ ( )": "", "nothing": "", "conntrack ()": "a", "100%": "b", "100_": "b",
    "title:conntrack": "", "NOT conntrack": "", "conntrack OR upstream": "", "conntrack NEAR(table)": "", "'": "", "con\0ntrack": "",
    "{a b}:conntrack": "", "^conntrack": "a", "con\udcffn": "",
}  # fmt: skip


@pytest.mark.parametrize("text", SEARCHES)
def test_searches_words_phrases_and_prefixes(store: Store, text: str) -> None:
    """Titles, evidence, entities and notes, all words anywhere in the incident; and whatever is typed is text."""
    logged(store)
    assert [thread[0] for thread in found(store, text)] == list(SEARCHES[text])


WHERE = {
    "conntrack full": ("title", "Connection tracking table full"),
    "netns": ("evidence", "nf_conntrack: nf_conntrack: table full in netns 4026534055, dropping packet"),
    "cart": ("entity", "shop/cart"),
    "tunnel": ("note", "The tunnel lost 50 bytes mtu-blackhole"),
}


@pytest.mark.parametrize("text", ["netns", "cart", "tunnel"])
def test_a_hit_says_where(store: Store, text: str) -> None:
    """In what it was found, with the line that shows it."""
    logged(store)
    (hit,) = store.search(text, Query())
    assert (hit.where, hit.text) == WHERE[text]
    assert hit.score > 0


def test_a_title_counts_more_than_a_line(store: Store) -> None:
    """Best first, and the better one has the larger score."""
    store.save([record(incident("aaaaaa1", title="Loop of forwarders", summary="", lines=["x"]))], START)
    store.save([record(incident("bbbbbb2", at=START + HOUR, summary="", lines=["y", "a loop was seen", "z"]))], START)
    hits = store.search("loop", Query())
    assert [hit.incident.thread for hit in hits] == ["aaaaaa1", "bbbbbb2"]
    assert hits[0].score > hits[1].score


def test_a_search_takes_filters(store: Store) -> None:
    """A range of time and whatever else a list takes."""
    logged(store)
    assert found(store, "table* OR*", Query()) == []
    assert found(store, "full", Query(until=START)) == ["aaaaaa1"]
    assert found(store, "full", Query(since=START + HOUR)) == []
    assert found(store, "o*", Query(limit=1)) == found(store, "o*", Query())[:1]
    assert found(store, "cart", Query(layer="dns")) == []


def test_a_search_knows_the_present_text_only(store: Store) -> None:
    """What an incident no longer says does not find it."""
    first = record(incident("aaaaaa1", lines=["old words"], title="Guess"))
    store.save([first], START)
    store.save([again(first, incident("aaaaaa1", lines=["new words"], title="Certainty"))], START)
    assert [found(store, text) for text in ("old", "guess", "new", "certainty")] == [[], [], ["aaaaaa1"], ["aaaaaa1"]]


@given(text=st.text(st.characters(exclude_categories=[]), max_size=30) | st.text('"*ab ()^:-+{}\0\\', max_size=12))
@pytest.mark.parametrize("name", STORES)
def test_no_text_breaks_a_search(name: str, text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever a person types, or a paste brings."""
    store = made(name, tmp_path_factory.mktemp("store"))
    store.save([record(incident("aaaaaa1", lines=["a ab ba"]))], START)
    store.search(text, Query())
    store.close()


WORDS = st.lists(st.sampled_from(["ab", "abc", "b", "Bé", "a-b", "10.2"]), min_size=1, max_size=4).map(" ".join)


@given(
    given_=st.lists(WORDS, max_size=4),
    asked=st.lists(WORDS | WORDS.map(lambda text: f'"{text}"') | st.sampled_from(["a*", "10.*", "ab*"]), max_size=3),
)
@pytest.mark.parametrize("name", [name for name in STORES if name != "memory"])
def test_all_find_the_same(name: str, given_: list[str], asked: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a search finds does not depend on the store: the one in memory is the plainest."""
    folder = tmp_path_factory.mktemp("store")
    results = []
    for opened in (made(name, folder), made("memory", folder)):
        opened.save([record(incident(f"{n:07}", lines=[text, "x"])) for n, text in enumerate(given_)], START)
        results.append(sorted(found(opened, " ".join(asked))))
        opened.close()
    assert results[0] == results[1]


# ---- likeness


def history(store: Store) -> None:
    """Full tables on two nodes, one of them with victims, and something else on the first."""
    records = [
        record(incident("aaaaaa1", at=START)),
        record(incident("aaaaaa2", at=START + SECOND, signature="ingress-timeout", below=["aaaaaa1"], **on(namespace="shop", workload="cart"))),
        record(incident("bbbbbb1", at=START + HOUR, **on(node="node-z"))),
        record(incident("cccccc1", at=START + 2 * HOUR, signature="mtu-blackhole")),
        record(incident("dddddd1", at=START + 3 * HOUR, signature="dns-loop", **on(node="node-q"))),
        record(incident("eeeeee1", at=START + 4 * HOUR)),
        record(incident("eeeeee2", at=START + 4 * HOUR, signature="ingress-timeout", below=["eeeeee1"], **on(namespace="shop", workload="cart"))),
        record(incident("eeeeee3", at=START + 4 * HOUR, signature="dns-loop", below=["eeeeee2"], **on(node="node-b"))),
    ]  # fmt: skip
    store.save(records, START)


def test_likeness_is_of_signature_place_and_victims(store: Store) -> None:
    """The same disaster on the same node with the same victims first; what is another disaster, or a part of this one, never."""
    history(store)
    likely = store.similar("eeeeee1")
    assert [one.incident.thread for one in likely] == ["aaaaaa1", "bbbbbb1"]
    assert likely[0].why == ("same signature", "same node node-b", "same symptoms: ingress-timeout")
    assert likely[1].why == ("same signature",)
    assert 1 >= likely[0].score > likely[1].score > 0
    assert [one.incident.thread for one in store.similar("eeeeee1", 1)] == ["aaaaaa1"]


def test_what_was_then_a_symptom_says_of_what(store: Store) -> None:
    """The cause of last time is worth a look even where nothing points to it today."""
    history(store)
    store.save([record(incident("ffffff1", at=START + 9 * HOUR, signature="ingress-timeout", **on(namespace="shop", workload="cart")))], START)  # fmt: skip
    likely = store.similar("ffffff1")
    assert [one.incident.thread for one in likely] == ["eeeeee2", "aaaaaa2"]
    assert likely[1].why == ("same signature", "then a symptom of conntrack-table-full", "same namespace shop, workload cart")


def test_feedback_moves_likeness_and_says_what_ended_it(store: Store) -> None:
    """Right ranks higher, wrong lower, and both say so; a note says what helped."""
    history(store)
    plain = {one.incident.thread: one for one in store.similar("eeeeee1")}
    assert plain["bbbbbb1"].ended == "over after 1m00s"
    store.add_feedback(Feedback("aaaaaa1", START, "wrong", "bob", "mtu-blackhole"))
    store.add_feedback(Feedback("bbbbbb1", START, "right", "alice", None, "raised nf_conntrack_max"))
    likely = {one.incident.thread: one for one in store.similar("eeeeee1")}
    assert likely["aaaaaa1"].score < plain["aaaaaa1"].score
    assert likely["bbbbbb1"].score > plain["bbbbbb1"].score
    assert next(iter(likely)) == "bbbbbb1"
    assert likely["aaaaaa1"].why[-1] == "marked wrong by bob: it was mtu-blackhole"
    assert likely["bbbbbb1"].why[-1] == "marked right by alice"
    assert likely["bbbbbb1"].ended == "raised nf_conntrack_max (alice)"


def test_likeness_to_nothing_is_an_error(store: Store) -> None:
    """An empty list would say that it never happened before."""
    with pytest.raises(StoreError, match="nothing1"):
        store.similar("nothing1")


# ---- feedback, statistics, silences


def test_feedback_is_kept_in_order(store: Store) -> None:
    """It goes with the incident in lists as well, and with any of its ids."""
    first = record(incident("aaaaaa1"))
    store.save([again(first, incident("bbbbbb2"), id="bbbbbb2", aliases=("aaaaaa1",))], START)
    store.add_feedback(Feedback("bbbbbb2", START, "wrong", "alice", "dns-loop", "no"))
    store.add_feedback(Feedback("aaaaaa1", START + 1, "right", "bob"))
    expected = (Feedback("aaaaaa1", START, "wrong", "alice", "dns-loop", "no"), Feedback("aaaaaa1", START + 1, "right", "bob"))
    kept = store.incident("aaaaaa1")
    assert kept is not None
    assert kept.feedback == store.incidents(Query())[0].feedback == expected


def test_feedback_survives_later_revisions(store: Store) -> None:
    """An incident may still develop after somebody spoke."""
    first = record(incident("aaaaaa1"))
    store.save([first], START)
    store.add_feedback(Feedback("aaaaaa1", START, "right", "alice", note="tunnel"))
    store.save([again(first, incident("aaaaaa1", level="low"))], START)
    assert found(store, "tunnel") == ["aaaaaa1"]


def test_feedback_on_nothing_is_an_error(store: Store) -> None:
    """It would be lost."""
    with pytest.raises(StoreError, match="nothing1"):
        store.add_feedback(Feedback("nothing1", START, "right", "alice"))


def test_statistics_count_roots_by_signature_and_place(store: Store) -> None:
    """How often, how long, when last, and the last word of people; near misses and what was withdrawn did not happen."""
    history(store)
    late = incident("ffffff1", at=START + 9 * HOUR)
    withdrawn = record(late, public={**public.as_dict(late), "withdrawn": True})
    near = record(incident("gggggg1", at=START + 9 * HOUR, status="near_miss", ended=None))
    store.save([withdrawn, near], START)
    store.add_feedback(Feedback("aaaaaa1", START, "right", "alice"))
    store.add_feedback(Feedback("aaaaaa1", START, "wrong", "alice"))
    store.add_feedback(Feedback("eeeeee1", START, "right", "alice"))
    first, *rest = store.statistics(Query())
    assert (first.signature, first.entity, first.count, first.seconds) == ("conntrack-table-full", "node-b", 2, 120.0)
    assert (first.last, first.right, first.wrong) == (START + 4 * HOUR, 1, 1)
    assert [(one.signature, one.entity) for one in rest] == [
        ("dns-loop", "node-q"), ("mtu-blackhole", "node-b"), ("conntrack-table-full", "node-z"),
    ]  # fmt: skip
    assert [one.signature for one in store.statistics(Query(layer="node", entity="node-z"))] == ["conntrack-table-full"]
    assert store.statistics(Query(limit=1)) == [first]


def test_silences_are_kept_until_they_end(store: Store) -> None:
    """One that is put again is changed; an earlier end ends it."""
    silence = Silence("s1", (Matcher("layer", "=~", "dns|node"), Matcher("x", "!=", "")), START, START + HOUR, "alice", "at work")
    store.put_silence(silence)
    assert store.silences(START - HOUR) == [silence]
    assert store.silences(START + HOUR) == []
    store.put_silence(dataclasses.replace(silence, ends=START + 1))
    assert store.silences(START + 1) == []


# ---- retention


def test_what_is_old_goes_and_what_goes_on_stays(store: Store) -> None:
    """By its end, not by its start; near misses and merged ones go as well."""
    some(store)
    store.save([record(incident("eeeeee5", at=START + HOUR), merged_into="aaaaaa1", updated=START + HOUR)], START)
    assert store.retain(START + 3 * HOUR, age=None, size=None) == 0
    assert store.retain(START + 3 * HOUR, age=3 * 3600, size=None) == 0
    assert store.retain(START + 3 * HOUR, age=90 * 60, size=None) == 3
    assert [thread[0] for thread in threads(store, Query())] == ["d", "c"]
    assert store.incident("aaaaaa1") is None
    assert found(store, "dropped") == ["dddddd4", "cccccc3"]
    assert store.retain(START + 99 * HOUR, age=0, size=None) == 1
    assert threads(store, Query()) == ["cccccc3"]


def test_what_is_dropped_may_come_again(store: Store) -> None:
    """It is new then, and found by its words once."""
    one = record(incident("aaaaaa1", lines=["peculiar"]))
    store.save([one], START)
    assert store.retain(START + HOUR, age=0, size=None) == 1
    assert found(store, "peculiar") == []
    store.save([one], START)
    assert found(store, "peculiar") == ["aaaaaa1"]


def test_size_drops_the_oldest_until_it_is_met(store: Store) -> None:
    """What goes on stays, however large."""
    lines = [f"{number} {'x' * 500}" for number in range(40)]
    store.save([record(incident(f"{n:07}", at=START + n * HOUR, lines=lines)) for n in range(600)], START)
    store.save([record(incident("going-on", at=START - HOUR, status="firing", ended=None))], START)
    before = store.size()
    dropped = store.retain(START + 1000 * HOUR, age=None, size=before // 2)
    assert 0 < dropped < 600
    assert store.size() <= before // 2
    left = threads(store, Query(limit=1000))
    assert left == [*(f"{n:07}" for n in range(599, dropped - 1, -1)), "going-on"]
    assert store.retain(START + 1000 * HOUR, age=None, size=0) == 600 - dropped
    assert threads(store, Query()) == ["going-on"]
