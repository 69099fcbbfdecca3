"""The report of the service as Prometheus' text."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import PROCESS_COLLECTOR, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_SOURCES = (
    ("up", "alive", "Whether the source can be read."),
    ("streams", "streams", "Streams that the source follows."),
    ("unread_bytes", "unread_bytes", "Bytes known to be unread."),
    ("lag_seconds", "lag_seconds", "How old the last row was when it was read."),
)
_RECEIVERS = (
    ("pending", "pending", "Notifications that wait to be delivered."),
    ("oldest_seconds", "oldest_seconds", "How long the oldest of them has waited."),
)
_DELIVERED = (
    ("sent", "Notifications that were delivered."),
    ("failed", "Notifications that were given up."),
    ("repeated", "Deliveries that were tried again."),
)


def text(report: Mapping[str, Any]) -> bytes:
    """The report in Prometheus' exposition format, with the usual metrics of the process."""
    registry = CollectorRegistry()
    registry.register(PROCESS_COLLECTOR)
    registry.register(_Report(report))
    return generate_latest(registry)


class _Report(Collector):
    def __init__(self, report: Mapping[str, Any]) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        report = self._report
        yield _gauge("build_info", "The version that runs.", ("version",), [((report["version"],), 1)])
        yield _gauge("ready", "Whether the backlog of the start is worked off.", (), [((), report["ready"])])
        yield from _sources(report["sources"])
        yield _counter("lines", "Lines read by format.", ("format",), _labelled(report["lines"]))
        yield _counter(
            "unparsed_lines", "Lines that their format did not understand.", ("format",), _labelled(report["unparsed"])
        )
        rules = report["rules"]
        yield _gauge("signatures", "Signatures that are loaded.", (), [((), rules["signatures"])])
        yield _counter("rule_seconds", "Time that a signature took.", ("signature",), _labelled(rules["seconds"]))
        yield _counter("rule_errors", "Failures of a rule.", ("rule",), _labelled(rules["errors"]))
        yield _gauge("incidents", "Incidents that are held on to, by status.", ("status",), _labelled(report["incidents"]))
        yield _gauge("log_bytes", "Bytes of the local log.", (), [((), report["log"]["bytes"])])
        yield _gauge(
            "store_unsaved_incidents", "Incidents that the store does not have yet.", (), [((), report["store"]["unsaved"])]
        )
        yield _gauge("checkpoint_seconds", "What the last checkpoint took.", (), [((), report["checkpoint"]["seconds"])])
        yield _gauge(
            "checkpoint_still_seconds", "For how long reading stood still.", (), [((), report["checkpoint"]["still_seconds"])]
        )
        yield _gauge("checkpoint_bytes", "Bytes of the last checkpoint.", (), [((), report["checkpoint"]["bytes"])])
        yield _counter("caps_reached", "What a cap cost, in rows or bytes.", ("cap",), _labelled(report["caps"]))
        troubles = [((trouble["at"], trouble["kind"]), trouble["count"]) for trouble in report["troubles"]]
        yield _counter("troubles", "What went wrong: times, records or bytes.", ("at", "kind"), troubles)
        yield from _receivers(report["receivers"])


def _sources(sources: Iterable[Mapping[str, Any]]) -> Iterator[Metric]:
    listed = list(sources)
    for name, key, help_ in _SOURCES:
        values = [((source["name"],), source[key]) for source in listed if source[key] is not None]
        yield _gauge(f"source_{name}", help_, ("source",), values)
    yield _counter("source_read_bytes", "Bytes read.", ("source",), [((source["name"],), source["bytes"]) for source in listed])


def _receivers(receivers: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    for name, key, help_ in _RECEIVERS:
        values = [((receiver,), status[key]) for receiver, status in receivers.items() if status[key] is not None]
        yield _gauge(f"notifications_{name}", help_, ("receiver",), values)
    for key, help_ in _DELIVERED:
        values = [((receiver,), status[key]) for receiver, status in receivers.items()]
        yield _counter(f"notifications_{key}", help_, ("receiver",), values)


def _labelled(values: Mapping[str, float]) -> list[tuple[tuple[str, ...], float]]:
    return [((label,), value) for label, value in values.items()]


def _gauge(name: str, help_: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = GaugeMetricFamily(f"headwater_{name}", help_, labels=labels)
    for label, value in values:
        family.add_metric(label, float(value))
    return family


def _counter(name: str, help_: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = CounterMetricFamily(f"headwater_{name}", help_, labels=labels)
    for label, value in values:
        family.add_metric(label, float(value))
    return family
