"""Random rules of every kind, and random rows that they are about, as raw lines of four kinds: container output, kernel records,
CoreDNS queries and Kubernetes events.

Gaps between rows are mostly 0, the timespan, `keep_firing_for` or a microsecond beside, since that is where definitions differ.
"""

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline import parsers
from pipeline.model.stream import Stream
from pipeline.signatures import load
from pipeline.signatures.ruleset import RuleSet
from tests.components import naive
from tests.components.naive import SECOND, Row

START = datetime(2026, 3, 1, 10, tzinfo=UTC)
ZERO = round(START.timestamp()) * SECOND
BOOT = START - timedelta(hours=5)
LONGEST = 280 * SECOND
"""Rows more than 300 s ahead of all other sources are implausible: what happens then is not tested here."""
VOCABULARY = parsers.vocabulary()
NODES = {"cart-1": "n0", "cart-2": "n0", "pay-1": "n1"}
PODS = tuple(NODES)

Correlation = dict[str, Any]
Documents = dict[str, Correlation]


@dataclass(frozen=True)
class Line:
    """A raw line (or two: a message that the container runtime cut), and what it means to the naive evaluator."""

    stream: Stream
    text: str
    row: Row


@dataclass(frozen=True)
class Case:
    """Rules (the last one is the signature's), its alert, lines in order of time, and the cuts."""

    rules: Documents
    alert: Mapping[str, str]
    lines: Sequence[Line]
    seed: int


# Detections --------------------------------------------------------------------------------------------------------------------


def _detection(name: str, logsource: Mapping[str, str], selection: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    detection = {"selection": selection, "condition": "selection"}
    return {"name": name, "title": name, "logsource": logsource, "detection": detection, **more}


_EXTRACT = {"message": [r"took (?P<event_duration>[0-9.]+)", r"key=(?P<key>\w+)"]}
DETECTIONS = [
    *(
        _detection(word, {"category": "application"}, {"message|contains": word}, expensive=True, extract=_EXTRACT)
        for word in ("alpha", "beta", "gamma")
    ),
    _detection("delta", {"product": "linux", "service": "kernel"}, {"message|contains": "delta"}),
    _detection("asked", {"category": "dns"}, {"dns.flags|exists": True}),
    _detection("asked_a", {"category": "dns"}, {"dns.question.type": "A"}),
    _detection("failed", {"category": "dns"}, {"dns.response_code": "SERVFAIL"}),
    _detection("unhealthy", {"product": "kubernetes", "service": "events"}, {"event.reason": "Unhealthy"}),
]


def signature(correlation: Mapping[str, Any], alert: Mapping[str, str]) -> dict[str, Any]:
    """The shortest valid signature."""
    lists = {key: ["none"] for key in ("first_aid", "fix", "references", "false_positives")}
    texts = dict.fromkeys(("what", "cause", "impact"), "x")
    kind = {"id": "42", "version": 1, "status": "stable", "layer": "dns", "level": "low", "confidence": 0.5}
    told = {**alert, "annotations": {"summary": "s"}}
    return {"title": "T", **kind, **texts, **lists, "correlation": correlation, "alert": told}


def compiled(folder: Path, rules: Documents, alert: Mapping[str, str]) -> RuleSet:
    """The rule set of the detections, the rules, and the last rule as a signature."""
    *inner, last = rules.items()
    documents = [
        *DETECTIONS,
        *({"name": name, "title": name, "correlation": correlation} for name, correlation in inner),
        signature(last[1], alert),
    ]
    path = folder / last[0] / "rule.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n---\n".join(json.dumps(document) for document in documents), encoding="utf-8")
    ruleset, problems = load.build([path], VOCABULARY)
    assert ruleset is not None, problems
    return ruleset


# Lines -------------------------------------------------------------------------------------------------------------------------


