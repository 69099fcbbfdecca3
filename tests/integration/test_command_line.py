"""The command line as a person meets it: help, slips, Ctrl-C, terminals and pipes, and `scan` on whatever is at hand."""

import fcntl
import gzip
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

SIGNATURE = """
id: 9d6b1d9e-0f5a-4a0e-8d0d-0c2f6c7f3a{number:02}
version: 1
status: stable
layer: node
what: x
cause: x
impact: x
first_aid: [look at it]
fix: [x]
references: ['https://example.com/']
false_positives: [x]
confidence: 0.5
alert: {{annotations: {{summary: x}}}}
level: medium
"""
RULES = {
    "conntrack-table-full": """
name: full_line
title: the connection tracking table is full
logsource: {product: linux, service: kernel}
detection: {full: {message|contains: 'table full'}, condition: full}
level: informational
---
title: Connection tracking table full
correlation: {type: event_count, rules: [full_line], group-by: [k8s.node.name], timespan: 1m, condition: {gte: 1}}
""",
    "probe-failing": """
name: unhealthy
title: a probe fails
logsource: {product: kubernetes, service: events}
detection: {failed: {event.reason: Unhealthy}, condition: failed}
level: informational
---
title: Probes fail
correlation: {type: event_count, rules: [unhealthy], group-by: [k8s.namespace.name, k8s.pod.name], timespan: 10m, condition: {gte: 2}}
""",
    "upstream-timeout": """
name: upstream_timeout
title: no answer from upstream
logsource: {product: nginx, service: error}
detection: {slow: {message|contains: 'upstream timed out'}, condition: slow}
level: informational
---
title: Upstreams time out
correlation: {type: event_count, rules: [upstream_timeout], timespan: 1m, condition: {gte: 2}}
""",
    "cannot-resolve": """
name: cannot_resolve
title: a name is not resolved
logsource: {category: application}
detection: {unresolved: {message|contains: 'Temporary failure in name resolution'}, condition: unresolved}
level: informational
---
title: Names are not resolved
correlation: {type: event_count, rules: [cannot_resolve], timespan: 1m, condition: {gte: 2}}
""",
}
START = datetime(2026, 11, 23, 4, 40, 48, tzinfo=UTC)
FULL = "nf_conntrack: nf_conntrack: table full in netns 4026534055, dropping packet"
COLOUR = re.compile(r"\x1b\[[0-9;]*(?:3[0-7]|4[0-7]|9[0-7])m")


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rule a kind of input, so that nothing here depends on what is packaged."""
    folder = tmp_path_factory.mktemp("rules")
    for number, (slug, text) in enumerate(RULES.items()):
        place = folder / "node" / slug
        place.mkdir(parents=True)
        (place / "rule.yaml").write_text(text.strip() + SIGNATURE.format(number=number))
    return folder


def environment(root: Path, **more: str) -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM")}
    return {**plain, "PYTHONPATH": str(root), "PYTHONWARNINGS": "error", **more}


def headwater(*arguments: str | Path, root: Path, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """The command as a program of its own, in a pipe."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.main", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        env=environment(root, **more),
        cwd=root,
        check=False,
        timeout=50,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    return done


