"""Who owned an address, backed a service, ran on a node: as of a time, not as of now.

Everything is derived from the set of object versions seen, so that it does not depend on their order of arrival. An
address belongs to its owner from the version that shows it until the owner is gone or another takes it; a freed address keeps its
last owner, marked former, for `FORMER` microseconds. Membership in a service is an interval of its own. Of a pod that was never
seen itself, the slices that name it tell address and node.
"""

import bisect
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import polars as pl

from pipeline.engine.objects import FOREVER, Key, Version, workload_of

T = TypeVar("T")
FORMER = 15 * 60 * 1_000_000
OWNER = ("node", "zone", "namespace", "workload", "pod")

ADDRESSES = {"address": pl.String(), "from": pl.Int64(), "until": pl.Int64(), **dict.fromkeys(OWNER, pl.String())}
MEMBERS = {
    "address": pl.String(),
    "from": pl.Int64(),
    "until": pl.Int64(),
    "service_namespace": pl.String(),
    "service": pl.String(),
}
PODS = {"namespace": pl.String(), "pod": pl.String(), "node": pl.String(), "workload": pl.String()}


@dataclass(frozen=True, slots=True)
class Backend:
    """One endpoint of a service."""

    address: str
    pod: str | None
    node: str | None
    ready: bool


@dataclass(frozen=True, slots=True)
class Told:
    """What a slice tells of a pod: from when until when it has an address, and its node."""

    start: int
    end: int
    address: str
    node: str | None


