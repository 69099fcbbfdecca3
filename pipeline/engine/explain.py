"""From many incidents to one cause: who accounts for whose evidence, resolved over the whole set at once.

A pure function of the incidents and the topology: their order does not matter. Confidence is settled here too, since the
symptoms that a cause accounts for are part of it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.engine import reach as reaching
from pipeline.engine.reach import Reach
from pipeline.engine.topology import Topology
from pipeline.engine.windows import MICRO
from pipeline.model.columns import OBSERVER
from pipeline.model.incident import Incident, Share
from pipeline.signatures import templates
from pipeline.signatures.models import LEVELS, Explains, Signature
from pipeline.signatures.ruleset import RuleSet

DEPTH = (
    "headwater",
    "multicluster",
    "loadbalancer",
    "gateway",
    "mesh",
    "ingress",
    "certificate",
    "service",
    "policy",
    "dns",
    "cni",
    "node",
)
"""Layers from the surface to the ground: of two causes with equal share the deeper one wins."""
COVERAGE_WEIGHT = 0.15
MOST = 0.99
QUERIES = frozenset({"coredns.query"})
SEVERAL = 2
"""Services that must be out of reach from a node before the node is why."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a cause accounts for of a symptom: the share, the weight of each cell, and whether only of what its node saw."""

    share: float
    cells: list[float]
    observed: bool


def explain(
    incidents: Sequence[Incident], ruleset: RuleSet, topology: Topology, final: Sequence[Incident] = ()
) -> list[Incident]:
    """The incidents with causes, symptoms, level and confidence; roots first, then by start.

    `final` ones were explained when they became so; they keep what was found then and still hang below their causes.
    """
    real = [incident for incident in incidents if incident.status != "near_miss" and not incident.vetoed]
    shares = _shares(real, ruleset, topology)
    result: dict[str, Incident] = {}
    folded: dict[str, list[tuple[str, float]]] = defaultdict(list)
    by_id = {incident.id: incident for incident in real}
    for incident in real:
        causes = sorted(shares.get(incident.id, {}).items(), key=lambda item: _rank(by_id[item[0]], item[1]))
        union = _share(_summed([claim.cells for _, claim in causes], incident), incident)
        threshold = min((_edge(ruleset, by_id[cause].signature, incident.signature) or 0.5 for cause, _ in causes), default=0.5)
        main = causes[0][0] if causes and union >= threshold else None
        listed = tuple(Share(cause, round(claim.share, 4)) for cause, claim in causes)
        result[incident.id] = replace(incident, cause=main, causes=listed)
        if main is not None:
            for cause, claim in causes:
                folded[cause].append((incident.id, claim.share))
    for incident in final:
        result[incident.id] = incident
        for known in incident.causes:
            if incident.cause is not None and known.id in by_id:
                folded[known.id].append((incident.id, known.coverage))
    for identity in by_id:
        incident = result[identity]
        result[identity] = _settled(incident, folded.get(identity, []), result, ruleset)
    near = [replace(i, status="near_miss", cause=None) for i in incidents if i.status == "near_miss" or i.vetoed]
    everything = [*result.values(), *near]
    return sorted(
        (_worded(i, ruleset) for i in everything),
        key=lambda i: (i.cause is not None, i.status == "near_miss", i.started, i.signature, i.id),
    )


def _rank(cause: Incident, claim: Claim) -> tuple[float, bool, int, int, str]:
    return (-round(claim.share, 6), claim.observed, -DEPTH.index(cause.layer), cause.started, cause.id)


