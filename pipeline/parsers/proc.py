"""Counters of the kernel's network code, sampled from files below /proc, from `ip -s link` and from `ethtool -S`.

A record is the JSON line `{"at": RFC 3339, "path": "/proc/...", "text": "file content as read"}`. Columns are taken by
the names in a file's own header where it has one, because kernels differ. A text that was cut gives no sample: half a
table would look like a counter that fell. Sources of fact: net/ipv4/proc.c, net/ipv6/proc.c, net/core/net-procfs.c,
net/core/neighbour.c and net/netfilter/nf_conntrack_standalone.c of Linux; iproute2's ipaddress.c; ethtool's ethtool.c.
"""

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import polars as pl

from pipeline.model.columns import TIME
from pipeline.parsers import text as texts

SAMPLES: Final[dict[str, pl.DataType]] = {
    "line": pl.UInt32(),
    "@timestamp": TIME,
    "counter.name": pl.String(),
    "counter.instance": pl.String(),
    "counter.value": pl.Int64(),
}
"""What `samples` gives. `line` is the row of the record; `counter.instance` is the device, or `pid:8460` for the
network namespace of that process, or both (`pid:8460/eth0`), or empty: the host as a whole. CPUs are summed."""


@dataclass(frozen=True, slots=True)
class Counter:
    """What a counter is: `total` only grows until the next boot, so its increase counts; `gauge` is the state now."""

    kind: Literal["total", "gauge"]
    file: str
    about: str = ""


_GAUGES: Final = frozenset(
    {
        *("Ip.Forwarding", "Ip.DefaultTTL", "Tcp.RtoAlgorithm", "Tcp.RtoMin", "Tcp.RtoMax", "Tcp.MaxConn"),
        *("Tcp.CurrEstab", "softnet.backlog", "nf_conntrack.entries", "arp_cache.entries", "ndisc_cache.entries"),
    }
)

