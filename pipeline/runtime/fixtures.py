"""The lines and topology of a rule's case as the records that real sources would have given.

    topology:
        - {at: 0s, node: n4, zone: z1}
        - {at: 0s, pod: shop/cart-1, ip: 10.1.4.7, node: n4, service: shop/cart}       # ready unless `ready: false`
        - {at: 20s, pod: shop/cart-1, ready: false}                                    # only what changes
        - {at: 30s, pod: shop/cart-1, gone: true}                                      # `keep: true` leaves it in the slice
        - {at: 0s, object: {kind: NetworkPolicy, metadata: {...}, spec: {...}}}         # anything else, as the API has it
    lines:
        - {at: 10s, kernel: n4, line: 'nf_conntrack: table full, dropping packet'}
        - {at: 12s, every: 3s, times: 4, ingress-nginx: ingress/edge-0, line: '{{time}} [error] ... #{{n}}'}
        - {at: 12s, pod: shop/cart-1, container: app, line: '...'}                      # a container of no known format
        - {at: 12s, journal: n4, process: kubelet, line: '...'}
        - {at: 15s, event: Unhealthy, object: Pod/shop/cart-1, message: '...', node: n4, count: 3}
        - {at: 15s, counters: n4, path: /proc/net/stat/nf_conntrack, text: '...'}

`{{time}}` is written in the form of the line's program, `{{n}}` is the number of the repetition.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline import parsers
from pipeline.documents import duration
from pipeline.errors import UsageError
from pipeline.model.stream import Stream
from pipeline.runtime.merge import Record

START = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
"""When every case begins."""
BOOT = START - timedelta(hours=5)
CLUSTER = "test"


def micros(at: datetime) -> int:
    """Microseconds since 1970."""
    return round((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))


def moment(offset: object) -> datetime:
    """The time of an offset from the start of the case: `15s`, `1m`, also `-5s` and `1500ms`."""
    text = str(offset).strip()
    sign = -1 if text.startswith("-") else 1
    text = text.removeprefix("-")
    if text.endswith("ms"):
        return START + sign * timedelta(milliseconds=int(text[:-2]))
    return START + sign * timedelta(microseconds=duration(text))


@dataclass(slots=True)
class _World:
    """The topology of a case as it changes: what the API would have said."""

    records: list[tuple[datetime, dict[str, Any]]] = field(default_factory=list)
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    endpoints: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    nodes: set[str] = field(default_factory=set)

    def add(self, entry: Mapping[str, Any]) -> None:
        at = moment(entry.get("at", "0s"))
        if "object" in entry:
            self._say(at, dict(entry["object"]), str(entry.get("type", "ADDED")))
        elif "pod" in entry:
            self._pod(at, entry)
        elif "node" in entry:
            self._node(at, entry)
        else:
            raise UsageError(f"topology entry {dict(entry)!r}: say pod, node or object")

    def _node(self, at: datetime, entry: Mapping[str, Any]) -> None:
        name = str(entry["node"])
        labels = {"topology.kubernetes.io/zone": entry["zone"]} if "zone" in entry else {}
        ready = {True: "True", False: "False"}.get(entry.get("ready", True), "Unknown")
        addresses = [{"type": "InternalIP", "address": entry["ip"]}] if "ip" in entry else []
        status = {"addresses": addresses, "conditions": [{"type": "Ready", "status": ready}]}
        change = "MODIFIED" if name in self.nodes else "ADDED"
        self.nodes.add(name)
        self._say(at, {"kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status}, change)

    def _pod(self, at: datetime, entry: Mapping[str, Any]) -> None:
        path = str(entry["pod"])
        namespace, _, name = path.partition("/")
        change = "DELETED" if entry.get("gone") else "MODIFIED" if path in self.pods else "ADDED"
        facts = self.pods.setdefault(path, {"ready": True}) | {
            key: value for key, value in entry.items() if key not in ("at", "pod")
        }
        self.pods[path] = facts
        metadata: dict[str, Any] = {"namespace": namespace, "name": name, "labels": facts.get("labels", {})}
        if "workload" in facts:
            metadata["ownerReferences"] = [
                {"kind": facts.get("owner", "DaemonSet"), "name": facts["workload"], "controller": True}
            ]
        status: dict[str, Any] = {
            "phase": facts.get("phase", "Running"),
            "podIPs": [{"ip": ip} for ip in _several(facts.get("ip"))],
            "conditions": [{"type": "Ready", "status": str(bool(facts["ready"]))}],
            "containerStatuses": [{"name": "app", "restartCount": facts.get("restarts", 0), **_container_state(facts)}],
        }
        spec = {"nodeName": facts.get("node"), "hostNetwork": bool(facts.get("host"))}
        self._say(at, {"kind": "Pod", "metadata": metadata, "spec": spec, "status": status}, change)
        for service in _several(facts.get("service")):
            self._endpoint(at, service, path, facts, gone=bool(entry.get("gone")))
        if entry.get("gone"):
            del self.pods[path]

    def _endpoint(self, at: datetime, service: str, pod: str, facts: Mapping[str, Any], *, gone: bool) -> None:
        namespace, _, name = service.partition("/")
        first = service not in self.endpoints
        members = self.endpoints.setdefault(service, {})
        if gone and not facts.get("keep"):
            members.pop(pod, None)
        elif not gone:
            members[pod] = {
                "addresses": _several(facts.get("ip")),
                "conditions": {"ready": bool(facts["ready"])},
                "nodeName": facts.get("node"),
                "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod.partition("/")[2]},
            }
        if first:
            port = facts.get("port", 80)
            self._say(
                at,
                {
                    "kind": "Service",
                    "metadata": {"namespace": namespace, "name": name},
                    "spec": {"ports": [{"port": port}]},
                },
                "ADDED",
            )
        labels = {"kubernetes.io/service-name": name}
        slice_ = {
            "kind": "EndpointSlice",
            "metadata": {"namespace": namespace, "name": f"{name}-abcde", "labels": labels},
        }
        self._say(at, {**slice_, "endpoints": list(members.values())}, "ADDED" if first else "MODIFIED")

    def _say(self, at: datetime, body: dict[str, Any], change: str) -> None:
        body.setdefault("metadata", {}).setdefault("resourceVersion", str(1000 + len(self.records)))
        self.records.append((at, {"at": at.isoformat(), "type": change, "object": body}))


def _container_state(facts: Mapping[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = {}
    if "waiting" in facts:
        state["state"] = {"waiting": {"reason": facts["waiting"]}}
    if "exit" in facts:
        state["lastState"] = {"terminated": {"reason": facts["exit"], "exitCode": facts.get("exit_code", 1)}}
    return state


def _several(value: object) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def records(case: Mapping[str, Any]) -> list[Record]:
    """The records of a case in order of arrival: by time, later ones by `delay` (a record that comes late)."""
    world = _World()
    for entry in sorted(case.get("topology") or [], key=lambda entry: moment(entry.get("at", "0s"))):
        world.add(entry)
    topology = Stream("case/objects", None, "k8s.objects", cluster=CLUSTER)
    found = [Record(micros(at), topology, number, _line(json.dumps(body))) for number, (at, body) in enumerate(world.records)]
    for number, entry in enumerate(case.get("lines") or []):
        for repeat, at in enumerate(_moments(entry)):
            stream, text = _record(entry, at, repeat, number)
            arrival = at + (moment(entry["delay"]) - START if "delay" in entry else timedelta())
            found.append(Record(micros(arrival), stream, number * 100_000 + repeat, _line(text)))
    return sorted(found, key=lambda record: record.key)


def _line(text: str) -> bytes:
    return text.encode() + b"\n"


def _moments(entry: Mapping[str, Any]) -> Iterator[datetime]:
    step = moment(entry["every"]) - START if "every" in entry else timedelta(seconds=1)
    for repeat in range(int(entry.get("times", 1))):
        yield moment(entry.get("at", "0s")) + repeat * step


def _record(entry: Mapping[str, Any], at: datetime, repeat: int, number: int) -> tuple[Stream, str]:
    if "kernel" in entry:
        node = str(entry["kernel"])
        stream = Stream(f"case/{node}/kmsg", "kmsg", "kernel", cluster=CLUSTER, node=node, boot_time=BOOT)
        head = f"{entry.get('prio', 4)},{number * 1000 + repeat},{(at - BOOT) // timedelta(microseconds=1)},-"
        return stream, f"{head};{_text(entry, at, repeat)}"
    if "event" in entry:
        return Stream("case/events", "plain", "k8s.events", cluster=CLUSTER), _event(entry, at, repeat, number)
    if "counters" in entry:
        node = str(entry["counters"])
        body = {"at": at.isoformat(), "path": entry["path"], "text": _text({"line": entry["text"]}, at, repeat)}
        return Stream(f"case/{node}/proc", None, "counters", cluster=CLUSTER, node=node), json.dumps(body)
    if "journal" in entry:
        return _journal(entry, at, repeat)
    return _container(entry, at, repeat)


def _journal(entry: Mapping[str, Any], at: datetime, repeat: int) -> tuple[Stream, str]:
    node = str(entry["journal"])
    body = {
        "__REALTIME_TIMESTAMP": str(micros(at)),
        "_HOSTNAME": node,
        "SYSLOG_IDENTIFIER": entry.get("process", "kubelet"),
        "PRIORITY": "6",
        "MESSAGE": _text(entry, at, repeat),
    }
    return Stream(f"case/{node}/journal", "journald", None, cluster=CLUSTER, node=node), json.dumps(body)


def _container(entry: Mapping[str, Any], at: datetime, repeat: int) -> tuple[Stream, str]:
    """A container's line, in CRI form. The key is the name of a format, or `pod`."""
    known = [key for key in entry if key in parsers.all_formats() or key == "pod"]
    if len(known) != 1:
        names = ", ".join(sorted({"kernel", "journal", "event", "counters", "pod", *parsers.all_formats()}))
        raise UsageError(f"line {dict(entry)!r}: say where it comes from by one of {names}")
    namespace, _, pod = str(entry[known[0]]).partition("/")
    fmt = None if known[0] == "pod" else known[0]
    container = str(entry.get("container", "app" if fmt is None else fmt))
    stream = Stream(
        f"case/{namespace}_{pod}/{container}",
        "cri",
        fmt,
        cluster=CLUSTER,
        node=entry.get("on"),
        namespace=namespace,
        pod=pod,
        container=container,
    )
    output = entry.get("stream", "stdout")
    return stream, f"{at.isoformat().replace('+00:00', 'Z')} {output} F {_text(entry, at, repeat)}"