def _shares(incidents: Sequence[Incident], ruleset: RuleSet, topology: Topology) -> dict[str, dict[str, Claim]]:
    """Symptom to its causes, with what each accounts for."""
    by_id = {incident.id: incident for incident in incidents}
    by_signature: dict[str, list[Incident]] = defaultdict(list)
    for incident in incidents:
        by_signature[incident.signature].append(incident)
    found: dict[str, dict[str, Claim]] = defaultdict(dict)
    observed: dict[str, dict[str, Claim]] = defaultdict(dict)
    for cause in incidents:
        signature = ruleset.signatures[cause.signature].signature
        reaches: dict[tuple[str, ...], Reach] = {}
        for entry, symptom in _explained_by(cause, signature, by_signature, ruleset):
            on = tuple(entry.on)
            if on not in reaches:
                reaches[on] = reaching.of(cause, topology, signature.skew, on)
            asks = "dns" in (symptom.layer, cause.layer) or _is_of_queries(symptom.signature, ruleset)
            claim = _claim(cause, symptom, reaches[on], entry, signature.skew, asks_dns=asks)
            _unite(claim, cause.id, (observed if claim.observed else found)[symptom.id], symptom)
    for identity, by, claim in list(_seen_from_there(observed, found, by_id, ruleset)):
        _unite(claim, by, found[identity], by_id[identity])
    return found


def _unite(claim: Claim, cause: str, claims: dict[str, Claim], symptom: Incident) -> None:
    """A cause accounts for each cell as far as any of its claims does."""
    if cause in claims:
        known = claims[cause]
        cells = [max(pair) for pair in zip(known.cells, claim.cells, strict=True)]
        claim = Claim(_share(cells, symptom), cells, known.observed and claim.observed)
    if claim.share > 0:
        claims[cause] = claim


def _share(weights: Sequence[float], symptom: Incident) -> float:
    """The part of a symptom's rows that weights of its cells come to."""
    total = sum(cell.weight for cell in symptom.cells)
    return sum(weight * cell.weight for weight, cell in zip(weights, symptom.cells, strict=True)) / total if total else 0.0


def _is_of_queries(slug: str, ruleset: RuleSet) -> bool:
    """Whether a signature of another layer stands on what was asked of cluster DNS."""
    detections = (ruleset.detections.get(name) for name in ruleset.rules[ruleset.signatures[slug].rule].detections)
    return any(found is not None and found.selector.sources == QUERIES for found in detections)


def _seen_from_there(
    observed: Mapping[str, Mapping[str, Claim]],
    found: Mapping[str, Mapping[str, Claim]],
    by_id: Mapping[str, Incident],
    ruleset: RuleSet,
) -> Iterator[tuple[str, str, Claim]]:
    """The claims (symptom, cause) about what was seen from the nodes of causes, as far as the node may be why it was seen.

    It is not where others saw the same from elsewhere, apart from what those causes account for anyhow (`found`): who asks from a
    healthy node fails at the pods of a broken one too. And one service that cannot be reached tells of that service; only several
    tell of the node from which none of them can.
    """
    held: dict[str, list[tuple[str, Claim]]] = defaultdict(list)
    for identity, claims in observed.items():
        symptom = by_id[identity]
        edges = [_edge(ruleset, by_id[cause].signature, symptom.signature, observed=True) or 0.5 for cause in claims]
        other = [found[identity][cause].cells for cause in claims if cause in found.get(identity, {})]
        rest = [1 - weight for weight in _summed(other, symptom)]
        seen = [weight * left for weight, left in zip(_summed([c.cells for c in claims.values()], symptom), rest, strict=True)]
        left = _share(rest, symptom)
        if left and edges and _share(seen, symptom) / left >= min(edges):
            for cause, claim in claims.items():
                held[cause].append((identity, claim))
    for cause, parts in held.items():
        if len(set().union(*(_services(by_id[symptom], claim) for symptom, claim in parts))) >= SEVERAL:
            yield from ((symptom, cause, claim) for symptom, claim in parts)


def _services(symptom: Incident, claim: Claim) -> set[tuple[str | None, str]]:
    """The services (namespace, name) in what is claimed of a symptom."""
    some = (cell for cell, weight in zip(symptom.cells, claim.cells, strict=True) if weight)
    touches = {touch for cell in some for touch in cell.touches}
    return {(touch[reaching.NAMESPACE], service) for touch in touches if (service := touch[reaching.SERVICE])}


