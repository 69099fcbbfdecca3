"""What a cause can have touched, following the topology as it was then.

A node reaches its pods; a pod the services it backs, by its share of the backends that were ready before the cause began; a
service its callers; and what carries cluster DNS reaches everyone who asks it. A row is weighed by the most exact entity it
names: a timeout towards a pod elsewhere is not reached because its service also has a backend here.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.engine.topology import Topology
from pipeline.model import columns
from pipeline.model.incident import Cell, Incident, Touch

GOOD_PART = 0.2
"""Of the rows of the entity that most are about: so many make another one that the incident is about."""
ANYWHERE = 0.6
"""What a cause accounts for that reaches its whole cluster: enough to explain, less than a cause that names the place."""
NODE, ZONE, NAMESPACE, WORKLOAD, POD, SERVICE = range(len(columns.ENTITY))


@dataclass(slots=True)
class Reach:
    """Weights (0 to 1) by entity. Pods, workloads and services are keyed by (namespace, name)."""

    nodes: dict[str, float] = field(default_factory=dict)
    zones: dict[str, float] = field(default_factory=dict)
    namespaces: dict[str, float] = field(default_factory=dict)
    workloads: dict[tuple[str, str], float] = field(default_factory=dict)
    pods: dict[tuple[str, str], float] = field(default_factory=dict)
    services: dict[tuple[str, str], float] = field(default_factory=dict)
    dns: float = 0.0
    observer: str | None = None
    """The node from which everything that is seen is in reach, whatever it is about."""
    anywhere: float = 0.0
    """The weight of what no name brings into reach."""

    def weight(self, touch: Touch, *, asks_dns: bool) -> float:
        """How far a touched entity is in reach, judged by the most exact name it has."""
        found = max(self._nearest(touch), self.anywhere)
        return max(found, self.dns) if asks_dns else found

    def _nearest(self, touch: Touch) -> float:
        """The weight of the first name that decides. A pod or node out of reach decides too: its service must not."""
        namespace, pod, node = str(touch[NAMESPACE] or ""), str(touch[POD] or ""), str(touch[NODE] or "")
        decided = (
            self.pods.get((namespace, pod)),
            self.nodes.get(node, 0.0) if node and self.nodes else None,
            self.workloads.get((namespace, str(touch[WORKLOAD]))),
            self.namespaces.get(namespace),
            self.zones.get(str(touch[ZONE])),
            0.0 if pod and self.pods else None,
            self._service(namespace, touch[SERVICE]),
        )
        return next((weight for weight in decided if weight is not None), 0.0)

    def _service(self, namespace: str, service: str | None) -> float | None:
        if not service or not self.services:
            return None
        if namespace:
            return self.services.get((namespace, service), 0.0)
        return max((weight for (_, name), weight in self.services.items() if name == service), default=0.0)


def of(incident: Incident, topology: Topology, skew: int, on: Sequence[str] = ()) -> Reach:
    """The reach of an incident: from its entities `on` (default: its group), or where it has none, from what it touched."""
    if columns.OBSERVER in on:
        return Reach(observer=_home(incident, topology))
    before = incident.started - skew
    reach = Reach(anywhere=ANYWHERE if columns.CLUSTER in on else 0.0)
    named = _named(incident, on)
    for key, namespace, value in named:
        if key == "k8s.node.name":
            _add_node(reach, value, topology, before)
        elif key == "cloud.availability_zone":
            _add_zone(reach, value, topology, before)
        elif key == "k8s.workload.name":
            _add_workload(reach, namespace, value, topology, before)
        elif key == "k8s.pod.name":
            _add_pod(reach, namespace, value, topology, before)
        elif key == "k8s.service.name":
            _add_service(reach, namespace, value, topology, before)
    if {key for key, _, _ in named} == {"k8s.namespace.name"}:
        reach.namespaces.update((value, 1.0) for _, _, value in named)
    if not named:
        _add_touched(reach, incident, topology, before)
    unknown = incident.layer == "dns" and not topology.knows_dns()
    # Where nobody said which pods carry DNS, a disaster of DNS itself is taken to concern everyone who asks.
    reach.dns = 1.0 if unknown else _dns_share(reach, topology, before)
    return reach


def _named(incident: Incident, on: Sequence[str]) -> list[tuple[str, str, str]]:
    """The entities (key, namespace, name) an incident is of: those of its group, and those of `on` that it is mostly about."""
    group = {key: value for key, value in incident.group.items() if key in columns.ENTITY and (not on or key in on)}
    home = incident.group.get("k8s.namespace.name") or _only(incident, "k8s.namespace.name") or ""
    named = [(key, home, value) for key, value in group.items()]
    for key in dict.fromkeys((*group, *(key for key in on if key in columns.ENTITY))):
        # What names a service often stands in another namespace (a client, the API server): its rows name it alike.
        mostly = [found for found in _mostly(incident, key) if found[1] == group.get(key, found[1])]
        named += [(key, namespace or home, value) for namespace, value in mostly]
    return list(dict.fromkeys(named))


def _only(incident: Incident, key: str) -> str | None:
    """The value of an entity key that the incident's evidence is mostly about."""
    return next(iter(incident.entities.get(key, {})), None)


