"""Sigma as others write it loads and means the same; ours that is plain Sigma is Sigma to pySigma."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sigma.collection import SigmaCollection
from sigma.rule import SigmaRule

from pipeline import documents, parsers
from pipeline.signatures import load
from pipeline.signatures.models import Block, EventCount, LogSource, Temporal, Threshold, Value
from pipeline.signatures.ruleset import RuleSet

PLAIN = """\
title: Upstream timed out
id: 5f5b3f3c-5a53-4b5e-9a26-0f6f1f0c7d11
name: upstream_timed_out
related:
    - {id: 929a690e-bef0-4204-a928-ef5e620d6fcc, type: derived}
status: test
description: An upstream does not answer.
license: Apache-2.0
author: Somebody
references: ['https://example.org/2']
date: 2026-03-01
modified: 2026-03-02
tags: [attack.impact]
scope: [server]
logsource:
    category: application
    definition: Anything that prints.
detection:
    selection:
        message|contains|all:
            - 'upstream'
            - 'timed out'
    keywords:
        - 'connection refused'
        - 'connect*timed out'
    maps:
        - message|startswith: 'upstream'
        - message|re: '^connection to .* reset'
    filter_known:
        k8s.namespace.name: [test, null_is_no_item]
    condition: 1 of selection* or keywords or (all of maps and not 1 of filter_*)
fields: [k8s.pod.name]
falsepositives: [Load tests]
level: medium
regression_tests_path: of/another/tool
"""
COUNT = """\
title: Many timeouts
id: 0e95725d-7320-415d-80f7-004da920fc11
name: many_timeouts
correlation:
    type: event_count
    rules: [upstream_timed_out]
    group-by: [k8s.namespace.name]
    timespan: 5m
    condition: {gte: 10}