def in_terminal(*arguments: str | Path, root: Path, **more: str) -> str:
    """What a terminal of 110 columns shows of the command."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 110, 0, 0))
    command = [sys.executable, "-m", "pipeline.cli.main", *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment(root, TERM="xterm-256color", **more), cwd=root
    ) as running:
        os.close(slave)
        shown = b"".join(_until_end(master))
        assert running.wait(timeout=50) == 0
    os.close(master)
    return shown.decode()


def _until_end(master: int) -> Iterator[bytes]:
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other end was closed
            return
        if not piece:
            return
        yield piece


# ---- help and slips

HELP: dict[str, Sequence[str]] = {
    "": ("Usage: headwater [OPTIONS] COMMAND", "Replay a recorded outage and say what broke first.", "Say what any log text is evidence of.", "demo ", "check ", "rules "),
    "replay": ("Usage: headwater replay", "CAPTURE", "--rules FOLDER", "-o, --output FORM  tree for people, json for machines.", "--batch-rows N", "--shuffle SEED", "--restart-every N", "--near-misses", "-v, --verbose"),
    "scan": ("Usage: headwater scan", "kubectl logs, kubectl get events", "- for standard input", "-o, --output FORM"),
    "demo": ("Usage: headwater demo", "Replay a recorded disaster that comes with Headwater."),
    "check": ("Usage: headwater check", "expect.yaml", "--rules FOLDER"),
    "rules": ("list    List the signatures: name, layer, title.", "show  ", "schema  Print the JSON Schema of rule files, for editors.", "check   Print every problem", "test  "),
    "rules list": ("Usage: headwater rules list", "--layer LAYER"),
    "rules show": ("Usage: headwater rules show", "SIGNATURE"),
    "rules schema": ("Usage: headwater rules schema",),
    "rules check": ("Usage: headwater rules check", "Folders of signatures. Default: the packaged ones."),
    "rules test": ("Usage: headwater rules test", "--run TEXT"),
}  # fmt: skip


@pytest.mark.parametrize("command", HELP)
def test_help_reads_well(command: str, root: Path) -> None:
    """Key lines are there, nothing is cut off, and it fits 80 columns."""
    done = headwater(*command.split(), "--help", root=root)
    assert done.returncode == 0
    assert not [line for line in HELP[command] if line not in done.stdout], done.stdout
    assert "..." not in re.sub(r"\]\.\.\.|\}\.\.\.", "", done.stdout)
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_one_signature_is_tested_by_its_name(root: Path) -> None:
    """Its cases run with the rules of others that it stands on; so do those of its folder."""
    by_name = headwater("rules", "test", "ingress-default-backend-flood", root=root)
    assert re.fullmatch(r"[1-9]\d* passed, 0 failed\n", by_name.stdout), by_name.stderr
    assert headwater("rules", "test", "rules/ingress/ingress-default-backend-flood", root=root).stdout == by_name.stdout


SLIPS: dict[str, tuple[str, int, str]] = {
    "command": ("repaly x", 2, "Did you mean 'replay'?"),
    "command of rules": ("rules lst", 2, "Did you mean 'list'?"),
    "option": ("replay --ouput json x", 2, "--output"),
    "no argument": ("replay", 2, "CAPTURE"),
    "form": ("replay x -o jsno", 2, "json (for machines)"),
    "form of scan": ("scan -o csv x", 2, "json (for machines)"),
    "number": ("replay x --batch-rows abc", 2, "--batch-rows"),
    "number too small": ("replay x --restart-every 0", 2, "greater than or equal to 1"),
    "signature": ("rules show conntrack-tabel-full --rules {rules}", 2, "did you mean 'conntrack-table-full'?"),
    "layer": ("rules list --layer nod --rules {rules}", 2, "did you mean 'node'?"),
    "rule folder": ("rules check rulse", 2, "did you mean 'rules'?"),
    "signature to test": ("rules test conntrack-tabel-full", 2, "did you mean 'conntrack-table-full'?"),
    "file": ("scan README.mdd", 2, "did you mean 'README.md'?"),
    "capture": (
        "replay tests/captures/conntrack-table-fu --rules {rules}",
        1,
        "did you mean 'tests/captures/conntrack-table-full'?",
    ),
    "folder on the way": ("replay test/captures/healthy-dns --rules {rules}", 1, "did you mean 'tests/captures/healthy-dns'?"),
    "nothing like it": ("replay zzz --rules {rules}", 1, "name one that holds capture.yaml"),
    "capture to check": ("check tests/captures/healthy-dn --rules {rules}", 1, "did you mean 'tests/captures/healthy-dns'?"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_answered_with_the_nearest_right_word(slip: str, rules: Path, root: Path) -> None:
    """Status 2 for wrong usage, 1 for a capture that cannot be read; what was wrong is on standard error."""
    command, status, answer = SLIPS[slip]
    done = headwater(*command.format(rules=rules).split(), root=root)
    said = done.stdout if command.startswith("check") else done.stderr
    assert done.returncode == status
    assert answer in said, said
    assert command.startswith("check") or not done.stdout


def test_nothing_to_do_shows_the_help(root: Path) -> None:
    """The bare command is a question, not an error in what was asked."""
    done = headwater(root=root)
    assert "Usage: headwater [OPTIONS] COMMAND" in done.stdout + done.stderr


# ---- Ctrl-C, pipes, terminals


def _started(command: Sequence[str], root: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli.main", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(root, PYTHONWARNINGS=""),  # what is open when the signal comes is nobody's fault
        start_new_session=True,
    )


def test_ctrl_c_while_waiting_for_input(tmp_path: Path, rules: Path, root: Path) -> None:
    """It ends at once, without a traceback and without waiting for another line."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with _started(["scan", str(pipe), "--rules", str(rules)], root) as running, pipe.open("wb", buffering=0) as end:
        end.write(b"one line\n")
        running.send_signal(signal.SIGINT)
        out, said = running.communicate(timeout=20)
    assert (running.returncode, out) == (130, b"")
    assert b"Traceback" not in said