_ABOUT: Final[dict[str, str]] = {
    "Icmp.OutDestUnreachs": "unreachables sent, type 3 code 4 (fragmentation needed) among them",
    "Icmp.InDestUnreachs": "unreachables received; none where a path drops big packets means that ICMP is filtered",
    "Ip.FragFails": "packets too big for the next link that must not be fragmented",
    "Ip.InDiscards": "good packets dropped for lack of room",
    "Ip.OutDiscards": "good packets dropped on the way out; also a full neighbour table",
    "Ip.OutNoRoutes": "no route to the destination",
    "Ip.ReasmFails": "fragments that never became a packet",
    "Ip6.FragFails": "packets too big for the next link",
    "Ip6.InTooBigErrors": "packets that could not be forwarded because they exceed the next link's MTU",
    "Ip6.OutNoRoutes": "no route to the destination",
    "Tcp.AttemptFails": "connections that ended before they were established",
    "Tcp.OutSegs": "segments sent; the base of the share of retransmissions",
    "Tcp.RetransSegs": "segments sent again",
    "TcpExt.IPReversePathFilter": "packets dropped because their source is not reached by the interface they came from",
    "TcpExt.ListenDrops": "SYNs or handshakes dropped by a listener, whatever the reason",
    "TcpExt.ListenOverflows": "handshakes dropped because the accept queue was full",
    "TcpExt.PruneCalled": "sockets whose receive queue was pruned for lack of memory",
    "TcpExt.RcvPruned": "packets dropped from a receive queue for lack of memory",
    "TcpExt.SyncookiesFailed": "cookies that came back wrong",
    "TcpExt.SyncookiesRecv": "connections made by way of a SYN cookie",
    "TcpExt.SyncookiesSent": "SYNs answered by a cookie because the SYN queue was full",
    "TcpExt.TCPAbortOnMemory": "connections ended because TCP memory or the orphan limit was spent",
    "TcpExt.TCPBacklogDrop": "packets dropped because the socket's backlog was full",
    "TcpExt.TCPMTUPFail": "path MTU probes that were lost",
    "TcpExt.TCPMemoryPressures": "times that TCP came under memory pressure",
    "TcpExt.TCPRcvCollapsed": "packets merged in a receive queue to save memory",
    "TcpExt.TCPReqQFullDoCookies": "times that a full SYN queue was answered by cookies",
    "TcpExt.TCPReqQFullDrop": "SYNs dropped because the SYN queue was full and cookies are off",
    "TcpExt.TCPSynRetrans": "SYNs and SYN-ACKs sent again: connects that do not get through",
    "TcpExt.TCPTimeouts": "retransmission timers that ran out",
    "TcpExt.TCPTimeWaitOverflow": "sockets in TIME_WAIT beyond the limit",
    "Udp.InErrors": "datagrams that could not be delivered",
    "Udp.NoPorts": "datagrams for a port without a listener",
    "Udp.RcvbufErrors": "datagrams dropped because the receive buffer was full",
    "Udp.SndbufErrors": "datagrams dropped because the send buffer was full",
    "Udp.MemErrors": "datagrams dropped because UDP memory was spent",
    "Udp6.RcvbufErrors": "datagrams dropped because the receive buffer was full",
    "nf_conntrack.drop": "packets dropped because no entry could be made: the table is full",
    "nf_conntrack.early_drop": "entries evicted to make room in a full table",
    "nf_conntrack.entries": "connections in the table",
    "nf_conntrack.clashres": "clashes of two entries that could be resolved",
    "nf_conntrack.insert_failed": "entries that clashed when inserted: the packet is lost (source port and DNS races)",
    "nf_conntrack.invalid": "packets that fit no connection",
    "arp_cache.entries": "IPv4 neighbours in the table, of all namespaces",
    "arp_cache.table_fulls": "neighbours refused because the table was full",
    "ndisc_cache.entries": "IPv6 neighbours in the table, of all namespaces",
    "ndisc_cache.table_fulls": "neighbours refused because the table was full",
    "netdev.rx_dropped": "received packets dropped or missed; unknown protocols (LLDP) count too",
    "netdev.tx_dropped": "packets dropped on their way out",
    "softnet.dropped": "received packets dropped because a CPU's backlog was full",
    "softnet.squeezed": "times that receive processing ran out of its budget with packets left",
    "softnet.flow_limit": "packets dropped by the flow limit",
}

