"""What a message says, and in which order."""

from typing import Any

from pipeline.contracts import message
from pipeline.model.public import microseconds
from tests.components import told


def text(*arguments: Any, **changes: Any) -> list[str]:
    return message.text(message.of(told.notification(*arguments, **changes))).splitlines()


def changed(**fields: Any) -> dict[str, Any]:
    """The recording's incident with other fields."""
    return told.recorded()[0] | fields


def test_the_first_five_lines_are_what_one_needs_at_night() -> None:
    """What broke and how bad, where, since when, for how long, how sure, and what to do."""
    assert text()[:5] == [
        "CRITICAL: Connection tracking table full on node-b: new connections are dropped",
        "node-b · since 2026-11-23 04:40:48 UTC · for 2m02s · confidence 0.99 · cluster lab",
        "Do        sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max   # on node-b: how full it is",
        "          sysctl -w net.netfilter.nf_conntrack_max=$((2 * $(sysctl -n net.netfilter.nf_conntrack_max)))   # on node-b: room for now",
        "          conntrack -L 2>/dev/null | grep -o 'src=[^ ]*' | sort | uniq -c | sort -rn | head   # who holds the entries",
    ]


def test_symptoms_evidence_and_origin_follow() -> None:
    """Symptoms of one kind share a line; a claim shows its first lines with their times."""
    lines = "\n".join(text(link="https://headwater.example/i/1"))
    assert "Symptoms  The ingress cannot open connections to the pods of a service: shop/checkout" in lines
    assert "Why       240 x The kernel reports a full connection tracking table\n" in lines
    assert "            04:40:48  kernel  nf_conntrack: nf_conntrack: table full in netns 4026534055, dropping packet\n" in lines
    assert "From      conntrack-table-full v1 · incident a86efe2d247662ac\n          https://headwater.example/i/1" in lines


def test_the_end_is_said_with_its_length_and_without_first_aid() -> None:
    """What to mend stays."""
    lines = text("resolved")
    assert lines[0] == "RESOLVED: Connection tracking table full on node-b: new connections are dropped"
    assert lines[1] == "node-b · from 2026-11-23 04:40:48 UTC to 04:42:49 UTC · lasted 2m00s · confidence 0.99 · cluster lab"
    assert not [line for line in lines if line.startswith("Do ")]
    assert [line for line in lines if line.startswith("Fix ")]


def test_what_turned_out_wrong_is_withdrawn() -> None:
    """It has not ended: late evidence took its ground away."""
    first = text("resolved", incident=changed(withdrawn=True))[0]
    assert first.startswith("WITHDRAWN, later evidence speaks against it: Connection tracking table full on node-b")


def test_a_digest_has_its_texts_and_a_test_calms() -> None:
    """Neither needs an incident."""
    assert text("digest", digest=("one", "two"))[0].startswith("DIGEST: 2 notifications in one")
    assert text("digest", digest=("one", "two"))[2:4] == ["one", "two"]
    assert text("test")[1].endswith("nothing is wrong and nothing is to be done")


def symptom(signature: str, depth: int, place: str, **more: Any) -> dict[str, Any]:
    base = told.recorded()[1][0]
    evidence = base["evidence"] | {"rows": 10}
    return (
        base
        | {
            "signature": signature,
            "title": signature,
            "depth": depth,
            "group": {"pod": place},
            "evidence": evidence,
            "causes": [],
        }
        | more
    )


def test_symptoms_stand_below_what_caused_them() -> None:
    """Equal kinds below equal kinds share a line, wherever they stood; more than four places are counted."""
    tree = (symptom("a", 1, "x"), symptom("b", 2, "y"), symptom("c", 1, "z"), symptom("a", 1, "w"), symptom("b", 2, "v"))
    began = "04:40:53"
    assert message.of(told.notification(symptoms=tree)).symptoms == (
        f"a: x, w · 20 rows from {began}",
        f"  b: y, v · 20 rows from {began}",
        f"c: z · 10 rows from {began}",
    )
    many = tuple(symptom("a", 1, str(number)) for number in range(6))
    assert message.of(told.notification(symptoms=many)).symptoms[0].startswith("a: 0, 1, 2, 3 and 2 more · 60 rows")


def test_what_a_cause_leaves_over_is_said() -> None:
    """A symptom that is only partly accounted for says so."""
    partly = symptom("a", 1, "x", cause="c", causes=[{"id": "c", "coverage": 0.7}])
    assert message.of(told.notification(symptoms=(partly,))).symptoms[0].endswith(", 7 of them accounted for")


def test_what_spoke_against_it_and_what_was_blind_is_said() -> None:
    """Reasons that lower the confidence stand apart from those that raise it."""
    reasons = [
        {"rule": "a", "title": "Probes were well", "confidence": -0.1, "rows": 1},
        {"rule": "b", "title": "Drops rose", "confidence": 0.2, "rows": 3},
    ]
    said = message.of(told.notification(incident=changed(reasons=reasons, blind=["node-c has given no sign since 04:02"])))
    assert said.against == ("Probes were well (1 row), confidence -0.10",)
    assert said.evidence[-1].claim == "Drops rose (3 rows), confidence +0.20"
    assert said.blind == ("node-c has given no sign since 04:02",)


def test_log_text_cannot_steer_a_terminal_or_start_a_line() -> None:
    """Escape sequences, line breaks and letters that turn the direction of reading become spaces."""
    hostile = "\x1b[2Jgone\r\n\u202eRESOLVED:\u2066 all is well\x00"
    line = {"at": changed()["started"], "source": "kernel", "rule": "r", "origin": "o", "text": hostile}
    evidence = changed()["evidence"] | {"counts": {"r": 1}, "titles": {}, "lines": [line]}
    incident = changed(
        evidence=evidence, summary=hostile, group={"node": hostile}, first_aid=[hostile], blind=[hostile], cluster=hostile
    )
    lines = text(incident=incident)
    assert all(line.isprintable() for line in lines)
    assert next(line for line in lines if "RESOLVED" in line).startswith("CRITICAL: ")


def test_the_form_for_machines() -> None:
    """Type, time, the whole incident, and its symptoms in brief as a tree."""
    said = message.payload(told.notification("updated", 3, link="https://headwater.example/i/1"))
    assert (said["type"], microseconds(said["timestamp"])) == ("incident.updated", told.AT)
    assert said["data"]["evidence"]["lines"]
    assert (said["data"]["thread"], said["data"]["revision"], said["data"]["labels"]["node"]) == ("a86efe2d247662ac", 3, "node-b")
    assert [symptom["depth"] for symptom in said["data"]["tree"]] == [1] * len(told.recorded()[1])
    assert "evidence" not in said["data"]["tree"][0]
    assert message.payload(told.notification("digest", digest=("one",)))["type"] == "headwater.digest"