level: high
falsepositives: [Load tests]
"""


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., tuple[RuleSet | None, list[str]]]:
    """Builds the rules of one file of several documents; problems without their path."""

    def run(*texts: str) -> tuple[RuleSet | None, list[str]]:
        path = tmp_path / "rules.yaml"
        path.write_text("---\n".join(texts), encoding="utf-8")
        ruleset, problems = load.build([path], parsers.vocabulary())
        return ruleset, [str(problem).removeprefix(f"{path}:") for problem in problems]

    return run


Build = Callable[..., tuple[RuleSet | None, list[str]]]


def correlation(build: Build, body: str, *, top: str = "") -> Any:
    """The correlation `{body}` over two plain rules, loaded without a problem."""
    other = PLAIN.replace("upstream_timed_out", "another").replace("5f5b3f3c", "11111111")
    ruleset, problems = build(PLAIN, other, f"title: T\nname: tested\n{top}correlation: {{{body}}}\n")
    assert not [problem for problem in problems if "warning" not in problem]
    assert ruleset is not None
    return ruleset.rules["tested"].correlation


def refused(build: Build, body: str) -> str:
    ruleset, problems = build(PLAIN, f"title: T\nname: tested\ncorrelation: {{{body}}}\n")
    errors = [problem for problem in problems if "warning" not in problem]
    assert ruleset is None
    assert len(errors) == 1, errors
    return errors[0]


def test_a_plain_detection_loads(build: Build) -> None:
    """With every key of the specification; a custom top-level key is a warning."""
    ruleset, problems = build(PLAIN)
    assert ruleset is not None
    assert list(ruleset.detections) == ["upstream_timed_out"]
    assert [problem.split(": ", 1)[1] for problem in problems] == ["warning: custom key 'regression_tests_path' is ignored"]


def test_a_plain_detection_needs_only_a_title(build: Build) -> None:
    """Neither name nor id: nobody can refer to it, and two of them are told apart."""
    text = "title: T\nlogsource: {{category: application}}\ndetection: {{s: {{message|contains: {}}}, condition: s}}\n"
    ruleset, problems = build(text.format("timed out"), text.format("refused"))
    assert problems == []
    assert ruleset is not None
    assert len(ruleset.detections) == 2


def test_a_plain_correlation_loads(build: Build) -> None:
    ruleset, problems = build(PLAIN, COUNT)
    assert ruleset is not None
    assert not [problem for problem in problems if "warning" not in problem]
    rule = ruleset.rules["many_timeouts"]
    assert isinstance(rule.correlation, EventCount)
    assert (rule.rules, rule.correlation.timespan) == (("upstream_timed_out",), 300_000_000)


def test_rules_may_be_named_by_id(build: Build) -> None:
    ruleset, _ = build(PLAIN, COUNT.replace("[upstream_timed_out]", "[5f5b3f3c-5a53-4b5e-9a26-0f6f1f0c7d11]"))
    assert ruleset is not None
    assert ruleset.rules["many_timeouts"].rules == ("upstream_timed_out",)


def test_correlations_chain(build: Build) -> None:
    chain = "title: T\nname: chain\ncorrelation: {type: temporal, rules: [many_timeouts, upstream_timed_out], timespan: 1h}\n"
    ruleset, _ = build(chain, COUNT, PLAIN)
    assert ruleset is not None
    assert list(ruleset.rules) == ["many_timeouts", "chain"]
    assert ruleset.rules["chain"].detections == ("upstream_timed_out",)


def test_filters_narrow_the_rules_they_name(build: Build) -> None:
    site = "title: Not in staging\nlogsource: {category: application}\nfilter:\n    rules: [many_timeouts]\n"
    body = "    selection: {k8s.namespace.name: staging}\n    condition: not selection\n"
    ruleset, problems = build(PLAIN, COUNT, site + body)
    assert ruleset is not None
    assert not [problem for problem in problems if "warning" not in problem]
    assert "k8s.namespace.name" in ruleset.detections["upstream_timed_out"].columns
    assert "staging" in str(ruleset.detections["upstream_timed_out"].tree)
    for wrong, what in (
        (body.replace("k8s.n", "k9s.n"), "unknown column"),
        (body.replace("not sel", "not zel"), "is not defined"),
    ):
        assert any(what in problem for problem in build(PLAIN, COUNT, site + wrong)[1])
    assert any(
        "unknown rule 'many'" in problem for problem in build(PLAIN, COUNT, (site + body).replace("[many_timeouts]", "[many]"))[1]
    )


# Points on which specification, schema and pySigma disagree, as RULES.md settles them.


def test_two_operators_are_a_range(build: Build) -> None:
    """The specification shows it; pySigma wants exactly one."""
    found = correlation(build, "type: event_count, rules: [another], timespan: 1m, condition: {gt: 2, lte: 9}")
    assert found.condition == Threshold(gt=2, lte=9)


def test_thresholds_may_be_fractions(build: Build) -> None:
    """PySigma cuts 0.5 down to 0."""
    found = correlation(
        build, "type: value_avg, rules: [another], timespan: 1m, condition: {field: http.response.status_code, gte: 0.5}"
    )
    assert found.condition.bounds() == {"gte": 0.5}


def test_neq_is_an_operator(build: Build) -> None:
    found = correlation(build, "type: event_count, rules: [another], timespan: 1m, condition: {neq: 3}")
    assert found.condition.bounds() == {"neq": 3.0}


def test_group_by_is_optional_and_may_be_one_text(build: Build) -> None:
    assert correlation(build, "type: event_count, rules: [another], timespan: 1m, condition: {gte: 1}").group_by == []
    one = "type: event_count, rules: another, group-by: k8s.pod.name, timespan: 1m, condition: {gte: 1}"
    assert correlation(build, one).group_by == ["k8s.pod.name"]


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("5m", 300), ("1h", 3600)])
def test_units(build: Build, text: str, seconds: int) -> None:
    found = correlation(build, f"type: event_count, rules: [another], timespan: {text}, condition: {{gte: 1}}")
    assert found.timespan == seconds * 1_000_000


@pytest.mark.parametrize(("text", "seconds"), [("1d", 86_400), ("1w", 604_800)])
def test_long_units_are_read(text: str, seconds: int) -> None:
    """They are durations, though no window of evidence may be so long."""
    body = {"type": "event_count", "rules": ["x"], "timespan": text, "condition": {"gte": 1}}
    found = Block.model_validate({"title": "T", "correlation": body}).correlation
    assert found is not None
    assert found.timespan == seconds * 1_000_000


@pytest.mark.parametrize("text", ["1M", "1y", "1h30m", "1.5h", "60", "'60'", "-1m", "m", "1 m", "''"])
def test_other_units_are_refused(build: Build, text: str) -> None:
    """`M` and `y` have no fixed length; compounds are written in the smaller unit."""
    error = refused(build, f"type: event_count, rules: [upstream_timed_out], timespan: {text}, condition: {{gte: 1}}")
    assert "s, m, h, d" in error
    assert error.startswith("39:63: ")


def test_percentile_is_spelt_beside_its_operator(build: Build) -> None:
    """The threshold is that of the value, not the percentage."""
    body = "type: value_percentile, rules: [another], timespan: 1m, condition: {{{}}}"
    found = correlation(build, body.format("field: http.response.status_code, percentile: 95, gte: 3"))
    assert isinstance(found, Value)
    assert (found.condition.percentile, found.condition.bounds()) == (95.0, {"gte": 3.0})
    other = body.replace("another", "upstream_timed_out")
    assert "needs condition.percentile" in refused(build, other.format("field: http.response.status_code, gte: 3"))
    assert "needs condition.field" in refused(build, other.format("percentile: 95, gte: 3"))


def test_there_is_no_median(build: Build) -> None:
    error = refused(build, "type: value_median, rules: [upstream_timed_out], timespan: 1m, condition: {gte: 1}")
    assert "unknown type 'value_median'" in error


def test_generate_is_read_in_both_places(build: Build) -> None:
    """At the top by the specification, within the correlation by pySigma."""
    body = "type: event_count, rules: [another], timespan: 1m, condition: {gte: 1}"
    assert correlation(build, body).generate is False
    assert correlation(build, f"{body}, generate: true").generate is True
    assert Block.model_validate({"title": "T", "generate": True, "logsource": {}, "detection": {}}).generate is True
    assert correlation(build, body, top="generate: true\n") == correlation(build, body)


def test_temporal_conditions_may_negate(build: Build) -> None:
    """Spelt as pySigma does; every rule that is listed must stand in it."""
    body = "type: temporal, rules: [upstream_timed_out, another], timespan: 1m, condition: {}"
    found = correlation(build, body.format("upstream_timed_out and not another"))
    assert isinstance(found, Temporal)
    for wrong, what in (
        ("upstream_timed_out and anothr", "'anothr' is not defined"),
        ("another", "what 'upstream_timed_out' is for"),
    ):
        text = f"title: T\nname: tested\ncorrelation: {{{body.format(wrong)}}}\n"
        ruleset, problems = build(PLAIN, PLAIN.replace("upstream_timed_out", "another").replace("5f5b3f3c", "11111111"), text)
        assert ruleset is None
        assert any(what in problem for problem in problems)


def test_regexes_respect_case_and_all_else_does_not(build: Build) -> None:
    ruleset, _ = build(PLAIN)
    assert ruleset is not None
    from pipeline.signatures.detection import tests

    assert {test.kind: test.cased for test in tests(ruleset.detections["upstream_timed_out"].tree)} == {
        "contains": False,
        "startswith": False,
        "re": True,
        "eq": False,
    }


# Our documents as pySigma reads them.

METADATA = frozenset(Block.model_fields) - {"extract", "expensive", "correlation", "detection", "logsource"}
TYPES = {"event_count", "value_count", "temporal", "temporal_ordered", "value_sum", "value_avg", "value_percentile"}


def plain(value: dict[str, Any]) -> bool:
    """Whether a document keeps to what the specification and pySigma agree on."""
    keys = {*METADATA, "logsource", "detection"} | {"correlation"}
    body = value.get("correlation")
    if not set(value) <= keys or value.get("logsource") == {}:
        return False
    if body is None:
        return True
    condition = body.get("condition") or {}
    whole = isinstance(condition, str) or not any(isinstance(number, float) for number in condition.values())
    single = isinstance(condition, str) or len(condition.keys() & {"gt", "gte", "lt", "lte", "eq", "neq"}) <= 1
    return body["type"] in TYPES and whole and single


def ours() -> Iterator[dict[str, Any]]:
    for path in load.files([load.packaged()]):
        yield from (parsed.value for parsed in documents.read(path)[0])


def test_pysigma_accepts_our_plain_documents() -> None:
    """What looks like Sigma is Sigma: detections with all their conditions, correlations with their references."""
    every = list(ours())
    detections = [value for value in every if plain(value) and "detection" in value]
    names = {value["name"] for value in detections}
    correlations = [
        value for value in every if plain(value) and "correlation" in value and names.issuperset(value["correlation"]["rules"])
    ]
    assert len(detections) > len(every) // 4
    collection = SigmaCollection.from_dicts([*detections, *correlations], collect_errors=True)
    assert collection.errors == []
    assert [rule.errors for rule in collection.rules if rule.errors] == []
    for rule in collection.rules:
        if isinstance(rule, SigmaRule):
            assert all(condition.parsed is not None for condition in rule.detection.parsed_condition)


def test_pysigma_accepts_the_plain_documents_of_these_tests() -> None:
    collection = SigmaCollection.from_yaml(f"{PLAIN}---\n{COUNT}")
    assert [rule.name for rule in collection.rules] == ["upstream_timed_out", "many_timeouts"]


def test_every_word_of_a_logsource_is_kept() -> None:
    assert set(LogSource.model_fields) == {"category", "product", "service", "definition"}