_TABLES: Final[dict[str, str]] = {
    "/proc/net/snmp": """
        Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards
            InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs
            FragFails FragCreates OutTransmits
        Icmp: InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs InRedirects InEchos
            InEchoReps InTimestamps InTimestampReps InAddrMasks InAddrMaskReps OutMsgs OutErrors OutRateLimitGlobal
            OutRateLimitHost OutDestUnreachs OutTimeExcds OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps
            OutTimestamps OutTimestampReps OutAddrMasks OutAddrMaskReps
        IcmpMsg: InType0 InType3 InType5 InType8 InType11 OutType0 OutType3 OutType5 OutType8 OutType11
        Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs
            OutSegs RetransSegs InErrs OutRsts InCsumErrors
        Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
        UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti
            MemErrors
    """,
    "/proc/net/netstat": """
        TcpExt: SyncookiesSent SyncookiesRecv SyncookiesFailed EmbryonicRsts PruneCalled RcvPruned OfoPruned
            OutOfWindowIcmps LockDroppedIcmps ArpFilter TW TWRecycled TWKilled PAWSActive PAWSEstab BeyondWindow
            TSEcrRejected PAWSOldAck PAWSTimewait DelayedACKs DelayedACKLocked DelayedACKLost ListenOverflows
            ListenDrops TCPHPHits TCPPureAcks TCPHPAcks TCPRenoRecovery TCPSackRecovery TCPSACKReneging TCPSACKReorder
            TCPRenoReorder TCPTSReorder TCPFullUndo TCPPartialUndo TCPDSACKUndo TCPLossUndo TCPLostRetransmit
            TCPRenoFailures TCPSackFailures TCPLossFailures TCPFastRetrans TCPSlowStartRetrans TCPTimeouts
            TCPLossProbes TCPLossProbeRecovery TCPRenoRecoveryFail TCPSackRecoveryFail TCPRcvCollapsed
            TCPBacklogCoalesce TCPDSACKOldSent TCPDSACKOfoSent TCPDSACKRecv TCPDSACKOfoRecv TCPAbortOnData
            TCPAbortOnClose TCPAbortOnMemory TCPAbortOnTimeout TCPAbortOnLinger TCPAbortFailed TCPMemoryPressures
            TCPMemoryPressuresChrono TCPSACKDiscard TCPDSACKIgnoredOld TCPDSACKIgnoredNoUndo TCPSpuriousRTOs
            TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure TCPSackShifted TCPSackMerged TCPSackShiftFallback
            TCPBacklogDrop PFMemallocDrop TCPMinTTLDrop TCPDeferAcceptDrop IPReversePathFilter TCPTimeWaitOverflow
            TCPReqQFullDoCookies TCPReqQFullDrop TCPRetransFail TCPRcvCoalesce TCPOFOQueue TCPOFODrop TCPOFOMerge
            TCPChallengeACK TCPSYNChallenge TCPFastOpenActive TCPFastOpenActiveFail TCPFastOpenPassive
            TCPFastOpenPassiveFail TCPFastOpenListenOverflow TCPFastOpenCookieReqd TCPFastOpenBlackhole
            TCPSpuriousRtxHostQueues BusyPollRxPackets TCPAutoCorking TCPFromZeroWindowAdv TCPToZeroWindowAdv
            TCPWantZeroWindowAdv TCPSynRetrans TCPOrigDataSent TCPHystartTrainDetect TCPHystartTrainCwnd
            TCPHystartDelayDetect TCPHystartDelayCwnd TCPACKSkippedSynRecv TCPACKSkippedPAWS TCPACKSkippedSeq
            TCPACKSkippedFinWait2 TCPACKSkippedTimeWait TCPACKSkippedChallenge TCPWinProbe TCPKeepAlive TCPMTUPFail
            TCPMTUPSuccess TCPDelivered TCPDeliveredCE TCPAckCompressed TCPZeroWindowDrop TCPRcvQDrop TCPWqueueTooBig
            TCPFastOpenPassiveAltKey TcpTimeoutRehash TcpDuplicateDataRehash TCPDSACKRecvSegs TCPDSACKIgnoredDubious
            TCPMigrateReqSuccess TCPMigrateReqFailure TCPPLBRehash TCPAORequired TCPAOBad TCPAOKeyNotFound TCPAOGood
            TCPAODroppedIcmps
        IpExt: InNoRoutes InTruncatedPkts InMcastPkts OutMcastPkts InBcastPkts OutBcastPkts InOctets OutOctets
            InMcastOctets OutMcastOctets InBcastOctets OutBcastOctets InCsumErrors InNoECTPkts InECT1Pkts InECT0Pkts
            InCEPkts ReasmOverlaps
    """,
    "/proc/net/snmp6": """
        Ip6: InReceives InHdrErrors InTooBigErrors InNoRoutes InAddrErrors InUnknownProtos InTruncatedPkts InDiscards
            InDelivers OutForwDatagrams OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs
            ReasmFails FragOKs FragFails FragCreates InMcastPkts OutMcastPkts InOctets OutOctets OutTransmits
        Icmp6: InMsgs InErrors OutMsgs OutErrors InCsumErrors OutRateLimitHost InDestUnreachs InPktTooBigs InTimeExcds
            InParmProblems InNeighborSolicits InNeighborAdvertisements OutDestUnreachs OutPktTooBigs OutTimeExcds
            OutParmProblems OutNeighborSolicits OutNeighborAdvertisements
        Udp6: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
        UdpLite6: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti
            MemErrors
    """,
    "/proc/net/stat/nf_conntrack": """
        nf_conntrack: entries clashres searched found new invalid ignore delete delete_list chainlength insert
            insert_failed drop early_drop icmp_error expect_new expect_create expect_delete search_restart
    """,
    "/proc/net/stat/arp_cache": """
        arp_cache: entries allocs destroys hash_grows lookups hits res_failed rcv_probes_mcast rcv_probes_ucast
            periodic_gc_runs forced_gc_runs unresolved_discards table_fulls
    """,
    "/proc/net/stat/ndisc_cache": """
        ndisc_cache: entries allocs destroys hash_grows lookups hits res_failed rcv_probes_mcast rcv_probes_ucast
            periodic_gc_runs forced_gc_runs unresolved_discards table_fulls
    """,
    "/proc/net/softnet_stat": """
        softnet: processed dropped squeezed received_rps flow_limit backlog
    """,
    "/proc/net/dev": """
        netdev: rx_bytes rx_packets rx_errors rx_dropped rx_fifo rx_frame rx_compressed rx_multicast tx_bytes
            tx_packets tx_errors tx_dropped tx_fifo tx_collisions tx_carrier tx_compressed
    """,
}
"""By file: the names under each heading, as the file itself writes them where it has a header."""

