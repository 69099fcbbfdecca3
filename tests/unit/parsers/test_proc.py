"""Counters out of files below /proc: recorded samples, sums checked by hand, and texts that must give nothing."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.parsers import proc

AT = "2026-11-23T04:40:50.917339904Z"

CONNTRACK = """\
entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart
00001c9e  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 000002c4 00000002 00000000  00000000 00000000 00000000 00000000
00001c9e  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 000002c5 00000004 00000000  00000000 00000000 00000000 00000000
"""
NETSTAT = """\
TcpExt: SyncookiesSent SyncookiesRecv SyncookiesFailed DelayedACKs DelayedACKLocked DelayedACKLost ListenOverflows ListenDrops TCPHPHits
TcpExt: 128 15 0 2 0 0 342 342 0
IpExt: InNoRoutes InTruncatedPkts InMcastPkts OutMcastPkts InBcastPkts OutBcastPkts InOctets OutOctets
IpExt: 0 0 0 0 0 0 502095 3453198
"""
SNMP = """\
Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates OutTransmits
Ip: 1 64 27595 0 0 27242 0 0 352 363 0 0 0 0 0 0 0 7 0 27605
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors
Tcp: 1 200 120000 -1 63 640 0 7 0 5019 5694 618 0 0 0
"""
SNMP6 = """\
Ip6InReceives                   \t21
Ip6FragFails                    \t3
Icmp6OutDestUnreachs            \t4
Udp6RcvbufErrors                \t5
UdpLite6RcvbufErrors            \t6
"""
DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
  eth0: 2425599   15832    0   12    0     0          0         0 10169742   11474    0    1    0     0       2          0
vethga01662c:3503097    3915    0    0    0     0          0         0   550872    5480    0    0    0     0       0          0
"""
SOCKSTAT = """\
sockets: used 0
TCP: inuse 0 orphan 0 tw 3 alloc 1645 mem 75
UDP: inuse 0 mem 169
UDPLITE: inuse 0
RAW: inuse 0
FRAG: inuse 0 memory 0
"""
SOFTNET = """\
00000015 00000002 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000003 00000004 00000000 00000000 00000000
00005760 0000000a 00000010 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000001 00000000 00000000
"""
ARP = """\
entries  allocs   destroys hash_grows lookups  hits     res_failed rcv_probes_mcast rcv_probes_ucast periodic_gc_runs forced_gc_runs unresolved_discards table_fulls
000003ff 00000002 00000000 00000000   00000004 00000000 00000000   00000000         00000000         00000000         00000000       00000000            0000000f
000003ff 00000000 00000000 00000000   00000006 00000006 00000000   00000000         00000000         0000006d         00000000       00000000            00000001
"""
LINK = """\
2: eth0@if7: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UP mode DEFAULT group default qlen 1000
    link/ether 8a:70:f4:ca:5f:23 brd ff:ff:ff:ff:ff:ff link-netnsid 0
    RX:  bytes packets errors dropped  missed   mcast           
       2425599   15832      0       5       7       1 
    TX:  bytes packets errors dropped carrier collsns           
      10169742   11474      0       1       2       0 
"""  # noqa: W291


def frame(*files: tuple[str, str], at: str = AT) -> pl.DataFrame:
    records = [json.dumps({"at": at, "path": path, "text": text}) for path, text in files]
    return pl.DataFrame({"record": records}, schema={"record": pl.String})


def read(path: str, text: str, *wanted: str) -> dict[tuple[str, str], int]:
    """Samples of one record by (name, instance)."""
    found = proc.samples(frame((path, text)), frozenset(wanted))
    return {
        (name, instance): value
        for name, instance, value in found.select("counter.name", "counter.instance", "counter.value").rows()
    }


def test_a_sample_has_its_record_s_row_and_time() -> None:
    found = proc.samples(
        frame(("/proc/net/snmp", SNMP), ("/proc/sys/net/netfilter/nf_conntrack_count", "736\n")),
        frozenset({"conntrack.count"}),
    )
    assert dict(found.schema) == proc.SAMPLES
    assert found.rows() == [(1, datetime(2026, 11, 23, 4, 40, 50, 917339, UTC), "conntrack.count", "", 736)]