@dataclass(slots=True)
class Topology:
    """The versions of all objects, and what follows from them."""

    versions: dict[Key, list[Version]] = field(default_factory=dict)
    _frames: dict[str, pl.DataFrame] = field(default_factory=dict)
    _lookups: dict[str, Any] = field(default_factory=dict)
    _named: set[tuple[str, str]] = field(default_factory=set)
    """Pods (namespace, name) that slices name or have named."""

    def __getstate__(self) -> dict[Key, list[Version]]:
        return self.versions

    def __setstate__(self, versions: dict[Key, list[Version]]) -> None:
        self.versions, self._frames, self._lookups = versions, {}, {}
        self._named = self._named_by_slices()

    def is_empty(self) -> bool:
        """Whether no object was ever seen."""
        return not self.versions

    def add(self, records: Sequence[tuple[Key, Version]]) -> int | None:
        """Take versions in; gives the time from which something may be known otherwise now, or None."""
        changed: list[int] = []
        for key, version in records:
            history = self.versions.setdefault(key, [])
            at = bisect.bisect_left(history, version)
            if at < len(history) and history[at] == version:
                continue
            if key.kind == "EndpointSlice":
                self._named.update((key.namespace, e[1]) for e in version.body["endpoints"])
            replaces = self._replaces_slices(key, version, history)
            history.insert(at, version)
            changed.append(0 if replaces else min(version.at, version.created) if at == 0 else version.at)
        if not changed:
            return None
        self._frames.clear()
        self._lookups.clear()
        return min(changed)

    def forget(self, before: int) -> None:
        """Drop what ended before a time (microseconds), and all but the last version older than it."""
        for key, history in list(self.versions.items()):
            keep = bisect.bisect_left([version.at for version in history], before)
            # A pod that is gone must not come back by a slice that was never put right.
            speaks = key.kind == "Pod" and (key.namespace, key.name) in self._named
            if keep == len(history) and history[-1].gone and not speaks:
                del self.versions[key]
            elif keep > 1:
                self.versions[key] = history[keep - 1 :]
        self._named = self._named_by_slices()

    def of_kind(self, kind: str) -> Iterator[tuple[Key, list[Version]]]:
        """Every object of a kind with its history, oldest version first."""
        return ((key, history) for key, history in self.versions.items() if key.kind == kind)

    def addresses(self) -> pl.DataFrame:
        """Intervals of ownership, sorted by `from`: columns `ADDRESSES`, times in microseconds."""
        if "addresses" not in self._frames:
            rows = [*self._pod_addresses(), *self._node_addresses(), *self._service_addresses()]
            frame = pl.DataFrame(_cut_at_reuse(rows), schema=ADDRESSES, orient="row")
            self._frames["addresses"] = frame.sort("from", "address", maintain_order=True)
        return self._frames["addresses"]

    def members(self) -> pl.DataFrame:
        """Intervals of membership in a service, sorted by `from`: columns `MEMBERS`. An address in two services has two."""
        if "members" not in self._frames:
            rows: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
            for member, span in self._memberships():
                rows[member].append(span)
            flat = [(a, s, e, n, service) for (a, n, service), spans in rows.items() for s, e in _joined(spans) if service]
            self._frames["members"] = pl.DataFrame(flat, schema=MEMBERS, orient="row").sort("from", "address", "service")
        return self._frames["members"]

    def pods(self) -> pl.DataFrame:
        """Where a pod runs and which workload it belongs to, by its last version: columns `PODS`."""
        if "pods" not in self._frames:
            rows = [(k.namespace, k.name, h[-1].body["node"], h[-1].body["workload"]) for k, h in self.of_kind("Pod")]
            rows.extend((k.namespace, k.name, told[-1].node, workload_of(k.name)) for k, told in self._sliced().items())
            self._frames["pods"] = pl.DataFrame(rows, schema=PODS, orient="row")
        return self._frames["pods"]

    def zones(self) -> dict[str, str]:
        """Node to zone."""
        return self._lookup("zones", lambda: {k.name: h[-1].body["zone"] for k, h in self.of_kind("Node") if h[-1].body["zone"]})

    def backend(self, name: str) -> tuple[str, str] | None:
        """The service (namespace, name) for whose port an ingress controller built a backend's name.

        ingress-nginx: `namespace-service-port`; HAProxy: `namespace_svc_service_port` and `namespace_service_port`; Envoy in
        Istio: `outbound|port|subset|service.namespace.svc.cluster.local`. No name in Kubernetes has an underscore or a bar, so
        HAProxy's longer form and Istio's tell the service also where no list of services does.
        """
        match name.split("_"):
            case [namespace, "svc", service, _] if namespace and service:
                return namespace, service
        match name.split("|"):
            case [_, _, _, host] if host.split(".")[2:3] == ["svc"]:
                service, namespace, *_ = host.split(".")
                return namespace, service
        return self._lookup("backend_names", self._backend_names).get(name)

    def routes(self) -> dict[str, list[tuple[str, str, str]]]:
        """Host to (path prefix, namespace, service), longest path first; `*` is any host."""
        return self._lookup("routes", self._routes)

    def dns_services(self) -> list[Key]:
        """The services that carry cluster DNS."""
        return self._lookup("dns", lambda: [k for k, h in self.of_kind("Service") if h[-1].body["dns"]])

    def knows_dns(self) -> bool:
        """Whether a pod was ever seen behind a service that carries cluster DNS."""
        return self._lookup("knows_dns", self._knows_dns)

    def backends(self, namespace: str, service: str, at: int) -> list[Backend]:
        """The endpoints of a service as of a time, ready or not."""
        slices = self._lookup("slices", self._slices_by_service).get((namespace, service), [])
        found: dict[str, Backend] = {}
        # Before anything was known of the service, the first that was known is the best guess at what it was.
        first = min((history[0].at for history in slices), default=at)
        for history in slices:
            version = as_of(history, max(at, first))
            if version is not None and not version.gone:
                found.update({e[0]: Backend(*e) for e in version.body["endpoints"]})
        return [found[address] for address in sorted(found)]

    def services_of_pod(self, namespace: str, pod: str) -> list[str]:
        """The services of whose slices the pod ever was part."""
        return self.pod_services().get((namespace, pod), [])

    def pod_services(self) -> dict[tuple[str, str], list[str]]:
        """Pod (namespace, name) to the services that it ever backed."""
        return self._lookup("pod_services", self._pod_services)

    def pods_on(self, node: str) -> list[Key]:
        """The pods that ever ran on the node (within what is remembered)."""
        found: dict[str, list[Key]] = self._lookup("pods_on", self._pods_by_node)
        return found.get(node, [])

    def node_of_pod(self, namespace: str, pod: str) -> str | None:
        """The node that a pod runs on, by its last version."""
        found = self.pods().filter(pl.col("namespace") == namespace, pl.col("pod") == pod)["node"].drop_nulls()
        return None if found.is_empty() else str(found[0])

    def pods_of(self, namespace: str, workload: str) -> list[Key]:
        """The pods of a workload."""
        found = self.pods().filter(pl.col("namespace") == namespace, pl.col("workload") == workload)
        return [Key("Pod", namespace, name) for name in found["pod"]]

    def _lookup(self, name: str, build: Callable[[], T]) -> T:
        if name not in self._lookups:
            self._lookups[name] = build()
        found: T = self._lookups[name]
        return found

    def _pod_addresses(self) -> Iterator[tuple[Any, ...]]:
        zones = self.zones()
        for key, history in self.of_kind("Pod"):
            for version, start, end in spans(history):
                body = version.body
                if body["host"]:
                    continue
                owner = (body["node"], zones.get(body["node"]), key.namespace, body["workload"], key.name)
                for address in body["ips"]:
                    yield (address, start, end, *owner)
        taken = self._node_ips()
        for key, told in self._sliced().items():
            for part in told:
                if part.address not in taken:  # else the pod has the address of its node
                    owner = (part.node, zones.get(part.node or ""), key.namespace, workload_of(key.name), key.name)
                    yield (part.address, part.start, part.end, *owner)

    def _node_addresses(self) -> Iterator[tuple[Any, ...]]:
        for key, history in self.of_kind("Node"):
            for version, start, end in spans(history):
                for address in version.body["ips"]:
                    yield (address, start, end, key.name, version.body["zone"], None, None, None)

    def _service_addresses(self) -> Iterator[tuple[Any, ...]]:
        for key, history in self.of_kind("Service"):
            for version, start, end in spans(history):
                for address in version.body["ips"]:
                    yield (address, start, end, None, None, key.namespace, None, None)

    def _memberships(self) -> Iterator[tuple[tuple[str, str, str], tuple[int, int]]]:
        """(address, namespace, service) and from when until when, by slices and by the service's own addresses."""
        for key, history in self.of_kind("EndpointSlice"):
            for version, start, end in spans(history):
                service = version.body["service"] or ""
                yield from (((e[0], key.namespace, service), (start, end)) for e in version.body["endpoints"])
        for key, history in self.of_kind("Service"):
            for version, start, end in spans(history):
                yield from (((address, key.namespace, key.name), (start, end)) for address in version.body["ips"])

    def _backend_names(self) -> dict[str, tuple[str, str]]:
        names: dict[str, tuple[str, str]] = {}
        for key, history in self.of_kind("Service"):
            owner = (key.namespace, key.name)
            for port in history[-1].body["ports"]:
                names[f"{key.namespace}-{key.name}-{port}"] = owner
                names[f"{key.namespace}_{key.name}_{port}"] = owner
        return names

    def _routes(self) -> dict[str, list[tuple[str, str, str]]]:
        routes: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
        for key, history in self.of_kind("Ingress"):
            for host, path, service in history[-1].body["routes"]:
                routes[host].append((path, key.namespace, service))
        return {host: sorted(found, key=lambda r: (-len(r[0]), r)) for host, found in routes.items()}

    def _sliced(self) -> dict[Key, list[Told]]:
        """The pods of which only slices tell, with all that these told, the latest last."""
        return self._lookup("sliced", self._told_by_slices)

    def _told_by_slices(self) -> dict[Key, list[Told]]:
        known = {(key.namespace, key.name) for key, _ in self.of_kind("Pod")}
        found: dict[Key, list[Told]] = defaultdict(list)
        for key, history in self.of_kind("EndpointSlice"):
            for version, start, end in spans(history):
                named = [e for e in version.body["endpoints"] if e[1] and (key.namespace, e[1]) not in known]
                # That it was so before the slice was seen is a guess. It is a part of its own, to be cut by what was seen.
                parts = [part for part in ((start, version.at), (version.at, end)) if part[0] < part[1]]
                for address, pod, node, _ in named:
                    found[Key("Pod", key.namespace, pod)].extend(Told(*part, address, node) for part in parts)
        return {key: sorted(told, key=lambda t: (t.end, t.start, t.address, t.node or "")) for key, told in found.items()}

    def _named_by_slices(self) -> set[tuple[str, str]]:
        slices = self.of_kind("EndpointSlice")
        return {(key.namespace, e[1]) for key, history in slices for version in history for e in version.body["endpoints"]}

    def _node_ips(self) -> frozenset[str]:
        return frozenset(ip for _, history in self.of_kind("Node") for version in history for ip in version.body["ips"])

    def _replaces_slices(self, key: Key, version: Version, earlier: Sequence[Version]) -> bool:
        """Whether what slices told is void from the beginning: their pod itself is seen, or their address is a node's."""
        if key.kind == "Pod":
            return not earlier and (key.namespace, key.name) in self._named and key in self._sliced()
        if key.kind != "Node":
            return False
        fresh = set(version.body["ips"]) - {ip for known in earlier for ip in known.body["ips"]}
        return bool(fresh) and any(part.address in fresh for told in self._sliced().values() for part in told)

    def _slices_by_service(self) -> dict[tuple[str, str], list[list[Version]]]:
        found: dict[tuple[str, str], list[list[Version]]] = defaultdict(list)
        for key, history in self.of_kind("EndpointSlice"):
            found[key.namespace, history[-1].body["service"] or ""].append(history)
        return found

    def _pod_services(self) -> dict[tuple[str, str], list[str]]:
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for key, history in self.of_kind("EndpointSlice"):
            named = ((e[1], version.body["service"]) for version in history for e in version.body["endpoints"])
            for pod, service in named:
                if pod and service:
                    found[key.namespace, pod].add(service)
        return {pod: sorted(services) for pod, services in found.items()}

    def _knows_dns(self) -> bool:
        backed = {(namespace, service) for (namespace, _), services in self.pod_services().items() for service in services}
        return any((key.namespace, key.name) in backed for key in self.dns_services())

    def _pods_by_node(self) -> dict[str, list[Key]]:
        found: dict[str, list[Key]] = defaultdict(list)
        for key, history in self.of_kind("Pod"):
            for node in dict.fromkeys(v.body["node"] for v in history if v.body["node"]):
                found[node].append(key)
        for key, told in self._sliced().items():
            for node in dict.fromkeys(part.node for part in told if part.node):
                found[node].append(key)
        return found