_STATES: Final[dict[str, tuple[str, str]]] = {
    "sockstat.sockets.used": ("/proc/net/sockstat", "sockets of all kinds"),
    "sockstat.TCP.inuse": ("/proc/net/sockstat", "established and listening sockets"),
    "sockstat.TCP.orphan": ("/proc/net/sockstat", "sockets that no process holds any more"),
    "sockstat.TCP.tw": ("/proc/net/sockstat", "sockets in TIME_WAIT; near the port range, connects fail"),
    "sockstat.TCP.alloc": ("/proc/net/sockstat", "TCP sockets in any state"),
    "sockstat.TCP.mem": ("/proc/net/sockstat", "pages that TCP buffers take, of the whole node"),
    "sockstat.UDP.inuse": ("/proc/net/sockstat", "UDP sockets"),
    "sockstat.UDP.mem": ("/proc/net/sockstat", "pages that UDP buffers take, of the whole node"),
    "sockstat.UDPLITE.inuse": ("/proc/net/sockstat", ""),
    "sockstat.RAW.inuse": ("/proc/net/sockstat", ""),
    "sockstat.FRAG.inuse": ("/proc/net/sockstat", "packets waiting for fragments"),
    "sockstat.FRAG.memory": ("/proc/net/sockstat", "bytes that waiting fragments take"),
}

_SYSCTLS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "netfilter/nf_conntrack_count": (("conntrack.count", "connections in the table of this namespace"),),
    "netfilter/nf_conntrack_max": (("conntrack.max", "connections the table may hold"),),
    "nf_conntrack_max": (("conntrack.max", ""),),
    "netfilter/nf_conntrack_buckets": (("conntrack.buckets", "hash buckets; more than 8 connections a bucket is slow"),),
    **{
        f"{family}/neigh/default/gc_thresh{n}": ((f"{cache}.gc_thresh{n}", about),)
        for family, cache in (("ipv4", "arp_cache"), ("ipv6", "ndisc_cache"))
        for n, about in ((1, "below it nothing is collected"), (2, "soft limit"), (3, "hard limit of the table"))
    },
    **{
        f"ipv4/{name}": tuple((f"{name}.{part}", "pages") for part in ("low", "pressure", "high"))
        for name in ("tcp_mem", "udp_mem")
    },
    "ipv4/ip_local_port_range": (("port_range.first", "lowest local port"), ("port_range.last", "highest local port")),
}


