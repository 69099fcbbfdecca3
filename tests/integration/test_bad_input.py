"""What bad input gets: it is counted and said, the rest is used, and the disaster that the rest shows is found all the same.

Every test spoils one thing of a sound recording of a full connection tracking table and replays it through the command line.
"""

import gzip
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from connectors.sources.capture import open_capture
from pipeline.errors import CaptureError

RECORDED = "conntrack-table-full"
NODE = "nodes/node-b"
EVENTS, OBJECTS, KMSG, PROC = "cluster/events.jsonl", "cluster/objects.jsonl", f"{NODE}/kmsg", f"{NODE}/proc.jsonl"
RULE = """
name: conntrack_line
title: the kernel reports a full connection tracking table
logsource: {product: linux, service: kernel}
detection: {full: {message|contains: 'table full'}, tracker: {message|contains: nf_conntrack}, condition: full and tracker}
level: informational
---
title: Connection tracking table full
id: 9d6b1d9e-0f5a-4a0e-8d0d-0c2f6c7f3a52
version: 1
status: stable
layer: node
what: New flows are dropped.
cause: Too many flows.
impact: Callers see timeouts.
first_aid: [conntrack -S]
fix: [raise the limit]
references: ['https://example.com/']
false_positives: [none]
correlation: {type: event_count, rules: [conntrack_line], group-by: [k8s.node.name], timespan: 1m, condition: {gte: 1}}
confidence: 0.7
alert: {annotations: {summary: 'full on {{ k8s.node.name }}'}}
level: medium
"""
Spoil = Callable[[Path], None]


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One rule, so that nothing here depends on what else is packaged."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "node" / "conntrack-table-full").mkdir(parents=True)
    (folder / "node" / "conntrack-table-full" / "rule.yaml").write_text(RULE)
    return folder


@pytest.fixture
def recording(root: Path, tmp_path: Path) -> Path:
    """The recording as plain files, with a tenth of the container lines."""
    folder = tmp_path / "capture"
    source = root / "tests" / "captures" / RECORDED
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        place = folder / path.relative_to(source).as_posix().removesuffix(".gz")
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"".join(data.splitlines(keepends=True)[::10]) if place.suffix == ".log" else data)
    return folder


def log_of(folder: Path) -> Path:
    """The log of the ingress controller."""
    return next(folder.glob("nodes/*/var/log/pods/ingress-nginx_*/controller/0.log"))


def _other_log(folder: Path) -> Path:
    return next(folder.glob("nodes/*/var/log/pods/kube-system_coredns*/coredns/0.log"))