def _explained_by(
    cause: Incident, signature: Signature, by_signature: Mapping[str, Sequence[Incident]], ruleset: RuleSet
) -> Iterator[tuple[Explains, Incident]]:
    """The incidents whose signatures a cause names, with the entry that names them."""
    for entry in signature.explains:
        for name in entry.rules:
            others = by_signature.get(_slug(ruleset, name), [])
            yield from ((entry, symptom) for symptom in others if symptom.id != cause.id)


def _slug(ruleset: RuleSet, name: str) -> str:
    if name in ruleset.signatures:
        return name
    return next((slug for slug, found in ruleset.signatures.items() if found.signature.name == name), name)


def _claim(cause: Incident, symptom: Incident, reach: Reach, entry: Explains, skew: int, *, asks_dns: bool) -> Claim:
    begin = (cause.started - skew) // MICRO * MICRO
    end = (cause.last if cause.ended is None else cause.ended) + entry.within
    weights = reaching.covered(symptom.cells, reach, begin, end, asks_dns=asks_dns)
    return Claim(_share(weights, symptom), weights, OBSERVER in entry.on)


def _summed(parts: Sequence[Sequence[float]], symptom: Incident) -> list[float]:
    """What several account for of each cell together; a row is never accounted for more than once."""
    return [min(1.0, sum(shares)) for shares in zip(*parts, strict=True)] if parts else [0.0] * len(symptom.cells)


def _edge(ruleset: RuleSet, cause: str, symptom: str, *, observed: bool = False) -> float | None:
    entries = [entry for entry in ruleset.signatures[cause].signature.explains if (OBSERVER in entry.on) == observed]
    return next((e.coverage for e in entries for name in e.rules if _slug(ruleset, name) == symptom), None)


def _settled(incident: Incident, folded: Sequence[tuple[str, float]], all_: Mapping[str, Incident], ruleset: RuleSet) -> Incident:
    """Symptoms, level and confidence of an incident once it is known what hangs below it."""
    signature = ruleset.signatures[incident.signature].signature
    level = incident.level
    for entry in signature.explains:
        explained = {_slug(ruleset, name) for name in entry.rules}
        if entry.level and any(all_[symptom].signature in explained for symptom, _ in folded):
            level = max(level, entry.level, key=LEVELS.index)
    moved = sum(reason.confidence for reason in incident.reasons)
    mean = sum(share for _, share in folded) / len(folded) if folded else 0.0
    confidence = min(MOST, max(0.0, signature.confidence + moved + COVERAGE_WEIGHT * mean))
    below = tuple(
        sorted(
            (s for s, _ in folded if all_[s].cause == incident.id),
            key=lambda s: (all_[s].started, all_[s].signature, s),
        )
    )
    return replace(incident, level=level, confidence=round(confidence, 4), symptoms=below)


def _worded(incident: Incident, ruleset: RuleSet) -> Incident:
    """The texts with the real names in them."""
    signature = ruleset.signatures[incident.signature].signature
    values = {
        **{key: ", ".join(found) for key, found in incident.entities.items()},
        **{key: ", ".join(found) for key, found in incident.shown.items()},
        **incident.group,
        **{f"count.{rule}": str(number) for rule, number in incident.counts.items()},
        "count": str(incident.rows),
        "cluster": incident.cluster,
        "level": incident.level,
        "message": incident.lines[0].text if incident.lines else "",
    }
    values |= {f"{side}.{key}": value for key, value in incident.group.items() for side in ("client", "upstream")}
    return replace(
        incident,
        summary=templates.render(signature.alert.annotations.get("summary", incident.title), values),
        first_aid=tuple(templates.command(text, values) for text in signature.first_aid),
        fix=tuple(templates.command(text, values) for text in signature.fix),
        values=values,
    )