def _described() -> dict[str, Counter]:
    found: dict[str, Counter] = {}
    for file, table in _TABLES.items():
        family = ""
        for word in table.split():
            if word.endswith(":"):
                family = word.removesuffix(":")
            else:
                name = f"{family}.{word}"
                found[name] = Counter("gauge" if name in _GAUGES else "total", file, _ABOUT.get(name, ""))
    for name, (file, about) in _STATES.items():
        found[name] = Counter("gauge", file, about)
    for path, parts in _SYSCTLS.items():
        for name, about in parts:
            found.setdefault(name, Counter("gauge", f"/proc/sys/net/{path}", about))
    return found


COUNTERS: Final[Mapping[str, Counter]] = _described()
"""Every counter that has a name of its own. Beside these, any file below /proc/sys/net that holds one number is
readable under its sysctl name (`net.core.somaxconn`); a device in its path is the instance (`net.ipv4.conf.rp_filter`,
`eth0`); and what a driver counts under its own name is `ethtool.` and that name."""

_Values = list[tuple[str, str, int]]
_Reader = Callable[[str, frozenset[str]], _Values]
"""Text and wanted names to (name, device, value); ValueError where the text is not what the path promises."""


class _Record(NamedTuple):
    at: str
    path: str
    text: str


@functools.lru_cache(maxsize=512)
def _picks(family: str, keys: tuple[str, ...], wanted: frozenset[str]) -> tuple[tuple[int, str], ...]:
    names = enumerate(f"{family}.{key}" for key in keys)
    return tuple((at, name) for at, name in names if name in wanted)


@functools.lru_cache(maxsize=512)
def _header(line: str) -> tuple[str, tuple[str, ...]]:
    family, *keys = line.split()
    return family.removesuffix(":"), tuple(keys)


def _protocols(text: str, wanted: frozenset[str]) -> _Values:
    """/proc/net/snmp and netstat: a line of names, a line of numbers, both led by the protocol."""
    lines = text.splitlines()
    values: _Values = []
    for names, numbers in zip(lines[::2], lines[1::2], strict=True):
        family, keys = _header(names)
        label, *cells = numbers.split()
        if label != f"{family}:" or len(cells) != len(keys):
            raise ValueError(label)
        values += [(name, "", int(cells[at])) for at, name in _picks(family, keys, wanted)]
    return values


@functools.lru_cache(maxsize=512)
def _sixth(key: str) -> str:
    for family in ("UdpLite6", "Icmp6", "Udp6", "Ip6"):
        if key.startswith(family):
            return f"{family}.{key.removeprefix(family)}"
    raise ValueError(key)


def _snmp6(text: str, wanted: frozenset[str]) -> _Values:
    """/proc/net/snmp6: a name and a number a line; a last line without its end may have lost digits and is left out."""
    pairs = [line.split() for line in text.rpartition("\n")[0].splitlines()]
    return [(_sixth(key), "", int(number)) for key, number in pairs if _sixth(key) in wanted]


_DIGITS: Final = 8


def _hexadecimal(rows: list[str], width: int) -> list[list[str]]:
    """One row a CPU, each number printed as %08x: anything shorter was cut."""
    cells = [row.split() for row in rows]
    if not cells or any(len(row) != width or len(row[-1]) < _DIGITS for row in cells):
        raise ValueError(rows)
    return cells


def _stat(family: str, text: str, wanted: frozenset[str]) -> _Values:
    """/proc/net/stat/*: a header, a row a CPU. `entries` is the whole table's in every row, the rest is summed."""
    header, *rows = text.splitlines()
    keys = tuple(header.split())
    cells = _hexadecimal(rows, len(keys))
    combine = {f"{family}.entries": max}
    return [(name, "", combine.get(name, sum)(int(row[at], 16) for row in cells)) for at, name in _picks(family, keys, wanted)]


_SOFTNET: Final = {"processed": 0, "dropped": 1, "squeezed": 2, "received_rps": 9, "flow_limit": 10, "backlog": 11}


