"""How much a past incident is like another, and why: the same disaster, in the same place, with the same victims.

What is rare says more than what is common, and what no other incident has cannot tell them apart. What people said of the past
one counts too: one that was marked wrong ranks lower, and it is said.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.contracts.store import Likeness, Stored
from pipeline.model import public, words

Trait = tuple[Literal["entity", "symptom"], str, str]
"""Something an incident may share with another: an entity as key and value, or a symptom as signature and nothing."""

LEAST = 0.1
"""What scores less is no likeness: one victim of many, and a common one."""
_SIGNATURE, _PLACE, _VICTIMS = 0.5, 0.3, 0.2
_SAID = {"right": 1.0, None: 0.9, "wrong": 0.45}
_NAMED = 3
"""Entities and symptoms that a reason names; the rest is counted."""
_WORDS = {
    "k8s.node.name": "node", "cloud.availability_zone": "zone", "k8s.namespace.name": "namespace",
    "k8s.workload.name": "workload", "k8s.pod.name": "pod", "k8s.service.name": "service",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """An incident as far as likeness goes. `below` is the signature of what it was then a symptom of."""

    signature: str
    traits: frozenset[Trait]
    verdict: Literal["right", "wrong"] | None = None
    below: str | None = None


def traits(form: Mapping[str, Mapping[str, object]], symptoms: frozenset[str]) -> frozenset[Trait]:
    """The traits of an incident by its entities and the signatures of its symptoms."""
    places: frozenset[Trait] = frozenset(("entity", key, value) for key, values in form.items() for value in values)
    victims: frozenset[Trait] = frozenset(("symptom", signature, "") for signature in symptoms)
    return places | victims


def weights(counts: Mapping[Trait, int], total: int) -> dict[Trait, float]:
    """What each trait weighs, by how many of `total` incidents have it; one that a single incident has is left out."""
    return {trait: math.log((total + 1) / number) for trait, number in counts.items() if number > 1}


def score(subject: Case, past: Case, weight: Mapping[Trait, float]) -> float:
    """From 0 to 1: the signature, and the shares of the subject's places and victims that the past one had as well.

    What shares neither signature nor victim is not alike: another disaster in the same place is just that.
    """
    if subject.signature != past.signature and not any(t[0] == "symptom" and t in weight for t in subject.traits & past.traits):
        return 0.0
    parts = [(_SIGNATURE, float(subject.signature == past.signature))]
    for kind, part in (("entity", _PLACE), ("symptom", _VICTIMS)):
        own = [trait for trait in subject.traits if trait[0] == kind]
        if own:
            whole = sum(weight.get(trait, 0.0) for trait in own)
            both = sum(weight.get(trait, 0.0) for trait in own if trait in past.traits)
            parts.append((part, both / whole if whole else 0.0))
    likeness = sum(part * share for part, share in parts) / sum(part for part, _ in parts)
    return round(likeness * _SAID[past.verdict], 4)


def describe(subject: Case, past: Case, weight: Mapping[Trait, float], found: Stored) -> Likeness:
    """The past incident with its score, why it is like the subject, and what ended it."""
    why = ["same signature"] if subject.signature == past.signature else []
    if past.below is not None:
        why.append(f"then a symptom of {past.below}")
    shared = sorted((t for t in subject.traits & past.traits if t in weight), key=lambda t: (-weight[t], t))
    places = [f"{_WORDS.get(key, key)} {value}" for kind, key, value in shared if kind == "entity"]
    victims = [signature for kind, signature, _ in shared if kind == "symptom"]
    why += [f"same {label}{_some(names)}" for label, names in (("", places), ("symptoms: ", victims)) if names]
    if found.feedback:
        last = found.feedback[-1]
        why.append(f"marked {last.verdict} by {last.author}" + (f": it was {last.cause}" if last.cause else ""))
    return Likeness(found, score(subject, past, weight), tuple(why), _ended(found))


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _ended(found: Stored) -> str:
    """What people said of it, or at least how long it took."""
    notes = [feedback for feedback in found.feedback if feedback.note]
    if notes:
        return f"{notes[-1].note} ({notes[-1].author})"
    form = found.incident
    if form["ended"] is None:
        return ""
    return f"over after {words.lasted(public.microseconds(form['ended']) - public.microseconds(form['started']))}"
