"""Topology objects as Kubernetes wrote them, cut down to what the engine needs.

A record is `{"at": RFC 3339, "type": "ADDED|MODIFIED|DELETED", "object": {...}}`. Objects are few (changes a second, not lines),
so they are read one by one; everything built on them is derived from the set of versions, whatever their order of arrival.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

FOREVER = 2**62
"""Microseconds since 1970 for what has not ended."""
_FRACTION = re.compile(r"(\.\d{6})\d+")
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
_REPLICA = re.compile(rf"^(?P<owner>.+)-(?:[{_SAFE}]{{5,10}}|[0-9a-f]{{8,10}})-[{_SAFE}]{{5}}$")
_CRON_POD = re.compile(rf"^(?P<owner>.+)-\d{{8,11}}-[{_SAFE}]{{5}}$")
_CRON_JOB = re.compile(r"^(?P<owner>.+)-\d{8,11}$")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """One state of one object. Times are microseconds since 1970; `order` breaks ties (resourceVersion, then arrival id)."""

    at: int
    order: tuple[int, str]
    change: str = field(compare=False)
    created: int = field(compare=False)
    uid: str = field(compare=False)
    body: Mapping[str, Any] = field(compare=False)

    @property
    def gone(self) -> bool:
        """Whether the object does not exist any more, or a pod has ended and given its address back."""
        return self.change == "DELETED" or self.body.get("phase") in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Key:
    """Which object."""

    kind: str
    namespace: str
    name: str


def microseconds(text: object) -> int | None:
    """Microseconds since 1970 of an RFC 3339 time, or None."""
    if not isinstance(text, str):
        return None
    try:
        parsed = datetime.fromisoformat(_FRACTION.sub(r"\1", text.replace("Z", "+00:00")))
    except ValueError:
        return None
    parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return round((parsed - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)


def read(record: str | bytes, identity: str) -> tuple[Key, Version] | None:
    """The object of a record, or None when it is not one."""
    try:
        parsed = json.loads(record)
        obj = parsed["object"]
        meta = obj["metadata"]
        key = Key(str(obj["kind"]), str(meta.get("namespace") or ""), str(meta["name"]))
        at = microseconds(parsed.get("at"))
        if at is None:
            return None
        created = microseconds(meta.get("creationTimestamp"))
        number = str(meta.get("resourceVersion") or "0")
        order = (int(number) if number.isdigit() else 0, identity)
        body = _BODIES.get(key.kind, _custom)(obj)
        return key, Version(at, order, str(parsed.get("type")), at if created is None else created, str(meta.get("uid")), body)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError):
        return None


def workload_of(
    pod: str, owner_kind: str | None = None, owner: str | None = None, template_hash: str | None = None
) -> str | None:
    """The workload of a pod: its owner's owner where the names tell it, else None.

    Without an owner (a log path is all there is) only names as the controllers generate them are taken apart.
    """
    if owner is None:
        match = _REPLICA.match(pod) or _CRON_POD.match(pod)
        return match["owner"] if match else None
    if owner_kind == "ReplicaSet":
        return owner.removesuffix(f"-{template_hash}") if template_hash else (owner.rpartition("-")[0] or owner)
    if owner_kind == "Job":
        match = _CRON_JOB.match(owner)
        return match["owner"] if match else owner
    return owner


def _custom(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Of a custom resource what its controllers say of it: (part, type) to (status, reason, message).

    A part is a listener of a gateway, or a parent or ancestor that a route or policy names. What was said of an earlier
    generation does not hold any more. Of a route that nobody took up nothing is said: that is its condition then.
    """
    if "." not in str(obj.get("apiVersion")).partition("/")[0]:
        return {}
    status, generation = obj.get("status") or {}, obj["metadata"].get("generation")
    parts = [("", status), *((_part(part), part) for name in _PARTS for part in status.get(name) or [])]
    ignored = {("", "Accepted"): ("Unknown", "Pending", "no controller has taken it up")}
    return {
        "conditions": {
            **(ignored if (obj.get("spec") or {}).get("parentRefs") and not status.get("parents") else {}),
            **{
                (part, str(said["type"])): (str(said.get("status")), said.get("reason"), said.get("message"))
                for part, holder in parts
                for said in holder.get("conditions") or []
                if said.get("observedGeneration", generation) == generation
            },
        }
    }


_PARTS = ("listeners", "parents", "ancestors")


def _part(holder: Mapping[str, Any]) -> str:
    """What the name of a listener is, or of the gateway and listener that a route names."""
    ref = holder.get("parentRef") or holder.get("ancestorRef") or {}
    return str(holder.get("name") or "/".join(str(ref[key]) for key in ("namespace", "name", "sectionName") if ref.get(key)))