def _home(incident: Incident, topology: Topology) -> str | None:
    """The node that an incident is of: its group's, that of the pod it is grouped by, or else the one it is mostly about."""
    if node := incident.group.get("k8s.node.name"):
        return node
    if pod := incident.group.get("k8s.pod.name"):
        namespace = incident.group.get("k8s.namespace.name") or _only(incident, "k8s.namespace.name") or ""
        if node := topology.node_of_pod(namespace, pod):
            return node
        seen = Counter({cell.observer: cell.weight for cell in incident.cells if cell.observer})
        if seen:  # a pod tells of itself mostly
            return seen.most_common(1)[0][0]
    return _only(incident, "k8s.node.name")


def _mostly(incident: Incident, key: str) -> list[tuple[str, str]]:
    """The values of an entity key, each with its namespace, that good parts of the incident's evidence are about."""
    place = columns.ENTITY.index(key)
    counts: Counter[tuple[str, str]] = Counter()
    for cell in incident.cells:
        for touch in cell.touches:
            if value := touch[place]:
                counts[str(touch[NAMESPACE] or ""), value] += cell.weight
    if not counts:
        return [("", value) for value in [_only(incident, key)] if value]
    least = max(counts.values()) * GOOD_PART
    return sorted(found for found, number in counts.items() if number >= least)


def _add_node(reach: Reach, node: str, topology: Topology, before: int) -> None:
    reach.nodes[node] = 1.0
    for key in topology.pods_on(node):
        _add_pod(reach, key.namespace, key.name, topology, before)


def _add_zone(reach: Reach, zone: str, topology: Topology, before: int) -> None:
    reach.zones[zone] = 1.0
    for name, where in topology.zones().items():
        if where == zone:
            _add_node(reach, name, topology, before)


def _add_workload(reach: Reach, namespace: str, workload: str, topology: Topology, before: int) -> None:
    reach.workloads[namespace, workload] = 1.0
    for key in topology.pods_of(namespace, workload):
        _add_pod(reach, key.namespace, key.name, topology, before)


def _add_pod(reach: Reach, namespace: str, pod: str, topology: Topology, before: int) -> None:
    if (namespace, pod) in reach.pods:
        return
    reach.pods[namespace, pod] = 1.0
    for service in topology.services_of_pod(namespace, pod):
        backends = topology.backends(namespace, service, before)
        ready = [backend for backend in backends if backend.ready] or backends
        share = sum(backend.pod == pod for backend in ready) / len(ready) if ready else 0.0
        key = (namespace, service)
        reach.services[key] = min(1.0, reach.services.get(key, 0.0) + share)


def _add_service(reach: Reach, namespace: str, service: str, topology: Topology, before: int) -> None:
    reach.services[namespace, service] = 1.0
    for backend in topology.backends(namespace, service, before):
        if backend.pod:
            reach.pods[namespace, backend.pod] = 1.0
    for key, services in topology.pod_services().items():
        if key[0] == namespace and service in services:
            reach.pods[key] = 1.0


def _add_touched(reach: Reach, incident: Incident, topology: Topology, before: int) -> None:
    for touch in {touch for cell in incident.cells for touch in cell.touches}:
        if touch[POD]:
            _add_pod(reach, str(touch[NAMESPACE] or ""), str(touch[POD]), topology, before)
        elif touch[NODE]:
            _add_node(reach, str(touch[NODE]), topology, before)
        elif touch[SERVICE]:
            _add_service(reach, str(touch[NAMESPACE] or ""), str(touch[SERVICE]), topology, before)


def _dns_share(reach: Reach, topology: Topology, before: int) -> float:
    """How much of cluster DNS the reached pods carried."""
    shares = []
    for key in topology.dns_services():
        shares.append(reach.services.get((key.namespace, key.name), 0.0))
        backends = topology.backends(key.namespace, key.name, before)
        ready = [backend for backend in backends if backend.ready] or backends
        if ready:
            shares.append(sum(reach.pods.get((key.namespace, str(backend.pod)), 0.0) for backend in ready) / len(ready))
    return max(shares, default=0.0)


def covered(cells: Sequence[Cell], reach: Reach, begin: int, end: int, *, asks_dns: bool) -> list[float]:
    """Per cell the weight (0 to 1) that a cause accounts for: in its time and in its reach."""
    known: dict[tuple[tuple[Touch, ...], bool], float] = {}
    result = []
    for cell in cells:
        if not begin <= cell.second <= end:
            result.append(0.0)
            continue
        key = (cell.touches, reach.observer is not None and cell.observer == reach.observer)
        if key not in known:
            touched = (reach.weight(touch, asks_dns=asks_dns) for touch in cell.touches)
            known[key] = 1.0 if key[1] else max(touched, default=reach.anywhere)
        result.append(known[key])
    return result