def _text(entry: Mapping[str, Any], at: datetime, repeat: int) -> str:
    text = str(entry["line"]).replace("{{n}}", str(repeat))
    written = _haproxy if "haproxy" in entry else _written
    return re.sub(r"\{\{time\}\}", lambda match: written(text, match.start(), at), text)


def _haproxy(text: str, where: int, at: datetime) -> str:
    """HAProxy's accept date in brackets, else the form that stands there."""
    if text[:where].endswith("["):
        return f"{at:%d/%b/%Y:%H:%M:%S}.{at.microsecond // 1000:03}"
    return _written(text, where, at)


def _written(text: str, where: int, at: datetime) -> str:
    """The time as the program around it writes it."""
    before, after = text[:where], text[where + len("{{time}}") :]
    if before.endswith("[") and after.startswith("]") and before.strip("["):
        return at.strftime("%d/%b/%Y:%H:%M:%S +0000")
    if re.search(r"(^|\s)[IWEF]$", before):
        return at.strftime("%m%d %H:%M:%S.%f")
    if after.startswith(" ["):
        return at.strftime("%Y/%m/%d %H:%M:%S")
    return at.isoformat().replace("+00:00", "Z")


def _event(entry: Mapping[str, Any], at: datetime, repeat: int, number: int) -> str:
    kind, *path = str(entry["object"]).split("/")
    namespace, name = (path[0], path[1]) if len(path) > 1 else (None, path[0])
    stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    uid = str(entry.get("uid", f"{number}-{0 if 'count' in entry else repeat}"))
    count = int(entry.get("count", 1)) + (repeat if "count" in entry else 0)
    first = moment(entry["first"]).strftime("%Y-%m-%dT%H:%M:%SZ") if "first" in entry else stamp
    body = {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {
            "name": f"{name}.{uid}",
            "namespace": namespace or "default",
            "uid": uid,
            "creationTimestamp": first,
        },
        "involvedObject": {"kind": kind, "namespace": namespace, "name": name, "fieldPath": entry.get("field")},
        "reason": entry["event"],
        "message": str(entry.get("message", "")).replace("{{n}}", str(repeat)),
        "type": entry.get("type", "Warning"),
        "source": {"component": entry.get("component", "kubelet"), "host": entry.get("node")},
        "firstTimestamp": first,
        "lastTimestamp": stamp,
        "count": count,
    }
    return json.dumps({"type": "ADDED" if count == 1 else "MODIFIED", "object": body})


def end(case: Mapping[str, Any]) -> int:
    """The last moment that a case asks about (microseconds)."""
    asked: Sequence[Any] = case.get("expect") or []
    return max((micros(moment(entry.get("at", "0s"))) for entry in asked), default=0)