def test_rows_of_cpus_are_summed_and_entries_are_not() -> None:
    """0x2c4 + 0x2c5 = 708 + 709; `entries` repeats the number of the whole table."""
    wanted = ("nf_conntrack.drop", "nf_conntrack.early_drop", "nf_conntrack.entries", "nf_conntrack.insert_failed")
    assert read("/proc/net/stat/nf_conntrack", CONNTRACK, *wanted) == {
        ("nf_conntrack.entries", ""): 7326,
        ("nf_conntrack.insert_failed", ""): 0,
        ("nf_conntrack.drop", ""): 1417,
        ("nf_conntrack.early_drop", ""): 6,
    }


def test_neighbours_are_read_by_header_and_named_by_cache() -> None:
    wanted = ("arp_cache.entries", "arp_cache.table_fulls", "ndisc_cache.table_fulls")
    assert read("/proc/net/stat/arp_cache", ARP, *wanted) == {
        ("arp_cache.entries", ""): 1023,
        ("arp_cache.table_fulls", ""): 16,
    }
    assert read("/proc/net/stat/ndisc_cache", ARP, *wanted) == {("ndisc_cache.table_fulls", ""): 16}


def test_softnet_columns_are_known_by_position() -> None:
    wanted = (
        *("softnet.processed", "softnet.dropped", "softnet.squeezed"),
        *("softnet.flow_limit", "softnet.backlog"),
    )
    assert read("/proc/net/softnet_stat", SOFTNET, *wanted) == {
        ("softnet.processed", ""): 0x15 + 0x5760,
        ("softnet.dropped", ""): 12,
        ("softnet.squeezed", ""): 17,
        ("softnet.flow_limit", ""): 3,
        ("softnet.backlog", ""): 4,
    }


def test_an_old_kernel_s_softnet_has_fewer_columns() -> None:
    old = "\n".join(" ".join(row.split()[:9]) for row in SOFTNET.splitlines())
    assert read("/proc/net/softnet_stat", old, "softnet.dropped", "softnet.backlog") == {("softnet.dropped", ""): 12}


def test_a_process_s_namespace_is_the_instance() -> None:
    assert read("/proc/27943/net/netstat", NETSTAT, "TcpExt.ListenOverflows", "IpExt.OutOctets") == {
        ("TcpExt.ListenOverflows", "pid:27943"): 342,
        ("IpExt.OutOctets", "pid:27943"): 3453198,
    }


@pytest.mark.parametrize("path", ["/proc/net/netstat", "/proc/1/net/netstat", "/proc/self/net/netstat", "/host/proc/net/netstat"])
def test_the_host_s_own_namespace_has_no_instance(path: str) -> None:
    assert read(path, NETSTAT, "TcpExt.SyncookiesSent") == {("TcpExt.SyncookiesSent", ""): 128}


def test_snmp_numbers_may_be_negative() -> None:
    assert read("/proc/net/snmp", SNMP, "Ip.FragFails", "Tcp.RetransSegs", "Tcp.MaxConn") == {
        ("Ip.FragFails", ""): 7,
        ("Tcp.RetransSegs", ""): 618,
        ("Tcp.MaxConn", ""): -1,
    }


def test_snmp6_keys_are_parted_into_protocol_and_name() -> None:
    wanted = ("Ip6.FragFails", "Icmp6.OutDestUnreachs", "Udp6.RcvbufErrors", "UdpLite6.RcvbufErrors")
    assert read("/proc/net/snmp6", SNMP6, *wanted) == dict(zip(((name, "") for name in wanted), (3, 4, 5, 6), strict=True))


def test_devices_are_instances() -> None:
    """Old kernels leave no space after the colon when a number is wide."""
    wanted = ("netdev.rx_dropped", "netdev.tx_carrier", "netdev.rx_bytes")
    found = read("/proc/net/dev", DEV, *wanted)
    assert found["netdev.rx_dropped", "eth0"] == 12
    assert found["netdev.tx_carrier", "eth0"] == 2
    assert found["netdev.rx_bytes", "vethga01662c"] == 3503097
    assert len(found) == 9
    assert ("netdev.rx_dropped", "pid:77/eth0") in read("/proc/77/net/dev", DEV, *wanted)