def _softnet(text: str, wanted: frozenset[str]) -> _Values:
    """/proc/net/softnet_stat: no header, a row a CPU; later columns are missing in old kernels."""
    rows = text.splitlines()
    width = len(rows[0].split()) if rows else 0
    cells = _hexadecimal(rows, max(width, 9))
    present = [(f"softnet.{key}", at) for key, at in _SOFTNET.items() if at < width]
    return [(name, "", sum(int(row[at], 16) for row in cells)) for name, at in present if name in wanted]


_DEV: Final = {"errs": "errors", "drop": "dropped", "colls": "collisions"}


@functools.lru_cache(maxsize=16)
def _columns(header: str) -> tuple[str, ...]:
    _, received, sent = header.split("|")
    sides = (("rx", received), ("tx", sent))
    return tuple(f"{side}_{_DEV.get(word, word)}" for side, words in sides for word in words.split())


def _dev(text: str, wanted: frozenset[str]) -> _Values:
    _, header, *rows = text.splitlines()
    keys = _columns(header)
    picks = _picks("netdev", keys, wanted)
    values: _Values = []
    for row in rows:
        device, colon, numbers = row.rpartition(":")
        cells = numbers.split()
        if not colon or len(cells) != len(keys):
            raise ValueError(row)
        values += [(name, device.strip(), int(cells[at])) for at, name in picks]
    return values


def _sockstat(text: str, wanted: frozenset[str]) -> _Values:
    values: _Values = []
    for line in text.splitlines():
        label, *cells = line.split()
        pairs = zip(cells[::2], cells[1::2], strict=True)
        named = ((f"sockstat.{label.removesuffix(':')}.{key}", number) for key, number in pairs)
        values += [(name, "", int(number)) for name, number in named if name in wanted]
    return values


def _numbers(names: tuple[str, ...], text: str, wanted: frozenset[str]) -> _Values:
    """/proc/sys: one number or a few."""
    numbers = [int(word) for word in text.split()]
    return [(name, "", number) for name, number in zip(names, numbers, strict=True) if name in wanted]


_LINK: Final = {"mcast": "multicast", "collsns": "collisions"}


def _link(text: str, wanted: frozenset[str]) -> _Values:
    """`ip -s link`: per device a line `2: eth0@if7: <...>`, then `RX:` and `TX:` with names, each above its numbers."""
    values: _Values = []
    device, lines = "", text.splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        label, *keys = line.split() or [""]
        if line[:1].isdecimal():
            device = "".join(keys[:1]).removesuffix(":").partition("@")[0]
        elif label in ("RX:", "TX:"):
            numbers = dict(zip(keys, map(int, below.split()), strict=True))
            # /proc/net/dev counts a missed packet as dropped; one name must mean one thing.
            numbers["dropped"] += numbers.pop("missed", 0)
            named = ((f"netdev.{label[:2].lower()}_{_LINK.get(key, key)}", number) for key, number in numbers.items())
            values += [(name, device, number) for name, number in named if name in wanted]
    return values


def _ethtool(device: str, text: str, wanted: frozenset[str]) -> _Values:
    """`ethtool -S`: a heading, then a name of the driver's and a number a line."""
    pairs = (line.rpartition(":") for line in text.splitlines() if not line.rstrip().endswith(":"))
    named = ((f"ethtool.{key.strip()}", int(number)) for key, _, number in pairs if number)
    return [(name, device, number) for name, number in named if name in wanted]


_READERS: Final[dict[str, _Reader]] = {
    "net/snmp": _protocols,
    "net/netstat": _protocols,
    "net/snmp6": _snmp6,
    "net/dev": _dev,
    "net/sockstat": _sockstat,
    "net/softnet_stat": _softnet,
    **{f"net/stat/{name}": functools.partial(_stat, name) for name in ("nf_conntrack", "arp_cache", "ndisc_cache")},
}


def _sysctl(path: str) -> tuple[_Reader, str]:
    if path in _SYSCTLS:
        return functools.partial(_numbers, tuple(name for name, _ in _SYSCTLS[path])), ""
    match path.split("/"):
        case [family, "conf" | "neigh" as table, device, *rest] if rest:
            name = ".".join(["net", family, table, *rest])
        case parts:
            name, device = ".".join(["net", *parts]), ""
    return functools.partial(_numbers, (name,)), device