def headwater(*arguments: str | Path, root: Path) -> subprocess.CompletedProcess[str]:
    """The command line, as a program of its own; what it prints must be UTF-8 and without a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.main", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONWARNINGS": "error"},
        check=False,
        timeout=50,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


USED = re.compile(r"[\w.-]+: (?:[\d,]+ lines read$|of the lines that a rule may want)")
"""What --verbose says of input that could be used, by format."""


def replayed(folder: Path, rules: Path, root: Path, *more: str) -> tuple[list[dict[str, object]], str]:
    """The incidents and what was said of trouble. Nothing but JSON stands on standard output, the exit status is 0."""
    done = headwater("replay", folder, "--rules", rules, "-o", "json", *more, root=root)
    assert done.returncode == 0, done.stderr
    trouble = [line for line in done.stderr.splitlines(keepends=True) if not USED.match(line)]
    return [json.loads(line) for line in done.stdout.splitlines()], "".join(trouble)


def _append(name: str, *lines: bytes) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / name if name else log_of(folder)
        path.write_bytes(path.read_bytes() + b"".join(line + b"\n" for line in lines))

    return spoil


def _insert(name: str, *lines: bytes) -> Spoil:
    """Lines in the middle of a file."""

    def spoil(folder: Path) -> None:
        path = folder / name if name else log_of(folder)
        whole = path.read_bytes().splitlines(keepends=True)
        half = len(whole) // 2
        path.write_bytes(b"".join([*whole[:half], *(line + b"\n" for line in lines), *whole[half:]]))

    return spoil


def _packed(find: Callable[[Path], Path], suffix: str, pack: Callable[[bytes], bytes]) -> Spoil:
    """A file under the name of a compressed one, with what `pack` makes of it."""

    def spoil(folder: Path) -> None:
        path = find(folder)
        path.with_name(path.name + suffix).write_bytes(pack(path.read_bytes()))
        path.unlink()

    return spoil


def _unknown(folder: Path) -> None:
    (folder / "notes.txt").write_text("what I did\n")


def _link_out(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "kmsg").write_bytes((folder / KMSG).read_bytes())
    (folder / "nodes" / "node-x").mkdir()
    (folder / "nodes" / "node-x" / "kmsg").symlink_to(outside / "kmsg")
    (folder / "nodes" / "node-y").symlink_to(outside)


_LONG = b"x" * (10 << 20)
_CRI = b"2026-11-23T04:40:55.000000000Z stdout F "

SAID: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    "unknown file": (_unknown, ("notes.txt",)),
    "gzip cut": (_packed(log_of, ".gz", lambda data: gzip.compress(data)[:-2000]), ("controller/0.log.gz", "cut or damaged")),
    "zstd cut": (_packed(_other_log, ".zst", lambda data: zstandard.compress(data)[:-500]), ("coredns/0.log.zst", "cut or damaged")),
    "no gzip": (_packed(lambda folder: folder / PROC, ".gz", bytes), ("proc.jsonl.gz", "cut or damaged")),
    "no zstd": (_packed(lambda folder: folder / "nodes/node-a/kmsg", ".zst", bytes), ("node-a/kmsg.zst", "cut or damaged")),
    "invalid UTF-8 in a log": (_insert("", _CRI + b"caf\xe9 \xff\xfe", b"\x80\x81\xc3"), ("ingress-nginx: 1 invalid utf8",)),
    "invalid UTF-8 in kernel records": (_insert(KMSG, b"6,99,4409800000,-;caf\xe9"), ("kernel: 1 invalid utf8",)),
    "invalid UTF-8 in events": (_insert(EVENTS, b'{"kind":"\xff"}'), ("k8s.events: 1 invalid utf8",)),
    "invalid UTF-8 in objects": (_insert(OBJECTS, b'{"at":"\xff"}'), ("k8s.objects: 1 invalid utf8",)),
    "invalid UTF-8 in counters": (_insert(PROC, b'{"at":"\xff"}'), ("counters: 1 invalid utf8",)),
    "events cut": (_insert(EVENTS, b'{"type":"ADDED","object":{"kind":"Ev'), ("k8s.events: ", "unparsed")),
    "events of another kind": (_insert(EVENTS, b"[1,2]", b'"text"', b"7", b"null", b"{}"), ("k8s.events: ", "unparsed")),
    "objects cut": (_insert(OBJECTS, b'{"at":"2026-11-23T04:40:55Z","object":{"ki', b"[]"), ("k8s.objects: ",)),
    "counters cut": (_insert(PROC, b'{"at":"2026-11-23T04:40:55Z","path":"/pro', b"3"), ("counters: ",)),
    "no CRI lines": (_insert("", b"panic: oops", b"no time here"), ("cri: ",)),
    "no kernel records": (_insert(KMSG, b"just text", b"4,x,y;z"), ("kmsg: ",)),
    "links out of the folder": (_link_out, ("nodes/node-x/kmsg", "nodes/node-y", "not followed")),
    "year 2100 in a log": (_append("", b"2100-01-01T00:00:00Z stdout F happy new century"), ("implausible",)),
    "year 2100 in kernel records": (_append(KMSG, b"6,99,2334567890123456,-;far away"), ("implausible",)),
    "year 2100 in events": (
        _append(EVENTS, b'{"kind":"Event","metadata":{"uid":"u"},"involvedObject":{"kind":"Pod","name":"p","namespace":"n"},"reason":"Started","lastTimestamp":"2100-01-01T00:00:00Z"}'),
        ("implausible",),
    ),
    "year 2100 in objects": (
        _append(OBJECTS, b'{"at":"2100-01-01T00:00:00Z","type":"ADDED","object":{"kind":"Node","metadata":{"name":"z"}}}'), ("implausible",),
    ),
}  # fmt: skip
"""Trouble that must be said, with words that `--verbose` has for it."""


def _kernel_back(folder: Path) -> None:
    """The machine's clock of the container log jumps back: the second half of the file is an hour early."""
    path = log_of(folder)
    lines = path.read_text().splitlines(keepends=True)
    half = len(lines) // 2
    path.write_text("".join([*lines[:half], *(line.replace("T04:", "T03:", 1) for line in lines[half:])]))


