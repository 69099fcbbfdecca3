"""Events out of the documents of `kubectl get events -o json` and `-o yaml`."""

import copy
import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import parsers
from pipeline.parsers import Context
from pipeline.parsers.kubectl import events_from_document

EVENT = {
    "apiVersion": "v1",
    "kind": "Event",
    "metadata": {"name": "web-5d.17a3b2c4", "namespace": "shop", "creationTimestamp": "2026-03-01T10:00:00Z"},
    "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "web-5d", "fieldPath": "spec.containers{web}"},
    "reason": "Unhealthy",
    "message": 'Readiness probe failed: Get "http://10.244.2.10:8080/healthz": dial tcp: i/o timeout',
    "source": {"component": "kubelet", "host": "node-a-1"},
    "lastTimestamp": "2026-03-01T10:05:00Z",
    "count": 17,
    "type": "Warning",
    "eventTime": None,
}
YAML = """\
apiVersion: v1
items:
- apiVersion: v1
  count: 17
  eventTime: null
  involvedObject:
    fieldPath: spec.containers{web}
    kind: Pod
    name: web-5d
    namespace: shop
  kind: Event
  lastTimestamp: "2026-03-01T10:05:00Z"
  message: 'Readiness probe failed: Get "http://10.244.2.10:8080/healthz": dial tcp:
    i/o timeout'
  metadata:
    creationTimestamp: "2026-03-01T10:00:00Z"
    name: web-5d.17a3b2c4
    namespace: shop
  reason: Unhealthy
  source:
    component: kubelet
    host: node-a-1
  type: Warning
kind: List
metadata:
  resourceVersion: ""
"""


def loaded(text: str) -> list[object] | None:
    events = events_from_document(text)
    return None if events is None else [json.loads(event) for event in events]


def test_a_list_is_read_from_json_and_yaml_alike() -> None:
    assert loaded(json.dumps({"kind": "List", "items": [EVENT]}, indent=4)) == [EVENT]
    assert loaded(YAML) == [EVENT]


def test_what_comes_out_is_what_the_format_reads() -> None:
    events = parsers.all_formats()["k8s.events"].parse(pl.DataFrame({"message": events_from_document(YAML)}), Context())
    found = events.select("event.reason", "event.count", "k8s.pod.name", "k8s.node.name", "container.name").row(0)
    assert found == ("Unhealthy", 17, "web-5d", "node-a-1", "web")


def test_documents_may_follow_one_another() -> None:
    """So they do with `-w`; watch records keep their type, and other objects are passed over."""
    watched = {"type": "MODIFIED", "object": EVENT}
    pod = {"kind": "Pod", "metadata": {"name": "web-5d"}}
    text = "\n".join(json.dumps(document, indent=2) for document in (EVENT, watched, pod))
    assert loaded(text + "\n") == [EVENT, watched]
    assert loaded(YAML + "---\n" + YAML) == [EVENT, EVENT]


def test_an_unquoted_time_in_yaml_is_written_as_a_time() -> None:
    assert loaded("involvedObject: {name: a}\nlastTimestamp: 2026-03-01T10:05:00Z\n") == [
        {"involvedObject": {"name": "a"}, "lastTimestamp": "2026-03-01T10:05:00+00:00"}
    ]


@pytest.mark.parametrize("text", ['{"kind": "List", "items": []}', "apiVersion: v1\nitems: []\nkind: List\n"])
def test_an_empty_list_has_no_events(text: str) -> None:
    assert loaded(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "items: [",
        YAML[:300] + "\n -",
        json.dumps({"kind": "List", "items": [EVENT]})[:-2],
        json.dumps({"kind": "List", "items": [{"kind": "Pod"}]}),
        "LAST SEEN   TYPE      REASON      OBJECT      MESSAGE\n64s         Warning   Unhealthy   pod/web     items: none\n",
        "items:\n- &a {involvedObject: {name: a}}\n- *a\n",
        "items: !!python/object:os.system {}\n",
        "items: " + "[" * 5000,
        '{"items":' * 5000,
    ],
)
def test_what_is_no_such_document_gives_none(text: str) -> None:
    """Aliases are refused too: ten lines of them could unfold to gigabytes."""
    assert events_from_document(text) is None


def test_half_a_surrogate_pair_is_replaced() -> None:
    event = copy.deepcopy(EVENT) | {"message": "\ud800"}
    assert events_from_document(json.dumps(event)) == [
        json.dumps(EVENT | {"message": "?"}, separators=(",", ":"), ensure_ascii=False)
    ]


@given(at=st.integers(0, len(YAML)), piece=st.text(max_size=5), length=st.integers(0, 5))
def test_no_text_raises(at: int, piece: str, length: int) -> None:
    events_from_document(YAML[:at] + piece + YAML[at + length :])
    events_from_document(piece)
