"""The rows of a recording as log shippers send them (INTEROP section 2), and all shapes a recording can be written in."""

import functools
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.components import rewrap
from tests.components.rewrap import CLUSTER, Kernel, Line, Recording, Shipper, journal_record

Event = dict[str, Any]


def iso(micros: int) -> str:
    return rewrap._stamp(micros)


def _labels(row: Line, recording: Recording) -> dict[str, str]:
    return recording.labels.get((row.namespace, row.pod), {})


# ---- Fluent Bit: kubernetes filter, systemd, kubernetes_events


def _fluentbit_line(row: Line, recording: Recording, at: int) -> Event:
    kubernetes = {
        "pod_name": row.pod, "namespace_name": row.namespace, "pod_id": row.uid, "labels": _labels(row, recording),
        "host": row.node, "container_name": row.container, "docker_id": "5d7c0a1be0",
    }  # fmt: skip
    return {
        "@timestamp": at / 1e6,
        "time": row.at,
        "stream": row.output,
        "_p": row.tag,
        "log": row.text,
        "kubernetes": kubernetes,
    }


def _fluentbit_kernel(row: Kernel, recording: Recording, at: int) -> Event:
    return {"@timestamp": at / 1e6, **journal_record(row)}


def _fluentbit_event(record: Event, recording: Recording, at: int) -> Event:
    return {"@timestamp": at / 1e6, **rewrap._object(record)}


def _dated(records: list[Event]) -> list[Event]:
    """As the HTTP output: an array, the time under `date`."""
    return [
        {"date": record["@timestamp"], **{key: value for key, value in record.items() if key != "@timestamp"}}
        for record in records
    ]


FLUENTBIT = Shipper("fluentbit", _fluentbit_line, _fluentbit_kernel, _fluentbit_event, push=_dated)


# ---- Vector: kubernetes_logs, journald; it has no source of events


def _vector_line(row: Line, recording: Recording, at: int) -> Event:
    kubernetes = {
        "container_name": row.container, "namespace_labels": {"kubernetes.io/metadata.name": row.namespace},
        "pod_labels": _labels(row, recording), "pod_name": row.pod, "pod_namespace": row.namespace, "pod_node_name": row.node, "pod_uid": row.uid,
    }  # fmt: skip
    partial = {"_partial": True} if row.tag == "P" else {}
    return {
        "file": row.path, "kubernetes": kubernetes, "message": row.text, "source_type": "kubernetes_logs", "stream": row.output,
        "timestamp": row.at, **partial,
    }  # fmt: skip


def _vector_kernel(row: Kernel, recording: Recording, at: int) -> Event:
    fields = journal_record(row)
    return {"host": row.node, "message": fields.pop("MESSAGE"), "source_type": "journald", "timestamp": iso(at), **fields}


VECTOR = Shipper("vector", _vector_line, _vector_kernel)


# ---- Loki push: an entry's labels stand in `stream` until they are grouped


def _entry(labels: dict[str, str], nanoseconds: int, text: str) -> Event:
    return {"stream": labels, "value": [str(nanoseconds), text]}


def _loki_line(row: Line, recording: Recording, at: int) -> Event:
    labels = {
        "namespace": row.namespace, "pod": row.pod, "container": row.container, "node_name": row.node, "stream": row.output,
        "job": f"{row.namespace}/{row.container}", "filename": row.path,
    }  # fmt: skip
    app = next(
        (value for key, value in _labels(row, recording).items() if key in ("app.kubernetes.io/name", "k8s-app", "app")), None
    )
    return _entry({**labels, **({"app": app} if app else {})}, row.nanoseconds, row.text)


def _loki_kernel(row: Kernel, recording: Recording, at: int) -> Event:
    labels = {"job": "systemd-journal", "node_name": row.node, "transport": "kernel", "syslog_identifier": "kernel"}
    return _entry({**labels, "syslog_facility": str(row.prio >> 3)}, at * 1000, row.text)