def test_ip_s_link_counts_as_proc_net_dev_does() -> None:
    """/proc/net/dev adds missed packets to the dropped ones, so `ip` must as well to go by the same name."""
    wanted = ("netdev.rx_dropped", "netdev.tx_dropped", "netdev.rx_multicast", "netdev.tx_carrier")
    assert read("ip -s link show", LINK, *wanted) == {
        ("netdev.rx_dropped", "eth0"): 12,
        ("netdev.rx_multicast", "eth0"): 1,
        ("netdev.tx_dropped", "eth0"): 1,
        ("netdev.tx_carrier", "eth0"): 2,
    }


def test_ethtool_counts_under_the_names_of_the_driver() -> None:
    """As the ENA driver of EC2 does; a heading has no number, and what is no number makes the text unknown."""
    text = "NIC statistics:\n     tx_timeout: 0\n     bw_in_allowance_exceeded: 17\n     queue_0_tx_cnt: 36421\n"
    assert read("ethtool -S eth0", text, "ethtool.bw_in_allowance_exceeded") == {("ethtool.bw_in_allowance_exceeded", "eth0"): 17}
    assert not proc.unknown(frame(("ethtool -S eth0", text))).height
    assert proc.unknown(frame(("ethtool -S eth0", "NIC statistics:\n     firmware: v1\n"))).height


def test_sockstat_is_named_by_protocol_and_word() -> None:
    assert read("/proc/net/sockstat", SOCKSTAT, "sockstat.TCP.tw", "sockstat.UDP.mem", "sockstat.FRAG.memory") == {
        ("sockstat.TCP.tw", ""): 3,
        ("sockstat.UDP.mem", ""): 169,
        ("sockstat.FRAG.memory", ""): 0,
    }


@pytest.mark.parametrize(
    ("path", "text", "name", "instance", "value"),
    [
        ("netfilter/nf_conntrack_max", "11500\n", "conntrack.max", "", 11500),
        ("nf_conntrack_max", "11500\n", "conntrack.max", "", 11500),
        ("ipv4/neigh/default/gc_thresh3", "1024\n", "arp_cache.gc_thresh3", "", 1024),
        ("ipv6/neigh/default/gc_thresh3", "1024\n", "ndisc_cache.gc_thresh3", "", 1024),
        ("ipv4/tcp_mem", "44223\t58964\t88446\n", "tcp_mem.high", "", 88446),
        ("ipv4/ip_local_port_range", "32768\t60999\n", "port_range.last", "", 60999),
        ("core/somaxconn", "4096", "net.core.somaxconn", "", 4096),
        ("ipv4/conf/eth0.100/rp_filter", "1\n", "net.ipv4.conf.rp_filter", "eth0.100", 1),
    ],
)
def test_sysctls(path: str, text: str, name: str, instance: str, value: int) -> None:
    assert read(f"/proc/sys/net/{path}", text, name) == {(name, instance): value}


FILES = {
    "/proc/net/stat/nf_conntrack": CONNTRACK,
    "/proc/net/stat/arp_cache": ARP,
    "/proc/net/netstat": NETSTAT,
    "/proc/net/snmp": SNMP,
    "/proc/net/snmp6": SNMP6,
    "/proc/net/dev": DEV,
    "/proc/net/sockstat": SOCKSTAT,
    "/proc/net/softnet_stat": SOFTNET,
    "ip -s link": LINK,
}


@pytest.mark.parametrize(
    ("path", "numbers"),
    list(zip(FILES, (17, 13, 9 + 8, 20 + 15, 5, 3 * 16, 12, 6, 5 + 6), strict=True)),
)
def test_every_number_of_a_file_is_a_described_counter(path: str, numbers: int) -> None:
    """Softnet's zeros and numbers of CPUs are none; of `ip`, missed is part of dropped."""
    assert len(read(path, FILES[path], *proc.COUNTERS)) == numbers
    assert not proc.unknown(frame((path, FILES[path]))).height


@pytest.mark.parametrize("path", ["/proc/net/stat/nf_conntrack", "/proc/net/netstat", "/proc/net/snmp", "/proc/net/dev"])
def test_a_cut_text_gives_no_sample(path: str) -> None:
    """Half a row must not look like a counter that fell; cut at a line's end a text may still be whole."""
    whole = FILES[path]
    row = whole.rindex("\n", 0, -1) + 1
    for end in range(row + 1, len(whole) - 9):
        records = frame((path, whole[:end]))
        assert not proc.samples(records, frozenset(proc.COUNTERS)).height, whole[row:end]
        assert proc.unknown(records).rows() == [(0, path)]


