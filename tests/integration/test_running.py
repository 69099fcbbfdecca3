"""The service as a process: how it starts, ends, is refused and asked."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.cli.main import INTERRUPTED
from pipeline.runtime.ledger import Ledger
from tests.components.receiver import SILENCES, Cut
from tests.integration import living
from tests.integration.living import Lab, Service, until

pytestmark = pytest.mark.integration

PROMPT = 10.0
"""Seconds in which a stop must be done."""
both_signals = pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])


def ended(service: Service, ending: signal.Signals = signal.SIGTERM) -> int:
    """The exit status after a signal. It must not take longer than `PROMPT`."""
    assert service.process
    service.process.send_signal(ending)
    return service.process.wait(PROMPT)


@pytest.fixture
def lab(laboratory) -> Lab:
    """A lab with a service that has begun to run."""
    made = laboratory()
    made.service.start()
    return made


def started(lab: Lab) -> None:
    until(lambda: "event=started" in lab.service.said(), "the service's first line")


@both_signals
def test_a_signal_ends_it_at_once(lab: Lab, ending: signal.Signals) -> None:
    """Also before its first turn; the next start goes on."""
    started(lab)
    assert ended(lab.service, ending) == 0, lab.service.said()
    assert "event=stopped" in lab.service.said()
    lab.outage.write(100)
    lab.service.start()
    until(lab.service.ready)
    assert ended(lab.service, ending) == 0, lab.service.said()


def listens(lab: Lab) -> bool:
    """Whether the process decides itself what SIGTERM does, as the kernel has it."""
    assert lab.service.process
    (caught,) = re.findall(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{lab.service.process.pid}/status").read_text(), re.MULTILINE)
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


@both_signals
@pytest.mark.parametrize("file", [None, "lock", "state.db", "incidents.db"])
def test_a_signal_during_the_start_leaves_nothing_half_done(lab: Lab, ending: signal.Signals, file: str | None) -> None:
    """While Python still imports, reads the rules, or makes the files of the state folder; the next start finds them whole."""
    until(lambda: listens(lab) and (file is None or (lab.folder / "state" / file).exists()), f"the process, and its file {file}")
    status = ended(lab.service, ending)
    assert status == 0 or (ending == signal.SIGINT and status == INTERRUPTED), lab.service.said()
    assert "event=stopped" in lab.service.said() or lab.service.said() == ""
    lab.service.start()
    until(lab.service.ready)
    assert ended(lab.service) == 0, lab.service.said()


def test_a_stop_during_the_backlog_loses_nothing(laboratory) -> None:
    """What was not worked off yet is worked off by the next process."""
    expected = living.undisturbed("policy-dns-egress-forgotten")
    lab = laboratory()
    lab.outage.write(lab.share(3))
    lab.service.start()
    started(lab)
    assert ended(lab.service) == 0, lab.service.said()
    lab.service.start()
    lab.settle(expected)
    assert lab.outcome == expected


def test_a_stop_while_a_sink_hangs_loses_nothing(lab: Lab) -> None:
    """What hangs is left behind and sent again by the next process."""
    expected = living.undisturbed("policy-dns-egress-forgotten")
    until(lab.service.ready)
    lab.receiver.script = [Cut.HANG] * 5
    lab.write_until_told()
    assert ended(lab.service) == 0, lab.service.said()
    assert "notifications are not delivered yet; the next start goes on with them" in lab.service.said()
    lab.receiver.script = []
    lab.service.start()
    lab.settle(expected)
    assert lab.outcome == expected


def test_a_stop_while_an_alertmanager_hangs(laboratory) -> None:
    """Asking for silences holds up neither the start nor the end."""
    lab = laboratory()
    lab.receiver.script = [Cut.HANG] * 5
    lab.change(sinks=lab.config["sinks"] | {"alerts": {"type": "alertmanager", "urls": [lab.receiver.url]}})
    lab.service.start()
    until(lambda: [one for one in lab.receiver.requests if one.path == SILENCES], "the question for silences")
    assert ended(lab.service) == 0, lab.service.said()


def test_a_file_that_came_while_nobody_looked_is_read_from_its_beginning(laboratory) -> None:
    """Also when the process between was ended before its first turn."""
    lab = laboratory(start="end")
    lab.service.start()
    until(lab.service.ready)
    assert ended(lab.service) == 0
    lab.outage.write(200)
    lab.service.start()
    started(lab)
    assert ended(lab.service) == 0
    lab.service.start()
    until(lab.service.ready)
    until(lambda: sum(lab.service.report()["lines"].values()) == 200, "the lines that were written in the meantime")


def test_a_second_process_is_refused(lab: Lab) -> None:
    """It says which process has the state folder, and leaves everything as it was."""
    until(lab.service.ready)
    second = Service(lab.service.config.with_name("second.yaml"))
    second.config.write_bytes(lab.service.config.read_bytes())
    with contextlib.closing(second):
        second.start()
        assert second.process
        assert lab.service.process
        assert second.process.wait(living.PATIENCE) == 1
        assert f"{lab.folder}/state: the process {lab.service.process.pid} already does; end it" in second.said()
    assert lab.service.ready()
    assert ended(lab.service) == 0


def test_a_checkpoint_that_cannot_be_read_is_left_as_it_was(lab: Lab) -> None:
    """The service does not start; what another version wrote is not overwritten."""
    until(lab.service.ready)
    assert ended(lab.service) == 0
    ledger = Ledger(lab.folder / "state" / "state.db")
    newer = json.dumps({"version": 99, "later": "things"}).encode()
    ledger.save({"place": newer}, [])
    before = ledger.parts()
    ledger.close()
    lab.service.start()
    assert lab.service.process
    assert lab.service.process.wait(living.PATIENCE) == 1
    assert "move state.db away to begin anew" in lab.service.said()
    assert "Traceback" not in lab.service.said()
    ledger = Ledger(lab.folder / "state" / "state.db")
    assert ledger.parts() == before
    ledger.close()


def test_it_is_healthy_from_its_start(lab: Lab) -> None:
    """Nobody ends it for a backlog that takes long."""
    started(lab)
    assert lab.service.ask("/healthz") == (200, "ok\n")


def test_it_says_how_it_is(lab: Lab) -> None:
    """Over HTTP for probes and Prometheus, on the command line for people and programs."""
    lab.outage.write(500)
    until(lab.service.ready)
    assert lab.service.ask("/healthz") == (200, "ok\n")
    assert lab.service.ask("/nothing") == (404, "there are /healthz, /readyz, /metrics, /status\n")
    until(lambda: sum(lab.service.report()["lines"].values()) == 500, "the lines")
    families = {family.name: family for family in text_string_to_metric_families(lab.service.ask("/metrics")[1])}
    assert sum(sample.value for sample in families["headwater_lines"].samples) == 500
    assert {sample.labels["source"] for sample in families["headwater_source_up"].samples} >= {"events", "node-a-pods"}
    assert families["headwater_ready"].samples[0].value == 1
    assert families["process_resident_memory_bytes"].samples[0].value > 0
    assert all(family.documentation for family in families.values())
    address = lab.service.address
    assert address
    said = status(lab, address)
    assert said.returncode == 0, said.stdout + said.stderr
    assert re.search(r"^  node-a-pods +alive +\d+ streams", said.stdout, re.MULTILINE), said.stdout
    assert "hook" in said.stdout
    report = json.loads(status(lab, address, "--output", "json").stdout)
    assert report["pid"] == lab.service.process.pid
    assert {source["name"] for source in report["sources"]} == {source["name"] for source in lab.config["sources"]}
    assert ended(lab.service) == 0
    silent = status(lab, address)
    assert silent.returncode == 1
    assert "is `headwater run` running, with this configuration?" in silent.stderr
    assert "Traceback" not in silent.stderr


def status(lab: Lab, listen: str, *options: str) -> subprocess.CompletedProcess[str]:
    """`headwater status`, asking where the service really listens."""
    command = [sys.executable, "-m", "pipeline.cli.main", "status", "--config", str(lab.service.config), *options]
    environ = {**os.environ, "PYTHONPATH": str(living.ROOT), "HEADWATER_LISTEN": listen}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)


def test_standard_input_is_read_to_its_end(laboratory) -> None:
    """The process ends by itself with status 0, and everything is told before."""
    lab = laboratory("conntrack-table-full")
    lab.change(sources=[{"type": "stdin", "envelope": "journald", "node": "node-b"}])
    lab.service.start(stdin=subprocess.PIPE)
    assert lab.service.process
    assert lab.service.process.stdin
    with lab.service.process.stdin as pipe:
        for row in lab.outage.rows:
            if row.path == "nodes/node-b/journal.jsonl":
                pipe.write(row.data)
    assert lab.service.process.wait(living.PATIENCE) == 0, lab.service.said()
    assert [word[2] for word in lab.outcome.told] == ["conntrack-table-full"], lab.service.said()


def test_a_capture_is_read_to_its_end(laboratory) -> None:
    """As a recording of the past at its full speed: the end is reached, and the cause is told."""
    lab = laboratory()
    path = living.ROOT / "tests" / "captures" / "policy-dns-egress-forgotten"
    lab.change(sources=[{"type": "capture", "path": str(path), "speed": 0}])
    lab.service.start()
    assert lab.service.process
    assert lab.service.process.wait(living.PATIENCE) == 0, lab.service.said()
    assert [word[2] for word in lab.outcome.told] == ["policy-dns-egress-forgotten"], lab.service.said()


def test_the_kernels_log_is_followed(laboratory) -> None:
    """Where this machine lets us read it."""
    try:
        os.close(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK))
    except OSError as error:
        pytest.skip(f"/dev/kmsg: {error.strerror}")
    lab = laboratory()
    lab.change(sources=[{"type": "kmsg", "node": "here"}])
    lab.service.start()
    until(lab.service.ready)
    assert lab.service.report()["sources"][0]["alive"]
    assert ended(lab.service) == 0