def _loki_event(record: Event, recording: Recording, at: int) -> Event:
    return _entry({"job": "event-exporter"}, at * 1000, rewrap.json.dumps(rewrap._object(record)))


def _grouped(entries: list[Event]) -> Event:
    """A push request: the entries of each set of labels together, in order."""
    by_labels: dict[str, Event] = {}
    for entry in entries:
        key = rewrap.json.dumps(entry["stream"], sort_keys=True)
        by_labels.setdefault(key, {"stream": entry["stream"], "values": []})["values"].append(entry["value"])
    return {"streams": list(by_labels.values())}


LOKI = Shipper("loki", _loki_line, _loki_kernel, _loki_event, push=_grouped)


# ---- OTLP: filelog, journald and k8sobjects receivers


def _value(value: object) -> Event:
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [{"key": key, "value": _value(held)} for key, held in value.items()]}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(held) for held in value]}}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {} if value is None else {"stringValue": str(value)}


def _attributes(**names: str) -> list[Event]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in names.items()]


def _otlp_line(row: Line, recording: Recording, at: int) -> Event:
    resource = {
        "k8s.cluster.name": CLUSTER, "k8s.namespace.name": row.namespace, "k8s.pod.name": row.pod, "k8s.pod.uid": row.uid,
        "k8s.container.name": row.container, "k8s.node.name": row.node,
        **{f"k8s.pod.label.{key}": value for key, value in _labels(row, recording).items()},
    }  # fmt: skip
    attributes = _attributes(**{"log.iostream": row.output, "logtag": row.tag})
    record = {"timeUnixNano": str(row.nanoseconds), "body": {"stringValue": row.text}, "attributes": attributes}
    return {"resource": resource, "record": record}


def _otlp_kernel(row: Kernel, recording: Recording, at: int) -> Event:
    record = {"timeUnixNano": str(at * 1000), "body": _value(journal_record(row))}
    return {"resource": {"k8s.cluster.name": CLUSTER, "k8s.node.name": row.node}, "record": record}


def _otlp_event(record: Event, recording: Recording, at: int) -> Event:
    event = rewrap._object(record)
    attributes = _attributes(**{"k8s.resource.name": "events", "event.domain": "k8s", "event.name": event["metadata"]["name"]})
    body = _value({"type": record.get("type", "ADDED") if "object" in record else "ADDED", "object": event})
    return {
        "resource": {"k8s.namespace.name": event["metadata"]["namespace"]},
        "record": {"observedTimeUnixNano": str(at * 1000), "attributes": attributes, "body": body},
    }


def _request(records: list[Event]) -> Event:
    def resource(record: Event) -> dict[str, str]:
        return dict(record["resource"])

    return {
        "resourceLogs": [
            {
                "resource": {"attributes": _attributes(**held)},
                "scopeLogs": [{"scope": {}, "logRecords": [r["record"] for r in found]}],
            }
            for held, found in groupby(records, key=resource)
        ]
    }


OTLP = Shipper("otlp", _otlp_line, _otlp_kernel, _otlp_event, push=_request)


# ---- Filebeat: container and journald inputs; it has no events


def _beat(at: int, message: str, **fields: Any) -> Event:
    stamp = iso(at)[:-4] + "Z"
    agent = {"type": "filebeat", "version": "8.15.0", "ephemeral_id": "6f2b"}
    return {"@timestamp": stamp, "agent": agent, "message": message, "orchestrator": {"cluster": {"name": CLUSTER}}, **fields}


def _filebeat_line(row: Line, recording: Recording, at: int) -> Event:
    kubernetes = {
        "pod": {"name": row.pod, "uid": row.uid}, "namespace": row.namespace, "node": {"name": row.node},
        "container": {"name": row.container}, "labels": {key.replace(".", "_"): value for key, value in _labels(row, recording).items()},
    }  # fmt: skip
    return _beat(at, row.text, stream=row.output, log={"file": {"path": row.path}, "offset": 0}, kubernetes=kubernetes)