@functools.lru_cache(maxsize=4096)
def _place(path: str) -> tuple[_Reader, str] | None:
    """How to read the file and whose it is; None for a path that is not ours. A mount may stand before `/proc/`."""
    words = path.split()
    if words[:1] == ["ip"] and "-s" in words and not {"l", "link"}.isdisjoint(words):
        return _link, ""
    if words[:1] == ["ethtool"] and not {"-S", "--statistics"}.isdisjoint(words):
        return functools.partial(_ethtool, words[-1]), ""
    below = path.partition("/proc/")[2]
    owner, _, rest = below.partition("/")
    if owner in ("self", "thread-self", "1"):  # the host's own namespace, as /proc/net is
        owner, below = "", rest
    elif owner.isdecimal():
        below = rest
    if below.startswith("sys/net/"):
        return _sysctl(below.removeprefix("sys/net/"))
    reader = _READERS.get(below)
    return (reader, f"pid:{owner}" if owner.isdecimal() else "") if reader else None


def _record(line: str) -> _Record | None:
    try:
        match json.loads(line, parse_constant=_refuse):
            case {"at": str(at), "path": str(path), "text": str(text)}:
                f"{at}{path}{text}".encode()  # half a surrogate pair, which JSON can escape, is no text
                return _Record(at, path, text)
    except (ValueError, RecursionError):
        return None
    return None


def _refuse(constant: str) -> None:
    """NaN and Infinity, which Python reads but JSON does not know."""
    raise ValueError(constant)


def _read(record: _Record, wanted: frozenset[str]) -> _Values | None:
    """Samples with their instance; None where path or text is not understood."""
    place = _place(record.path)
    if place is None or not record.text.strip():
        return None
    reader, owner = place
    try:
        values = reader(record.text, wanted)
    except (ValueError, KeyError):
        return None
    return [(name, "/".join(filter(None, (owner, device))), value) for name, device, value in values]


def _times(records: Iterable[_Record | None]) -> pl.Series:
    at = pl.Series("at", [record.at if record else None for record in records], dtype=pl.String)
    return at.to_frame().select(texts.timestamp(pl.col("at")))["at"]


def samples(records: pl.DataFrame, wanted: frozenset[str]) -> pl.DataFrame:
    """The wanted counters of a frame with the column `record` (String), as a frame of the columns `SAMPLES`.

    A record that is not understood, or whose time is not, gives no row: see `unknown`. Values beyond Int64 are omitted.
    """
    decoded = [_record(line) for line in records["record"]]
    rows = [
        (line, *value)
        for line, record in enumerate(decoded)
        for value in (record and _read(record, wanted)) or ()
        if abs(value[2]) < 2**63
    ]
    schema = {name: dtype for name, dtype in SAMPLES.items() if name != "@timestamp"}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return (
        frame.with_columns(_times(decoded).gather(frame["line"]).alias("@timestamp"))
        .select(*SAMPLES)
        .filter(pl.col("@timestamp").is_not_null())
    )


def unknown(records: pl.DataFrame, wanted: frozenset[str] = frozenset()) -> pl.DataFrame:
    """The records of a frame with the column `record` that no counter can be read from: `line` (UInt32) and `path`.

    Without `wanted` the shape of a text decides; with it, also whether those counters are numbers. `path` is null where
    the record is no JSON object with `at`, `path` and `text`.
    """
    decoded = [_record(line) for line in records["record"]]
    odd = [record is None or _read(record, wanted) is None for record in decoded]
    paths = pl.Series("path", [record.path if record else None for record in decoded], dtype=pl.String)
    frame = pl.DataFrame({"line": pl.int_range(len(decoded), dtype=pl.UInt32, eager=True), "path": paths})
    return frame.filter(pl.Series(odd, dtype=pl.Boolean) | _times(decoded).is_null())