def test_what_is_not_understood_is_named() -> None:
    records = pl.concat(
        [
            frame(("/proc/net/route", "Iface\tDestination\n"), ("/proc/sys/net/ipv4/tcp_available", "reno cubic\n")),
            frame(("/proc/net/snmp", SNMP), ("/proc/net/snmp", ""), ("/proc/net/netstat", SNMP.replace("\nIp:", "\nTcp:"))),
            frame(("/proc/net/sockstat", SOCKSTAT), at="yesterday"),
            pl.DataFrame({"record": ['{"at": "2026-11-23T04:40:50Z", "path": "/proc/net/s', "", "[]", '{"at": 1}']}),
        ]
    )
    assert proc.unknown(records).rows() == [
        (0, "/proc/net/route"),
        (1, "/proc/sys/net/ipv4/tcp_available"),
        (3, "/proc/net/snmp"),
        (4, "/proc/net/netstat"),
        (5, "/proc/net/sockstat"),
        *((line, None) for line in (6, 7, 8, 9)),
    ]
    assert set(proc.samples(records, frozenset(proc.COUNTERS))["line"]) == {2}


@pytest.mark.parametrize(
    "record",
    [
        '{"at": "%s", "path": "/proc/net/dev\\ud800", "text": ""}',
        '{"at": "%s", "path": "/proc/net/sockstat", "text": "\\udc00: inuse 1"}',
        '{"at": "%s", "path": "/proc/net/sockstat", "text": "sockets: used 1", "more": NaN}',
        '{"at": "%s", "path": "/proc/net/sockstat", "text": "sockets: used 1", "more": ' + "[" * 100_000 + "}",
        '{"at": "%s", "path": "/proc/net/sockstat", "text": "sockets: used 1", "more": ' + "9" * 5000 + "}",
    ],
    ids=["half a character in the path", "half a character in the text", "no number", "deep", "long"],
)
def test_json_that_python_alone_reads_is_not_understood(record: str) -> None:
    """Nor does it raise: half a surrogate pair cannot become a text of a frame."""
    records = pl.DataFrame({"record": [record.replace("%s", AT)]})
    assert not proc.samples(records, frozenset(proc.COUNTERS)).height
    assert proc.unknown(records).rows() == [(0, None)]


def test_a_last_line_of_snmp6_that_may_be_cut_is_left_out() -> None:
    assert read("/proc/net/snmp6", SNMP6[:-20], "Udp6.RcvbufErrors", "UdpLite6.RcvbufErrors") == {("Udp6.RcvbufErrors", ""): 5}


def test_a_wanted_counter_that_is_no_number_makes_the_record_unknown() -> None:
    damaged = frame(("/proc/net/netstat", NETSTAT.replace(" 342 342 ", " 342 3?2 ")))
    assert not proc.samples(damaged, frozenset({"TcpExt.ListenDrops"})).height
    assert proc.unknown(damaged, frozenset({"TcpExt.ListenDrops"})).height == 1
    assert not proc.unknown(damaged).height


def test_a_number_beyond_64_bits_is_left_out() -> None:
    assert read("/proc/sys/net/core/somaxconn", f"{2**64}", "net.core.somaxconn") == {}


def test_no_records_give_an_empty_frame() -> None:
    assert dict(proc.samples(frame(), frozenset(proc.COUNTERS)).schema) == proc.SAMPLES
    assert dict(proc.unknown(frame()).schema) == {"line": pl.UInt32(), "path": pl.String()}


@given(
    path=st.sampled_from([*FILES, "/proc/sys/net/ipv4/tcp_mem", "/proc/1/net/x", "ip -s link"]) | st.text(),
    text=st.text(),
)
def test_no_text_raises(path: str, text: str) -> None:
    records = frame((path, text), (path, FILES.get(path, "") + text))
    proc.samples(records, frozenset(proc.COUNTERS))
    proc.unknown(records)


def test_every_recorded_sample_is_understood(capture: Path) -> None:
    for file in sorted(capture.glob("nodes/*/proc.jsonl*")):
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        records = pl.DataFrame({"record": content.decode(errors="replace").splitlines()})
        assert not proc.unknown(records).height, file