def _filebeat_kernel(row: Kernel, recording: Recording, at: int) -> Event:
    syslog = {"identifier": "kernel", "facility": row.prio >> 3, "priority": row.prio & 7}
    return _beat(at, row.text, systemd={"transport": "kernel"}, syslog=syslog, host={"hostname": row.node})


FILEBEAT = Shipper("filebeat", _filebeat_line, _filebeat_kernel)


# ---- kubernetes-event-exporter: events alone


def exporter(recording: Recording, target: Path) -> None:
    """Events as the exporter's webhook or Kafka sink gives them."""
    rewrap.begin(recording, target, "kmsg", ".log")
    objects = (rewrap._object(record) for record in recording.events)
    enriched = (
        {**event, "clusterName": CLUSTER, "involvedObject": {**event["involvedObject"], "labels": {"app": "x"}, "deleted": False}}
        for event in objects
    )
    rewrap._put(target, "streams/exporter.jsonl", map(rewrap.json.dumps, enriched))


# ---- Docker's json-file: one file a container, which alone says whose it is


def docker(recording: Recording, target: Path, *, parts: bool = False) -> None:
    """A stream a container; long lines may stand in pieces, of which only the last ends with a newline."""
    rewrap.begin(recording, target, "kmsg", "events.jsonl")
    for path, lines in groupby(recording.lines, key=lambda line: line.path):
        pieces = (piece for line in lines for piece in (rewrap.cut(line) if parts else [line]))
        rows = ({"log": p.text + ("\n" if p.tag == "F" else ""), "stream": p.output, "time": p.at} for p in pieces)
        rewrap._put(
            target, f"streams/{path.removeprefix('/var/log/pods/').replace('/', '_')}.jsonl", map(rewrap.json.dumps, rows)
        )


SHAPES: dict[str, Callable[[Recording, Path], None]] = {
    "fluentbit": functools.partial(rewrap.ship, shipper=FLUENTBIT),
    "fluentbit-parts": functools.partial(rewrap.ship, shipper=FLUENTBIT, parts=True),
    "fluentbit-http": functools.partial(rewrap.ship, shipper=FLUENTBIT, body=rewrap.BODY),
    "vector": functools.partial(rewrap.ship, shipper=VECTOR),
    "vector-parts": functools.partial(rewrap.ship, shipper=VECTOR, parts=True),
    "loki": functools.partial(rewrap.ship, shipper=LOKI, body=rewrap.BODY),
    "otlp": functools.partial(rewrap.ship, shipper=OTLP, body=rewrap.BODY),
    "otlp-parts": functools.partial(rewrap.ship, shipper=OTLP, parts=True, body=rewrap.BODY),
    "filebeat": functools.partial(rewrap.ship, shipper=FILEBEAT),
    "event-exporter": exporter,
    "docker": docker,
    "docker-parts": functools.partial(docker, parts=True),
    "journal": rewrap.journal,
    "gz": functools.partial(rewrap.compressed, suffix=".gz"),
    "zst": functools.partial(rewrap.compressed, suffix=".zst"),
    "cri-parts": functools.partial(rewrap.cri, parts=True),
    "cri+02": functools.partial(rewrap.cri, hours=2),
    "cri-07": functools.partial(rewrap.cri, hours=-7),
    "cri+00": functools.partial(rewrap.cri, hours=0),
    "events-bare": functools.partial(rewrap.events, change=dict, watched=False),
    "events-watched": functools.partial(rewrap.events, change=dict, watched=True),
    "events-new-api": functools.partial(rewrap.events, change=rewrap.new_api, watched=True),
    "events-series": functools.partial(rewrap.events, change=rewrap.series, watched=False),
}
"""Every way of writing a recording, by name. All carry the same rows; what one loses by nature says the test."""
