"""The kernel's own messages, without their prefix. Any text is the kernel's, so every row is understood.

Texts: dossier N-01 to N-18 and A-01 (net/netfilter, net/ipv4, mm/oom_kill.c, net/core/dev.c). What a driver or version
puts in front varies, what stands around the value does not; the patterns hold on to the latter.
"""

from typing import Final

import polars as pl

from pipeline.model.columns import TIME
from pipeline.parsers import Context, Format

_NAME: Final = r"([^\s:,()/]{1,15})"
"""An interface: IFNAMSIZ leaves 15 bytes, and neither blank nor slash may stand in it."""

_INTERFACE: Final = (
    r"\bIN=(\S+) OUT=",
    r"\bIN= OUT=(\S+)",
    rf"\bmartian [^,]*, (?:on )?dev {_NAME}$",
    rf"^{_NAME}(?: \(unregistering\))?: (?:port \d+\(|renamed from |(?:entered|left) \w+ mode)",
    rf"^{_NAME}: [Ll]ink (?:status |becomes |is (?:not ready|up|down)|up|down)",
    rf"^device {_NAME} (?:entered|left) ",
    rf"ADDRCONF\(NETDEV_\w+\): {_NAME}: ",
    rf"^unregister_netdevice: waiting for {_NAME} ",
    rf"NETDEV WATCHDOG: {_NAME} \(",
    rf"(?:^|[\s]){_NAME}:? (?:NIC )?Link (?:is )?(?i:up|down)\b",
    rf"(?:^|[\s]){_NAME}: (?:NETDEV WATCHDOG|IPv6 duplicate address|received packet on )",
    (
        r"^((?:eth|cni|cbr|bond|docker|tunl|team|dummy|tap|tun|wg|ib|br|en[ops])\d[^\s:,()/]{0,11}"
        r"|(?:veth|cali|lxc|eni|azv|gke|br-|flannel\.|vxlan\.|cilium_|kube-)[^\s:,()/]{1,11}|lo): "
    ),
)
"""First that matches. A bare `name: ` counts only for names that cannot be a subsystem's (`TCP: `, `bonding: `), and a
bare `on dev` for none: `Buffer I/O error on dev sda1` is a disk."""

_POD: Final = r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})\b"
"""A pod in a cgroup path: cgroupfs writes the uid with dashes, systemd with underscores; static pods have a hash."""

_MARTIAN: Final = r"martian (?:source|destination) ([0-9A-Fa-f.:]+) from ([0-9A-Fa-f.:]+),"
"""`martian source DST from SRC`: the destination comes first (net/ipv4/route.c)."""

_SYN: Final = r"SYN flooding on port (?:\S*:)?(\d{1,5})\."
"""A bare port until 6.x put the bound address in front: `8080`, `0.0.0.0:8080`, `[::]:443`."""

_LOGGED: Final = r"\bIN=\S* OUT=\S* .*\b"
"""A packet that a firewall rule logs, such as Calico's (`calico-packet: IN=cali1 OUT= SRC=.. DST=.. SPT=.. DPT=..`)."""


def _first(*patterns: str) -> pl.Expr:
    return pl.coalesce(pl.col("message").str.extract(pattern) for pattern in patterns)


def _parse(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    text = pl.col("message")
    # `Kill process 12 (x) score 9 or sacrifice child` is refused: it announces, and a child may be the one that dies.
    cgroup = _first(r"\btask_memcg=([^,\s]+)", r"\boom_memcg=([^,\s]+)", r"^Task in (\S+) killed as a result of ")
    return frame.select(
        pl.lit("kernel").alias("source"),
        pl.lit(None, dtype=pl.String()).alias("log.level"),
        pl.lit(None, dtype=TIME).alias("event.time"),
        _first(*_INTERFACE).alias("network.interface"),
        _first(r"\bin netns (\d+)").cast(pl.Int64(), strict=False).alias("kernel.netns"),
        pl.coalesce(text.str.extract(_MARTIAN, 2), _first(rf"{_LOGGED}SRC=(\S+)")).alias("source.address"),
        pl.coalesce(text.str.extract(_MARTIAN, 1), _first(rf"{_LOGGED}DST=(\S+)")).alias("destination.address"),
        _first(_SYN, rf"{_LOGGED}DPT=(\d{{1,5}})\b").cast(pl.Int64()).alias("destination.port"),
        _first(r"Killed process \d+,?(?: UID \d+,)? \((.{1,64}?)\)(?:,| total-vm|$)", r"^oom-kill:.*,task=(.+),pid=\d+").alias(
            "process.killed"
        ),
        cgroup.alias("kernel.cgroup"),
        cgroup.str.extract(_POD).str.replace_all("_", "-", literal=True).alias("k8s.pod.uid"),
    )


_COLUMNS: Final[dict[str, pl.DataType]] = {
    "network.interface": pl.String(),
    "kernel.netns": pl.Int64(),
    "source.address": pl.String(),
    "destination.address": pl.String(),
    "destination.port": pl.Int64(),
    "process.killed": pl.String(),
    "kernel.cgroup": pl.String(),
    "k8s.pod.uid": pl.String(),
}

FORMAT = Format(
    name="kernel",
    columns=_COLUMNS,
    sources=("kernel",),
    parse=_parse,
    verbatim=frozenset({"network.interface", "source.address", "destination.address", "process.killed", "kernel.cgroup"}),
    processes=("kernel",),
)