def _stamp(t: int) -> str:
    return (START + timedelta(microseconds=t - ZERO)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def container(t: int, pod: str, container: str, text: str) -> tuple[Stream, str]:
    """A line of a pod's container."""
    where = Stream(f"{pod}/{container}", "cri", cluster="lab", node=NODES[pod], namespace="shop", pod=pod, container=container)
    return where, f"{_stamp(t)} stdout F {text}"


def row(number: int, t: int, matches: Sequence[str], **fields: Any) -> Row:
    """What a line means; in the names of columns `__` stands for a dot."""
    return Row(str(number), t, frozenset(matches), {name.replace("__", "."): value for name, value in fields.items()})


def app(number: int, t: int, draw: random.Random) -> Line:
    """A line of an application, with one or two of the words, and often a key and a duration; sometimes in two parts."""
    pod = draw.choice(PODS)
    words = draw.sample(("alpha", "beta", "gamma"), draw.choice((1, 1, 1, 2)))
    key, took = draw.choice(("n0", "n1", "y", None)), draw.choice((0, 0.5, 1, 2.25, 100, None))
    parts = [*words, f"key={key}" if key else "", f"took {took}" if took is not None else ""]
    places = {"k8s__pod__name": pod, "k8s__node__name": NODES[pod]}
    means = row(number, t, words, **places, key=key, event__duration=None if took is None else float(took))
    stream, text = container(t, pod, "app", " ".join(parts))
    if draw.random() < 0.1:
        text = f"{text[:-4].replace(' F ', ' P ')}\n{_stamp(t + 7)} stdout F {text[-4:]}"
    return Line(stream, text, means)


def kernel(number: int, t: int, draw: random.Random) -> Line:
    """A kernel record with the word `delta`."""
    node = draw.choice(("n0", "n1"))
    stream = Stream(f"{node}/kmsg", "kmsg", "kernel", cluster="lab", node=node, boot_time=BOOT)
    micros = t - round(BOOT.timestamp()) * SECOND
    return Line(stream, f"4,{number},{micros},-;delta reported", row(number, t, ["delta"], k8s__node__name=node))


def query(number: int, t: int, draw: random.Random) -> Line:
    """A query that CoreDNS logged."""
    pod, kind, code = draw.choice(PODS), draw.choice(("A", "AAAA")), draw.choice(("NOERROR", "SERVFAIL"))
    text = f'[INFO] 10.244.2.7:60790 - 4 "{kind} IN a.example. udp 61 false 1232" {code} qr,aa,rd 143 0.0001s'
    matches = ["asked", *(["asked_a"] if kind == "A" else []), *(["failed"] if code == "SERVFAIL" else [])]
    places = {"k8s__pod__name": pod, "k8s__node__name": NODES[pod]}
    return Line(*container(t, pod, "coredns", text), row(number, t, matches, **places, dns__question__type=kind))


def event(number: int, t: int, draw: random.Random) -> Line:
    """A sighting of one of three events, whose count has grown with time; some sightings are missing or repeated."""
    uid = draw.choice(PODS)
    at, first = t // SECOND * SECOND, ZERO - PODS.index(uid) * SECOND
    count = 1 + (at - ZERO) // SECOND // 2
    body = {
        "metadata": {"name": uid, "namespace": "shop", "uid": uid},
        "involvedObject": {"kind": "Pod", "namespace": "shop", "name": uid},
        "reason": "Unhealthy",
        "firstTimestamp": _stamp(first),
        "lastTimestamp": _stamp(at),
        "count": count,
    }
    row = Row(str(number), at, frozenset(["unhealthy"]), {"k8s.pod.name": uid}, uid=uid, count=count, first=first)
    return Line(Stream("events", "plain", "k8s.events", cluster="lab"), json.dumps({"type": "ADDED", "object": body}), row)


def tick(number: int, t: int) -> Line:
    """A line that no rule is about: it only shows how late it is."""
    stream = Stream("tick/app", "cri", None, cluster="lab", node="n0", namespace="shop", pod="tick", container="app")
    return Line(stream, f"{_stamp(t)} stdout F nothing", row(number, t, []))


Kind = Callable[[int, int, random.Random], Line]
Drawn = Callable[[random.Random], Documents]
Step = tuple[int, int]


def lines(steps: Sequence[Step], kinds: Sequence[Kind], lengths: Sequence[int], *, longest: int = LONGEST) -> list[Line]:
    """Lines in order of time. A step is a gap and a seed for what is said; gaps are often one of `lengths` (microseconds) or beside."""
    gaps = [0, 0, 1, 300_000, *(length + extra for length in (SECOND, *lengths) for extra in (0, 1, -1, SECOND))]
    t, made = ZERO, []
    for at, (gap, seed) in enumerate(steps):
        t += gaps[gap % len(gaps)] if at else (0, 250_000, 999_999)[gap % 3]
        if t > ZERO + longest:
            break
        draw = random.Random(seed)  # noqa: S311 (hypothesis gives the seed)
        made.append(draw.choice(kinds)(at, t, draw))
    return [*made, tick(len(steps), (t // SECOND + (1, 2, 30)[len(steps) % 3]) * SECOND)]


# Rules -------------------------------------------------------------------------------------------------------------------------


def span(draw: random.Random) -> str:
    """A short timespan."""
    return f"{draw.randint(1, 6)}s"


def bounds(draw: random.Random, low: int, high: int) -> dict[str, float]:
    """A threshold of any form."""
    number = draw.randint(low, high)
    forms: list[dict[str, float]] = [
        {"gte": number},
        {"gte": number},
        {"gt": number - 0.5},
        {"gt": number - 1, "lte": number + 2},
    ]
    return draw.choice([*forms, {"eq": number}, {"neq": number}, {"gte": number, "lt": number + 1.5}, {"lte": number}])


_PLACES: tuple[list[str], ...] = (["k8s.pod.name"], ["k8s.node.name"], ["key"], ["k8s.node.name", "key"], [])


def _over(draw: random.Random, kind: str, **more: Any) -> Correlation:
    rules = draw.choice((["alpha"], ["alpha", "beta"], ["delta", "alpha"], ["alpha", "beta", "gamma"]))
    return {"type": kind, "rules": rules, "group-by": draw.choice(_PLACES), "timespan": span(draw), **more}


_WORDS = ("alpha", "beta", "gamma", "delta")


def event_count(draw: random.Random) -> Documents:
    """So many rows."""
    return {"it": _over(draw, "event_count", condition=bounds(draw, 1, 4))}


def folded(draw: random.Random) -> Documents:
    """So many occurrences of events."""
    found = {"type": "event_count", "rules": ["unhealthy"], "group-by": draw.choice((["k8s.pod.name"], []))}
    return {"it": {**found, "timespan": span(draw), "condition": bounds(draw, 2, 6)}}


def value_count(draw: random.Random) -> Documents:
    """So many distinct values of one column or of two."""
    field = draw.choice((["key"], ["k8s.pod.name"], ["key", "k8s.pod.name"], "key"))
    return {"it": _over(draw, "value_count", condition={**bounds(draw, 1, 3), "field": field})}


def value_number(draw: random.Random) -> Documents:
    """Sum, mean or percentile."""
    kind = draw.choice(("value_sum", "value_avg", "value_percentile"))
    condition: dict[str, Any] = {
        "field": "event.duration",
        draw.choice(("gt", "gte", "lt", "lte")): draw.choice((0.5, 1, 2.3, 50.5)),
    }
    if kind == "value_percentile":
        condition["percentile"] = draw.choice((0, 25, 50, 90, 100))
    return {"it": _over(draw, kind, condition=condition)}


def temporal(draw: random.Random) -> Documents:
    """All rules, in one place: by the same column, or by one that each source calls otherwise."""
    names = ["alpha", "delta", *draw.sample(("beta", "gamma"), draw.randint(0, 1))]
    by = {"group-by": ["where"], "aliases": {"where": {name: "k8s.node.name" if name == "delta" else "key" for name in names}}}
    places: list[dict[str, Any]] = [by, {"group-by": ["k8s.node.name"]}, {"group-by": []}]
    place = draw.choice(places)
    condition = draw.choice(({}, {"condition": {"gte": 2}}))
    return {"it": {"type": "temporal", "rules": names, "timespan": span(draw), **place, **condition}}


def combined(draw: random.Random) -> Documents:
    """A boolean combination of rules."""
    texts = (
        "alpha and not beta",
        "alpha and beta and not gamma",
        "alpha and beta or gamma",
        "not beta and gamma",
        "alpha or beta and gamma",
    )
    text = draw.choice(texts)
    names = [name for name in _WORDS if name in text]
    place = draw.choice(_PLACES)
    return {"it": {"type": "temporal", "rules": names, "group-by": place, "timespan": span(draw), "condition": text}}


def ordered(draw: random.Random) -> Documents:
    """Rules one after the other."""
    names = draw.sample(_WORDS, draw.randint(2, 3))
    place = draw.choice((["k8s.node.name"], []))
    return {"it": {"type": "temporal_ordered", "rules": names, "group-by": place, "timespan": span(draw)}}


def _cascade(draw: random.Random, timespan: str, names: Sequence[str]) -> Correlation:
    limit = naive.duration(timespan) // SECOND
    effects = [
        {
            "rule": name,
            **draw.choice(({}, {"within": f"{draw.randint(1, limit)}s"})),
            **draw.choice(({}, {"condition": {"gte": 2}})),
        }
        for name in draw.sample(names, draw.randint(1, 2))
    ]
    place = draw.choice((["k8s.node.name"], []))
    return {"type": "cascade", "group-by": place, "timespan": timespan, "cause": {"rule": "delta"}, "effects": effects}


def cascade(draw: random.Random) -> Documents:
    """A cause and its effects."""
    found = _cascade(draw, span(draw), ("alpha", "beta"))
    if draw.random() < 0.3:
        found["effects"][0]["condition"] = {"gte": 2, "field": "k8s.pod.name"}
    return {"it": found}


def cascade_absent(draw: random.Random) -> Documents:
    """A cause, an effect, and what must not be there."""
    found = _cascade(draw, span(draw), ("alpha", "beta"))
    limit = draw.choice(({}, {"condition": {"gte": 2}}, {"within": "1s"}))
    return {"it": {**found, "absent": [{"rule": "gamma", **limit}]}}


def chained(draw: random.Random) -> Documents:
    """A correlation of correlations."""
    place = draw.choice((["k8s.node.name"], ["k8s.node.name", "k8s.pod.name"]))
    inner = {
        "type": "event_count",
        "rules": ["alpha"],
        "group-by": place,
        "timespan": span(draw),
        "condition": bounds(draw, 1, 2),
    }
    by = {"group-by": ["k8s.node.name"], "timespan": span(draw)}
    outer = draw.choice(
        (
            {"type": "event_count", "rules": ["inner"], "condition": {"gte": draw.randint(1, 3)}, **by},
            {"type": "temporal", "rules": ["inner", "delta"], **by},
            {"type": "temporal", "rules": ["inner", "beta"], "condition": "inner and not beta", **by},
            {"type": "temporal", "rules": ["inner", "beta"], "condition": "inner or beta", **by},
            {"type": "temporal", "rules": ["inner", "delta"], "condition": "delta and not inner", **by},
            {"type": "temporal_ordered", "rules": ["inner", "delta"], **by},
            {"type": "cascade", "cause": {"rule": "delta"}, "effects": [{"rule": "inner"}], **by},
        )
    )
    return {"inner": inner, "it": outer}


def chained_share(draw: random.Random) -> Documents:
    """A share of all queries as the effect of a cause, or together with it."""
    by = {"group-by": ["k8s.node.name"], "timespan": span(draw)}
    inner = {"type": "ratio", "of": draw.choice(("failed", "asked_a")), "among": "asked", "condition": {"gte": 0.5}, **by}
    outer = draw.choice(
        (
            {"type": "temporal", "rules": ["delta", "inner"]},
            {"type": "cascade", "cause": {"rule": "delta"}, "effects": [{"rule": "inner", "condition": {"gte": 2}}]},
            {"type": "cascade", "cause": {"rule": "inner"}, "effects": [{"rule": "delta"}]},
        )
    )
    return {"inner": inner, "it": {**outer, **by, "timespan": span(draw)}}


_COUNTED_PLACES = (["k8s.pod.name"], ["k8s.node.name"], ["k8s.pod.name", "dns.question.type"], ["dns.question.type"])


def ratio(draw: random.Random) -> Documents:
    """A share of all queries."""
    condition = draw.choice(({"gte": 0.5}, {"gt": 0.2, "lt": 0.7}, {"lte": 0.25}, {"gt": 0.5}))
    found = {"type": "ratio", "of": draw.choice(("failed", "asked_a")), "among": "asked", "minimum": draw.randint(1, 4)}
    return {"it": {**found, "group-by": draw.choice(_COUNTED_PLACES), "timespan": span(draw), "condition": condition}}


def absence(draw: random.Random) -> Documents:
    """What was asked and is not any more."""
    of = draw.choice(("failed", "asked_a"))
    after = {"rule": draw.choice((of, "asked")), "gte": draw.randint(1, 3), "within": span(draw)}
    found = {"type": "absence", "of": of, "while": "asked", "after": after, "timespan": span(draw)}
    return {"it": {**found, "group-by": draw.choice(_COUNTED_PLACES)}}


def baseline(draw: random.Random) -> Documents:
    """More than usual, in number or in share."""
    timespan = draw.randint(1, 3)
    of, among = draw.choice((("asked", None), ("failed", "asked"), ("asked_a", "asked"), ("failed", None)))
    found = {
        "type": "baseline",
        "of": of,
        **({"among": among} if among else {}),
        "condition": {"factor": draw.choice((1.5, 2, 3))},
    }
    lengths = {"timespan": f"{timespan}s", "against": f"{timespan + draw.randint(1, 8)}s"}
    return {"it": {**found, **lengths, "minimum": draw.randint(1, 3), "group-by": draw.choice(_COUNTED_PLACES)}}


KINDS: Mapping[Drawn, Sequence[Kind]] = {
    **dict.fromkeys((event_count, value_count, value_number, temporal, combined, ordered), (app, app, kernel)),
    **dict.fromkeys((cascade, cascade_absent, chained), (app, app, kernel)),
    **dict.fromkeys((ratio, absence, baseline), (query,)),
    chained_share: (query, query, kernel),
    folded: (event,),
}


def case(kind: Drawn, seed: int, steps: Sequence[Step], *, stretch: int = 1) -> Case:
    """Rules of a kind and lines that they are about; `stretch` makes timespans and gaps so many times longer."""
    draw = random.Random(seed)  # noqa: S311 (hypothesis gives the seed)
    rules = _stretched(kind(draw), stretch)
    timespan = naive.duration(rules["it"]["timespan"])
    keep = timespan + draw.choice((0, 1, 5)) * stretch * SECOND
    alert = {"keep_firing_for": f"{keep // SECOND}s", "for": draw.choice(("0s", "0s", "1s", "3s"))}
    said = lines(steps, KINDS[kind], (timespan, keep), longest=LONGEST * stretch)
    if stretch > 1:
        said = sorted([*said, *_ticks(said[-1].row.t)], key=lambda line: line.row.t)
    return Case(rules, alert, said, draw.randrange(2**32))


def _stretched(rules: Documents, times: int) -> Documents:
    longer: Documents = json.loads(re.sub(r'"(\d+)s"', lambda found: f'"{int(found[1]) * times}s"', json.dumps(rules)))
    return longer


def _ticks(until: int) -> Iterator[Line]:
    """A sign of life of either node every minute."""
    for node, pod in (("n0", "tick"), ("n1", "tock")):
        stream = Stream(f"{pod}/app", "cri", cluster="lab", node=node, namespace="shop", pod=pod, container="app")
        for t in range(ZERO, until, 60 * SECOND):
            yield Line(stream, f"{_stamp(t)} stdout F nothing", row(0, t, []))