def _pod(obj: Mapping[str, Any]) -> dict[str, Any]:
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    owners = meta.get("ownerReferences") or []
    owner = next((o for o in owners if o.get("controller")), owners[0] if owners else {})
    labels = meta.get("labels") or {}
    ips = [entry.get("ip") for entry in status.get("podIPs") or []] or [status.get("podIP")]
    statuses = status.get("containerStatuses") or []
    return {
        "node": spec.get("nodeName"),
        "host": bool(spec.get("hostNetwork")),
        "ips": tuple(ip for ip in ips if ip),
        "phase": status.get("phase"),
        "ready": _condition(status, "Ready") == "True",
        "workload": workload_of(meta["name"], owner.get("kind"), owner.get("name"), labels.get("pod-template-hash")),
        "app": next((labels[k] for k in ("app.kubernetes.io/name", "k8s-app", "app") if k in labels), None),
        "labels": labels,
        "restarts": sum(int(s.get("restartCount") or 0) for s in statuses),
        "waiting": _first(statuses, "state", "waiting", "reason"),
        "exit_reason": _first(statuses, "state", "terminated", "reason") or _first(statuses, "lastState", "terminated", "reason"),
        "exit_code": _first(statuses, "state", "terminated", "exitCode")
        or _first(statuses, "lastState", "terminated", "exitCode"),
        "deleting": meta.get("deletionTimestamp") is not None,
    }


def _first(statuses: Sequence[Mapping[str, Any]], *path: str) -> Any:
    for status in statuses:
        value: Any = status
        for part in path:
            value = (value or {}).get(part)
        if value is not None:
            return value
    return None


def _condition(status: Mapping[str, Any], kind: str) -> str | None:
    return next((c.get("status") for c in status.get("conditions") or [] if c.get("type") == kind), None)


def _node(obj: Mapping[str, Any]) -> dict[str, Any]:
    labels, status = obj["metadata"].get("labels") or {}, obj.get("status") or {}
    return {
        "zone": labels.get("topology.kubernetes.io/zone") or labels.get("failure-domain.beta.kubernetes.io/zone"),
        "ips": tuple(a["address"] for a in status.get("addresses") or [] if a.get("type") in ("InternalIP", "ExternalIP")),
        "ready": _condition(status, "Ready"),
        "unschedulable": bool((obj.get("spec") or {}).get("unschedulable")),
    }


def _service(obj: Mapping[str, Any]) -> dict[str, Any]:
    spec = obj.get("spec") or {}
    ips = spec.get("clusterIPs") or [spec.get("clusterIP")]
    ports = [str(p[k]) for p in spec.get("ports") or [] for k in ("port", "name", "targetPort") if p.get(k) is not None]
    labels = obj["metadata"].get("labels") or {}
    dns = any(str(p.get("port")) == "53" for p in spec.get("ports") or [])
    return {
        "ips": tuple(ip for ip in ips if ip and ip != "None"),
        "ports": tuple(ports),
        "dns": dns and (labels.get("k8s-app") == "kube-dns" or obj["metadata"].get("namespace") == "kube-system"),
        "selector": spec.get("selector") or {},
    }


def _slice(obj: Mapping[str, Any]) -> dict[str, Any]:
    labels = obj["metadata"].get("labels") or {}
    endpoints: list[tuple[str, str | None, str | None, bool]] = []
    for endpoint in obj.get("endpoints") or []:
        conditions, target = endpoint.get("conditions") or {}, endpoint.get("targetRef") or {}
        pod = target.get("name") if target.get("kind", "Pod") == "Pod" else None
        ready = conditions.get("ready")
        state = (pod, endpoint.get("nodeName"), True if ready is None else bool(ready))
        endpoints.extend((address, *state) for address in endpoint.get("addresses") or [])
    return {"service": labels.get("kubernetes.io/service-name"), "endpoints": tuple(endpoints)}


def _ingress(obj: Mapping[str, Any]) -> dict[str, Any]:
    spec, routes = obj.get("spec") or {}, []
    for rule in spec.get("rules") or []:
        for path in (rule.get("http") or {}).get("paths") or []:
            service = (path.get("backend") or {}).get("service") or {}
            if service.get("name"):
                routes.append((rule.get("host") or "*", path.get("path") or "/", service["name"]))
    default = ((spec.get("defaultBackend") or {}).get("service") or {}).get("name")
    if default:
        routes.append(("*", "/", default))
    return {"routes": tuple(routes)}


def _policy(obj: Mapping[str, Any]) -> dict[str, Any]:
    spec = obj.get("spec") or {}
    egress = "Egress" in (spec.get("policyTypes") or (["Egress"] if "egress" in spec else []))
    return {"egress": egress, "allows_dns": not egress or any(_carries_dns(rule) for rule in spec.get("egress") or [])}


def _carries_dns(rule: Mapping[str, Any]) -> bool:
    """Whether an egress rule lets look-ups pass: no ports at all, or UDP 53 among them (by number, name or range)."""
    ports = rule.get("ports")
    if not ports:
        return True
    for port in ports:
        number, end = port.get("port"), port.get("endPort")
        inside = isinstance(number, int) and isinstance(end, int) and number <= 53 <= end  # noqa: PLR2004 (the port of DNS)
        if port.get("protocol", "TCP") == "UDP" and (number is None or number in (53, "dns", "53") or inside):
            return True
    return False


_BODIES = {
    "Pod": _pod,
    "Node": _node,
    "Service": _service,
    "EndpointSlice": _slice,
    "Ingress": _ingress,
    "NetworkPolicy": _policy,
}