def _without_zone(folder: Path) -> None:
    for name in (EVENTS, OBJECTS, PROC):
        text = (folder / name).read_text()
        (folder / name).write_text(
            text.replace('Z","type"', '","type"').replace('Z","count"', '","count"').replace('Z", "path"', '", "path"')
        )


def _carriage_returns(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def _empty(folder: Path) -> None:
    for path in (folder / EVENTS, folder / OBJECTS, folder / "nodes/node-a/kmsg", log_of(folder)):
        path.write_bytes(b"")


def _missing(folder: Path) -> None:
    for path in (folder / EVENTS, folder / OBJECTS, folder / PROC, log_of(folder)):
        path.unlink()


BORNE: dict[str, Spoil] = {
    "missing files": _missing,
    "empty files": _empty,
    "carriage returns": _carriage_returns,
    "times without zone": _without_zone,
    "CRI times without zone": _insert("", b"2026-11-23T04:40:55.000000000 stdout F no zone"),
    "a clock that jumps back": _kernel_back,
    "NUL bytes in a log": _insert("", _CRI + b"a\x00b\x00", b"\x00\x00\x00\x00"),
    "NUL bytes in kernel records": _insert(KMSG, b"6,99,4409800000,-;a\x00b"),
    "NUL bytes in events": _insert(EVENTS, b'{"kind":"\x00"}', b"\x00"),
    "NUL bytes in objects": _insert(OBJECTS, b'{"at":"\x00"}', b"\x00"),
    "NUL bytes in counters": _insert(PROC, b'{"at":"\x00"}', b"\x00"),
    "a long line in a log": _insert("", _CRI + _LONG),
    "a long line in kernel records": _insert(KMSG, b"6,99,4409800000,-;" + _LONG),
    "a long line in events": _insert(EVENTS, b'{"kind":"' + _LONG + b'"}'),
    "a long line in objects": _insert(OBJECTS, b'{"at":"' + _LONG),
    "a long line without end": _append("", _CRI + _LONG),
    "year 1970 in a log": _append("", b"1970-01-01T00:00:00Z stdout F no clock yet"),
    "year 1970 in objects": _append(
        OBJECTS, b'{"at":"1970-01-01T00:00:00Z","type":"ADDED","object":{"kind":"Node","metadata":{"name":"z"}}}'
    ),
    "year 1970 in counters": _append(
        PROC, b'{"at":"1970-01-01T00:00:00Z","path":"/proc/net/sockstat","text":"sockets: used 5\\n"}'
    ),
    "a lone early time": _insert(KMSG, b"6,99,3000000000,-;twenty minutes before all else"),
    "year 2100 in counters": _append(
        PROC, b'{"at":"2100-01-01T00:00:00Z","path":"/proc/net/sockstat","text":"sockets: used 5\\n"}'
    ),
    "absurd times": _append(
        "", b"99999-01-01T00:00:00Z stdout F x", b"2026-13-45T99:00:00Z stdout F x", b"0000-00-00T00:00:00Z stdout F x"
    ),
    "absurd kernel times": _append(KMSG, b"6,99,99999999999999999999,-;x", b"6,99,-5,-;x"),
}
"""Input that is odd and borne, whether or not something is said about it."""


@pytest.fixture(scope="module")
def sound(root: Path, rules: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """The incidents of the sound recording."""
    source = root / "tests" / "captures" / RECORDED
    found, said = replayed(source, rules, root, "--verbose")
    assert not said
    assert [incident["signature"] for incident in found] == ["conntrack-table-full"]
    return found


TOGETHER: dict[str, tuple[str, ...]] = {
    "files": ("unknown file", "gzip cut", "zstd cut", "no gzip", "no zstd", "links out of the folder"),
    "bytes": tuple(name for name in SAID if name.startswith("invalid UTF-8")),
    "forms": ("events cut", "objects cut", "counters cut", "no CRI lines", "no kernel records"),
    "2100": tuple(name for name in SAID if name.startswith("year 2100")),
    "NUL": tuple(name for name in BORNE if name.startswith("NUL")),
    "long": tuple(name for name in BORNE if name.startswith("a long line")),
    "1970": tuple(name for name in BORNE if name.startswith(("year 1970", "absurd"))),
    **{
        name: (name,)
        for name in (
            "missing files",
            "empty files",
            "carriage returns",
            "times without zone",
            "a clock that jumps back",
            "a lone early time",
        )
    },
}
"""What is tried in one replay; each alone is tried in the slow run."""


def _check(names: tuple[str, ...], recording: Path, rules: Path, root: Path, sound: list[dict[str, object]]) -> None:
    for name in names:
        (SAID[name][0] if name in SAID else BORNE[name])(recording)
    found, said = replayed(recording, rules, root, "--verbose")
    assert [(i["id"], i["started"]) for i in found] == [(i["id"], i["started"]) for i in sound]
    silent = [(name, word) for name in names if name in SAID for word in SAID[name][1] if word not in said]
    assert not silent, said


@pytest.mark.parametrize("group", TOGETHER)
def test_the_rest_is_used(group: str, recording: Path, rules: Path, root: Path, sound: list[dict[str, object]]) -> None:
    """The incident is the same, and `--verbose` names every trouble."""
    _check(TOGETHER[group], recording, rules, root, sound)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SAID, *BORNE])