def test_ctrl_c_in_a_replay(tmp_path: Path, rules: Path, root: Path) -> None:
    """Wherever it hits, there is no traceback."""
    log = tmp_path / "nodes/n/var/log/pods/a_b_c/x/0.log.gz"
    log.parent.mkdir(parents=True)
    thousand = gzip.compress(b"2026-11-23T04:40:00.000000000Z stdout F all is well\n" * 1000)
    log.write_bytes(thousand * 30_000)
    with _started(["replay", str(tmp_path), "--rules", str(rules), "-o", "json"], root) as running:
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(timeout=1.5)
        running.send_signal(signal.SIGINT)
        out, said = running.communicate(timeout=40)
    assert (running.returncode, out) == (130, b"")
    assert b"Traceback" not in said


def test_a_reader_that_leaves(rules: Path, root: Path) -> None:
    """`headwater ... | head -1` says nothing more."""
    command = f"{sys.executable} -m pipeline.cli.main rules schema | head -1"
    done = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, env=environment(root), check=False, timeout=50
    )
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_a_pipe_gets_plain_text(rules: Path, root: Path) -> None:
    """No escape sequences, no progress bar; the tree stands whole."""
    done = headwater("replay", "tests/captures/conntrack-table-full", "--rules", rules, root=root)
    assert "MEDIUM" in done.stdout
    assert not done.stderr


def test_a_terminal_gets_colour_and_progress(rules: Path, root: Path) -> None:
    """And the bar is gone at the end: the cursor went back over it."""
    shown = in_terminal("replay", "tests/captures/conntrack-table-full", "--rules", rules, root=root)
    assert COLOUR.search(shown)
    assert "reading" in shown
    assert "MEDIUM" in shown


def test_no_color_is_honoured(rules: Path, root: Path) -> None:
    """A terminal with NO_COLOR gets the same words without colours."""
    shown = in_terminal("replay", "tests/captures/conntrack-table-full", "--rules", rules, root=root, NO_COLOR="1")
    assert not COLOUR.search(shown)
    assert "MEDIUM" in shown


def test_a_terminal_without_utf_8_gets_ascii(rules: Path, root: Path) -> None:
    """The tree is drawn with what the encoding has."""
    done = headwater(
        "replay", "tests/captures/conntrack-table-full", "--rules", rules, root=root, PYTHONIOENCODING="ascii:backslashreplace"
    )
    assert done.returncode == 0
    assert done.stdout.isascii()


# ---- scan


def _events() -> list[dict[str, Any]]:
    return [
        {
            "kind": "Event", "apiVersion": "v1", "metadata": {"name": f"cart-1.{number}", "namespace": "shop", "uid": f"u{number}"},
            "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "cart-1", "fieldPath": "spec.containers{cart}"}, "reason": "Unhealthy",
            "message": 'Readiness probe failed: Get "http://10.244.2.10:8080/healthz": context deadline exceeded', "type": "Warning", "count": 1,
            "source": {"component": "kubelet", "host": "node-b"}, "firstTimestamp": _at(number), "lastTimestamp": _at(number),
        }
        for number in (0, 10)
    ]  # fmt: skip