def as_of(history: Sequence[Version], at: int) -> Version | None:
    """The version in force at a time; the first one counts from the object's creation."""
    found = bisect.bisect_right([version.at for version in history], at)
    if found:
        return history[found - 1]
    return history[0] if history and history[0].created <= at else None


def spans(history: Sequence[Version]) -> Iterator[tuple[Version, int, int]]:
    """Each version that shows a living object, from when and until when it holds.

    The first version seen counts from the creation of the object: a snapshot shows what was there before it.
    """
    for index, version in enumerate(history):
        if version.gone:
            continue
        start = min(version.at, version.created) if index == 0 else version.at
        end = history[index + 1].at if index + 1 < len(history) else FOREVER
        yield version, start, end


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Touching intervals made one."""
    result: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], end))
        else:
            result.append((start, end))
    return result


def _cut_at_reuse(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Intervals of one address without overlap: versions of one owner become one, a new owner ends the former."""
    by_address: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        by_address[row[0]].append(row)
    result: list[tuple[Any, ...]] = []
    for address, found in by_address.items():
        merged: list[tuple[Any, ...]] = []
        for _, start, end, *owner in sorted(found, key=lambda r: (r[1], r[2], str(r[3:]))):
            if merged and merged[-1][3:] == tuple(owner) and start <= merged[-1][2]:
                merged[-1] = (address, merged[-1][1], max(merged[-1][2], end), *owner)
                continue
            if merged and merged[-1][2] > start:
                merged[-1] = (*merged[-1][:2], start, *merged[-1][3:])
            merged.append((address, start, end, *owner))
        result.extend(merged)
    return result