def test_the_rest_is_used_whatever_is_spoilt(
    name: str, recording: Path, rules: Path, root: Path, sound: list[dict[str, object]]
) -> None:
    """The same for each kind of trouble alone."""
    _check((name,), recording, rules, root, sound)


def test_one_line_sums_up(recording: Path, rules: Path, root: Path) -> None:
    """Without `--verbose` there is one line on standard error, and none of the details."""
    for name in ("unknown file", "gzip cut", "events cut"):
        SAID[name][0](recording)
    _, said = replayed(recording, rules, root)
    assert len(said.splitlines()) == 1
    assert "--verbose" in said


_MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done)
"""
# A process that is forked counts the memory of the one that forked it as its own highest: a small one stands in between.


def test_a_million_equal_lines(recording: Path, rules: Path, root: Path, sound: list[dict[str, object]]) -> None:
    """They cost a bounded time and little memory, whether or not a rule asks for them."""
    with log_of(recording).open("ab") as log:
        log.write((_CRI + b"the same again and again\n") * 1_000_000)
    with (recording / "nodes/node-c/kmsg").open("ab") as kernel:
        kernel.write(b"4,99,4409800000,-;nf_conntrack: nf_conntrack: table full, dropping packet\n" * 100_000)
    began = time.monotonic()
    command = [sys.executable, "-m", "pipeline.cli.main", "replay", str(recording), "--rules", str(rules), "-o", "json"]
    ran = subprocess.run(
        [sys.executable, "-c", _MEASURED, *command],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(root)},
        text=True,
        check=False,
    )
    *out, used = ran.stdout.splitlines()
    assert ran.returncode == 0, ran.stderr
    assert sound[0]["id"] in [json.loads(line)["id"] for line in out]
    assert time.monotonic() - began < 30
    assert int(used) < 1_000_000, f"{used} KiB"


def test_a_capture_without_its_description(recording: Path, rules: Path, root: Path) -> None:
    """Without capture.yaml the boot times are unknown, so kernel records are dated by what came beside them."""
    (recording / "capture.yaml").unlink()
    found, said = replayed(recording, rules, root, "--verbose")
    assert [incident["group"] for incident in found] == [{"k8s.node.name": "node-b"}]
    assert "capture.yaml" in said


@pytest.mark.parametrize(
    "text", ["nodes: {a: [", "\tcluster: x", "cluster: \x00", "a: 1\na: 2"], ids=["open", "tab", "NUL", "double key"]
)
def test_a_description_that_cannot_be_read(text: str, tmp_path: Path) -> None:
    """A broken capture.yaml is an error that names file, line and reason."""
    (tmp_path / "capture.yaml").write_text(text)
    with pytest.raises(CaptureError, match=rf"{tmp_path / 'capture.yaml'}:\d+: "):
        open_capture(tmp_path)


def test_a_broken_description_ends_the_command(recording: Path, rules: Path, root: Path) -> None:
    """The exit status is 1 and nothing stands on standard output."""
    (recording / "capture.yaml").write_text("nodes: {a: [")
    done = headwater("replay", recording, "--rules", rules, "-o", "json", root=root)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{recording / 'capture.yaml'}:" in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just text",
        "- a\n- b",
        "nodes: 7",
        "nodes: {node-b: 5}",
        "nodes: [node-b]",
        "nodes: {node-b: {boot_time: soon}}",
        "cluster: {a: b}",
    ],
)
def test_a_description_of_another_shape(text: str, recording: Path) -> None:
    """What capture.yaml should say and does not is borne, and said."""
    (recording / "capture.yaml").write_text(text)
    assert any(trouble.startswith("capture.yaml: ") for trouble in open_capture(recording).troubles)


def test_a_description_without_boot_times(recording: Path, rules: Path, root: Path) -> None:
    """The kernel records are used all the same, dated by what came beside them."""
    (recording / "capture.yaml").write_text("cluster: {a: b}\nnodes: {node-b: 5}\n")
    found, said = replayed(recording, rules, root)
    assert [incident["group"] for incident in found] == [{"k8s.node.name": "node-b"}]
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("kind", ["nothing", "file", "empty"])
def test_no_capture_at_all(kind: str, tmp_path: Path) -> None:
    """What is no capture is an error that names it."""
    place = tmp_path / "place"
    if kind == "file":
        place.write_text("x")
    elif kind == "empty":
        place.mkdir()
    with pytest.raises(CaptureError, match=str(place)):
        open_capture(place)


def test_broken_rules_start_nothing(recording: Path, rules: Path, root: Path) -> None:
    """Everything wrong is listed, with its place, and nothing is replayed."""
    (rules.parent / "broken").mkdir()
    broken = rules.parent / "broken"
    (broken / "a.yaml").write_text("title: [open\n")
    (broken / "b.yaml").write_text(
        "name: x\ntitle: y\nlogsource: {product: linux, service: kernel}\ndetection: {a: {messag: z}, condition: a}\nlevel: low\n"
    )
    (broken / "c.yaml").write_bytes(b"title: \xff\n")
    done = headwater("replay", recording, "--rules", rules, "--rules", broken, "-o", "json", root=root)
    assert (done.returncode, done.stdout) == (1, "")
    assert all(f"{broken / name}:" in done.stderr for name in ("a.yaml", "b.yaml", "c.yaml")), done.stderr
