"""What a start goes on from: clocks that were set, other rules, a backlog. The tests own the clock; files, store and state are real."""

from pathlib import Path

import pytest

from tests.integration import living
from tests.integration.living import STEPS, Lab, told

pytestmark = pytest.mark.integration

HOUR = 3600.0
HALF = STEPS // 2
RULE = """
name: packet_queue_full_line
title: The kernel reports a full packet queue
logsource: {product: linux, service: kernel}
detection: {full: {message|contains: 'nf_queue: full at'}, condition: full}
level: informational
---
title: Packet queue to user space full
id: 5d0cbbb2-4cf6-4f0c-9c3b-3f9a0a7fd7f1
version: 1
status: experimental
layer: node
what: Packets are dropped.
cause: A packet filter in user space is too slow.
impact: New connections hang.
first_aid: [cat /proc/net/netfilter/nfnetlink_queue]
fix: [more CPU]
references: ['https://www.netfilter.org/']
false_positives: [none]
correlation:
    {type: event_count, rules: [packet_queue_full_line], group-by: [k8s.node.name], timespan: 1m, condition: {gte: 1}}
confidence: 0.8
alert: {annotations: {summary: 'Packet queue full on {{ k8s.node.name }}'}}
level: high
"""


@pytest.mark.parametrize("back", [HOUR, -HOUR], ids=["back", "ahead"])
def test_a_clock_that_is_set_changes_nothing(laboratory, back: float) -> None:
    """In mid-run, by an hour: the same incidents and last words."""
    expected = living.undisturbed("policy-dns-egress-forgotten")
    lab: Lab = laboratory()
    with lab.inside() as inside:
        lab.play(inside, steps=range(HALF))
        lab.play(inside, steps=range(HALF, STEPS), back=back)
    assert lab.outcome == expected


def test_a_clock_set_back_while_the_service_is_down_changes_nothing(laboratory) -> None:
    """And ahead again later."""
    expected = living.undisturbed("policy-dns-egress-forgotten")
    lab: Lab = laboratory()
    with lab.inside() as inside:
        lab.play(inside, steps=range(HALF))
    with lab.inside(HALF, back=HOUR) as inside:
        lab.play(inside, steps=range(HALF, STEPS - 1), back=HOUR)
    with lab.inside(STEPS - 1) as inside:
        lab.play(inside, steps=range(STEPS - 1, STEPS))
    assert lab.outcome == expected


def test_what_is_found_in_the_backlog_is_told_by_its_cause(laboratory) -> None:
    """The symptom came first and the cause later: one notification, of the cause."""
    lab: Lab = laboratory()
    lab.outage.write(len(lab.outage.rows))
    with lab.inside() as inside:
        inside.turn(1)
        inside.turn(2)
    assert [word[:3] for word in told(lab.receiver.requests)] == [
        ("incident.opened", "d7b63da910494b4f", "policy-dns-egress-forgotten")
    ]
    assert len(lab.receiver.requests) == 1


def other_rules(lab: Lab, folder: Path) -> None:
    """The next start has a signature more."""
    (folder / "node" / "packet-queue-full").mkdir(parents=True)
    (folder / "node" / "packet-queue-full" / "rule.yaml").write_text(RULE)
    lab.change(rules=[str(folder)])


def test_other_rules_read_the_last_two_hours_anew(laboratory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says so; what was told is not told again, and what comes of it is as ever."""
    expected = living.undisturbed("policy-dns-egress-forgotten")
    lab: Lab = laboratory()
    with lab.inside() as inside:
        lab.play(inside, steps=range(STEPS - 2))
    before = [request.headers["webhook-id"] for request in lab.receiver.requests]
    assert before
    other_rules(lab, tmp_path / "rules")
    capsys.readouterr()
    with lab.inside(STEPS - 2) as inside:
        inside.turn(STEPS - 2)
        assert "the last two hours are read anew" in capsys.readouterr().out
        assert [request.headers["webhook-id"] for request in lab.receiver.requests] == before
        lab.play(inside, steps=range(STEPS - 2, STEPS))
    assert lab.outcome == expected
    opened = [request for request in lab.receiver.requests if request.json["type"] == "incident.opened"]
    assert len(opened) == 1


@pytest.mark.parametrize("keep", [False, True], ids=["followed", "kept"])
def test_other_rules_read_the_backlog_of_a_first_start_anew(laboratory, tmp_path: Path, *, keep: bool) -> None:
    """What the first start found in the files is there for the second as well."""
    expected = living.undisturbed("policy-dns-egress-forgotten")
    lab: Lab = laboratory(keep=keep)
    lab.outage.write(lab.share(STEPS) * (STEPS - 2))
    with lab.inside() as inside:
        inside.turn(0)
        inside.turn(1)
    other_rules(lab, tmp_path / "rules")
    with lab.inside(STEPS - 2) as inside:
        lab.play(inside, steps=range(STEPS - 2, STEPS))
    assert lab.outcome == expected