def _at(seconds: int, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    return (START + timedelta(seconds=seconds)).strftime(form)


def _list() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": _events()}


def _yaml() -> str:
    text = StringIO()
    YAML().dump(_list(), text)
    return text.getvalue()


def _table() -> str:
    row = "{:<10}  {:<15}  {:<8}  {:<10}  {:<12}  {}\n".format
    rows = [row("NAMESPACE", "LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE")]
    return "".join(
        [
            *rows,
            *(
                row("shop", age, "Warning", "Unhealthy", "pod/cart-1", "Readiness probe failed: timeout")
                for age in ("2m10s", "2m")
            ),
        ]
    )


def _nginx(form: str) -> str:
    line = (
        "{at} [error] 8813#8813: *7014 upstream timed out (110: Connection timed out) while connecting to upstream, client: 203.0.113.43, "
        'server: shop.example.com, request: "GET / HTTP/1.1", upstream: "http://10.244.2.10:8080/", host: "shop.example.com"\n'
    )
    return "".join(form + line.format(at=_at(second, "%Y/%m/%d %H:%M:%S")) for second in (0, 3))


def _journal() -> str:
    record = {
        "_TRANSPORT": "kernel",
        "PRIORITY": "4",
        "SYSLOG_FACILITY": "0",
        "SYSLOG_IDENTIFIER": "kernel",
        "_HOSTNAME": "node-b",
        "MESSAGE": FULL,
    }
    return json.dumps({"__REALTIME_TIMESTAMP": str(round(START.timestamp()) * 1_000_000), **record}) + "\n"


DATED = _at(0, "%Y-%m-%dT%H:%M:%S")
SCANS: dict[str, tuple[str, str, str | None]] = {
    "kubectl logs": (_nginx(""), "upstream-timeout", DATED),
    "kubectl logs --timestamps": (_nginx("2026-11-23T04:40:48.148878457Z "), "upstream-timeout", DATED),
    "kubectl logs --prefix": (_nginx("[pod/ingress-nginx-controller-x/controller] "), "upstream-timeout", DATED),
    "kubectl get events": (_table(), "probe-failing", None),
    "kubectl get events -o json": (json.dumps(_list(), indent=4) + "\n", "probe-failing", DATED),
    "kubectl get events -o json, one line": (json.dumps(_list()) + "\n", "probe-failing", DATED),
    "kubectl get events -o yaml": (_yaml(), "probe-failing", DATED),
    "kubectl get events --watch -o json": ("".join(json.dumps(event) + "\n" for event in _events()), "probe-failing", DATED),
    "kubectl get events --watch -o json, indented": (
        "".join(json.dumps(event, indent=4) + "\n" for event in _events()),
        "probe-failing",
        DATED,
    ),
    "dmesg": (f"[ 4334.001] x\n[ 4335.624824] {FULL}\n", "conntrack-table-full", None),
    "dmesg -T": (f"[{_at(0, '%a %b %d %H:%M:%S %Y')}] {FULL}\n", "conntrack-table-full", DATED),
    "journalctl": (f"{_at(0, '%b %d %H:%M:%S')} node-b kernel: {FULL}\n", "conntrack-table-full", None),
    "journalctl -o short-iso": (f"{DATED}+0000 node-b kernel: {FULL}\n", "conntrack-table-full", DATED),
    "journalctl -o json": (_journal(), "conntrack-table-full", DATED),
    "raw output": ("curl: (6) Temporary failure in name resolution\n" * 3, "cannot-resolve", None),
}


@pytest.mark.parametrize("what", SCANS)
def test_scan_knows_what_it_is_given(what: str, tmp_path: Path, rules: Path, root: Path) -> None:
    """Evidence and incident, with the time of the line where it tells one."""
    text, signature, started = SCANS[what]
    (tmp_path / "input").write_text(text)
    done = headwater("scan", tmp_path / "input", "--rules", rules, "-o", "json", root=root)
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert [seen["signature"] for seen in found["evidence"]] == [signature]
    assert [incident["signature"] for incident in found["incidents"]] == [signature]
    assert started is None or found["incidents"][0]["started"].startswith(started)


def test_scan_reads_standard_input(rules: Path, root: Path) -> None:
    """`dmesg | headwater scan -`, for people: what it is evidence of and what to do."""
    done = headwater("scan", "-", "--rules", rules, root=root, stdin=SCANS["dmesg"][0])
    assert done.returncode == 0
    assert "conntrack-table-full  1 rows, enough: Connection tracking table full" in done.stdout
    assert "look at it" in done.stdout


def test_a_site_has_its_own_rules_and_formats(tmp_path: Path, rules: Path, root: Path) -> None:
    """`--config` names them; what is wrong with it is said at its place."""
    config = tmp_path / "headwater.yaml"
    config.write_text(f"rules: [{rules / 'node/cannot-resolve'}]\nparsers: [{{format: klog, container: odd}}]\n")
    text = "Temporary failure in name resolution\n" * 2
    done = headwater("scan", "-", "--config", config, "-o", "json", root=root, stdin=text)
    assert "cannot-resolve" in [seen["signature"] for seen in json.loads(done.stdout)["evidence"]]
    config.write_text("parsers: [{formt: klog}]\n")
    wrong = headwater("scan", "-", "--config", config, root=root, stdin=text)
    assert wrong.returncode == 1
    assert f"{config}:1:12: unknown key 'formt'; did you mean 'format'?" in wrong.stderr
    config.write_text("parsers: [{format: klogg}]\n")
    assert "there is no format 'klogg'; did you mean 'klog'" in headwater("scan", "-", "--config", config, root=root).stderr


def test_verbose_says_what_was_read_by_format(rules: Path, root: Path) -> None:
    """Lines by what wrote them, and how many of those that a rule wanted were understood."""
    done = headwater("replay", "tests/captures/conntrack-table-full", "--rules", rules, "--verbose", root=root)
    assert re.search(r"^coredns: [\d,]+ lines read$", done.stderr, re.MULTILINE)
    assert re.search(
        r"^kernel: of the lines that a rule may want, [\d,]+ understood and 0 kept as plain text$", done.stderr, re.MULTILINE
    )


def test_scan_of_nothing_known(rules: Path, root: Path) -> None:
    """Lines without meaning are counted, an empty input is none, and neither is an error."""
    for text, number in (("all is well\n" * 7, "7 lines"), ("", "0 lines"), ("\x00\x00\n\xff", "2 lines")):
        done = headwater("scan", "-", "--rules", rules, root=root, stdin=text)
        assert done.returncode == 0
        assert f"{number}: no signature knows any of them as evidence." in done.stdout


def test_scan_takes_files_and_folders_together(tmp_path: Path, rules: Path, root: Path) -> None:
    """Every file of a folder is scanned; what is evidence says so, whatever lies beside it."""
    (tmp_path / "dmesg.txt").write_text(SCANS["dmesg"][0])
    (tmp_path / "events.yaml").write_text(SCANS["kubectl get events -o yaml"][0])
    (tmp_path / "broken.gz").write_bytes(b"\x1f\x8b\x08\x00")
    done = headwater("scan", tmp_path, "--rules", rules, "-o", "json", "--verbose", root=root)
    assert {seen["signature"] for seen in json.loads(done.stdout)["evidence"]} == {"conntrack-table-full", "probe-failing"}
    assert "broken.gz" in done.stderr


def test_scan_of_files_of_different_days(tmp_path: Path, rules: Path, root: Path) -> None:
    """Files need not be of one time: each shows what is in it."""
    (tmp_path / "old.json").write_text(_journal())
    (tmp_path / "new.log").write_text(_nginx("").replace("2026/11/23", "2026/11/29"))
    done = headwater("scan", tmp_path / "old.json", tmp_path / "new.log", "--rules", rules, "-o", "json", root=root)
    assert {incident["signature"] for incident in json.loads(done.stdout)["incidents"]} == {
        "conntrack-table-full",
        "upstream-timeout",
    }
