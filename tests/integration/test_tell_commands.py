"""The commands about who is told, as a person at a terminal meets them: a test of a receiver, silences, what waits."""

import json
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from connectors.stores import sqlite
from pipeline.config import Route
from pipeline.runtime.dispatch import Dispatcher
from pipeline.runtime.ledger import Intent, Ledger
from tests.components import lives, told
from tests.components.receiver import HOOK, Receiver, Reply
from tests.integration.conftest import Laboratory
from tests.integration.living import until
from tests.integration.test_command_line import headwater

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


class Site:
    """A configuration, and a state folder as the service leaves it, with an incident that goes on."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self.state, self.config = folder / "state", folder / "headwater.yaml"
        self.state.mkdir()
        sinks = {
            "chat": {"type": "slack", "webhook": receiver.url + HOOK},
            "hook": {"type": "webhook", "url": f"{receiver.url}/in"},
        }
        self.config.write_text(json.dumps({"state": str(self.state), "sinks": sinks}))
        record = lives.record(lives.incident("a" * 16, status="firing", ended=None))
        with closing(sqlite.SQLite(self.state / "incidents.db")) as store:
            store.save([record], lives.START)
        self.record = record

    def run(self, *arguments: str, status: int = 0, config: bool = True, **more: str) -> str:
        """What it prints, on standard error where something is wrong."""
        named = ("--config", self.config) if config else ()
        done = headwater(*arguments, *named, root=ROOT, NO_PROXY="127.0.0.1", **more)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    def objects(self, *arguments: str) -> list[Mapping[str, Any]]:
        return [json.loads(line) for line in self.run(*arguments, "-o", "json").splitlines()]


@pytest.fixture
def site(tmp_path: Path, receiver: Receiver) -> Site:
    return Site(tmp_path, receiver)


def test_a_test_says_of_each_receiver_what_happened(site: Site, receiver: Receiver) -> None:
    """All of them, or those that are named; it goes past the outbox and leaves nothing there."""
    assert site.run("notify", "test") == "chat: told\nhook: told\n"
    assert "TEST: Headwater can reach you here" in receiver.requests[0].json["text"]
    assert receiver.requests[1].json["type"] == "headwater.test"
    receiver.script = [Reply(403, b"invalid_token")]
    assert "chat: FAILED: sink chat: posting to Slack's webhook" in site.run("notify", "test", "chat", status=1)
    assert len(receiver.requests) == 3
    assert sorted(path.name for path in site.state.iterdir()) == ["incidents.db"]


def test_a_receiver_that_does_not_exist_is_answered_with_the_nearest(site: Site, receiver: Receiver) -> None:
    """Before anything is sent."""
    assert "did you mean 'hook'?" in site.run("notify", "test", "hok", status=2)
    assert receiver.requests == []


def test_nobody_to_try(tmp_path: Path, root: Path) -> None:
    """Without sinks there is nothing to test, and that is said."""
    done = headwater("notify", "test", root=root, HEADWATER_STATE=str(tmp_path))
    assert done.returncode == 1
    assert "names no `sinks`" in done.stderr


def test_a_silence_is_made_listed_honoured_and_ended(site: Site) -> None:
    """With author, comment and end; it says what it holds back, and a dispatcher says nothing of that."""
    said = site.run("silences", "add", "node=~node-.", "--for", "2h", "--comment", "moving it", USER="kim")
    assert said.startswith("silenced until ")
    assert 'node=~"node-."' in said
    assert said.endswith("holds back conntrack-table-full node-b\n")
    (silence,) = site.objects("silences", "list")
    assert (silence["matchers"], silence["author"], silence["comment"]) == (['node=~"node-."'], "kim", "moving it")
    assert silence["id"][:8] in site.run("silences", "list")
    assert decided(site) == []
    assert site.run("silences", "end", silence["id"][:8]) == 'ended: node=~"node-."\n'
    assert site.run("silences", "list") == "Nothing is silenced.\n"
    assert decided(site) == ["opened"]


def decided(site: Site) -> list[str]:
    """What would be said now."""
    now = time.time_ns() // 1000
    route = Route.model_validate({"receiver": "chat", "group_wait": "0s"})
    with closing(sqlite.SQLite(site.state / "incidents.db")) as store:
        intents = Dispatcher(route, {"chat": True}, None).decide({"a": site.record}, store.silences(now), now)
    return [intent.notification.event for intent in intents]


def test_a_silence_of_nothing_that_goes_on(site: Site) -> None:
    """It is kept, and a label that no incident has is answered with the nearest."""
    said = site.run("silences", "add", "nod=node-b", "--author", "kim")
    assert "nothing that goes on now is held back" in said
    assert "no incident has a label 'nod' so far; did you mean 'node'?" in said
    assert len(site.objects("silences", "list")) == 1


def test_a_running_service_honours_a_silence(laboratory: Laboratory) -> None:
    """What goes on when it is ended is told within seconds, without a restart."""
    lab = laboratory()

    def silences(*arguments: str) -> str:
        done = headwater("silences", *arguments, "--config", lab.service.config, root=ROOT, USER="kim")
        assert done.returncode == 0, done.stderr
        return done.stdout

    lab.service.start()
    until(lab.service.ready)
    assert lab.service.end() == 0
    silences("add", "cluster=lab")
    lab.service.start()
    lab.outage.write(len(lab.outage.rows))
    until(lambda: lab.service.ready() and lab.service.report()["incidents"].get("firing"), "an incident")
    assert lab.receiver.requests == []
    silences("end", json.loads(silences("list", "-o", "json"))["id"])
    until(lambda: lab.receiver.requests, "a notification")
    assert lab.receiver.requests[0].json["type"] == "incident.opened"


SLIPS = {
    "no matcher": (("add", "node-b"), "is not a matcher"),
    "everything": (("add", "severity=~.*"), "that holds for everything"),
    "expression": (("add", "node=~("), "regular expression"),
    "no time": (("add", "node=b", "--for", "soon"), "is not a duration"),
    "no time at all": (("add", "node=b", "--for", "0s"), "longer than nothing"),
    "for good": (("add", "node=b", "--for", "9999999w"), "change the route"),
    "nobody": (("add", "node=b", "--author="), "name yourself"),
    "no silence": (("end", "abc"), "there is none"),
}  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_keeps_no_silence(slip: str, site: Site) -> None:
    """It is answered with what to do."""
    arguments, answer = SLIPS[slip]
    more = () if "--author=" in arguments or arguments[0] == "end" else ("--author", "kim")
    assert answer in site.run("silences", *arguments, *more, status=2)
    assert site.objects("silences", "list") == []


def test_what_waits_and_what_was_given_up_is_listed(site: Site) -> None:
    """With attempts and the last error; the service may be at work meanwhile."""
    with closing(Ledger(site.state / "state.db")) as ledger:
        ledger.save({}, [Intent("chat", told.notification(number=1)), Intent("hook", told.notification(number=2))])
        (row,) = ledger.pending("hook")
        ledger.attempted(row)
        ledger.failed(row, "sink hook: HTTP 403", told.AT, permanent=True)
        title = "CRITICAL: Connection tracking table full on node-b: new connections are dropped"
        assert site.run("outbox").splitlines() == [
            f"2026-11-23 04:40:49  chat  waits  0 attempts  opened  {title}",
            f"2026-11-23 04:40:49  hook  GIVEN UP  1 attempt  opened  {title}",
            "    sink hook: HTTP 403",
        ]
    shown = site.objects("outbox")
    assert [(one["state"], one["receiver"], one["key"], one["attempts"]) for one in shown] == [
        ("pending", "chat", "key-1", 0),
        ("failed", "hook", "key-2", 1),
    ]
    Ledger(site.state / "other" / "state.db").close()
    assert site.run("outbox", "--state", str(site.state / "other"), config=False) == "Nothing waits, and nothing was given up.\n"


def test_looking_makes_nothing(tmp_path: Path, root: Path) -> None:
    """Before the service has run there is neither outbox nor store."""
    for command in ("outbox", "silences list", "silences add node=b --author kim"):
        done = headwater(*command.split(), root=root, HEADWATER_STATE=str(tmp_path))
        assert done.returncode == 1
        assert "`headwater run` makes it" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_that_is_shown_can_be_read(tmp_path: Path) -> None:
    """Durations, sizes and matchers come out as they are written; the file is named as for every other command."""
    path, shown = tmp_path / "headwater.yaml", tmp_path / "shown.yaml"
    path.write_text("""\
sinks: {paper: {type: stdout}}
route:
    receiver: paper
    group_wait: 90s
    routes: [{matchers: ['severity=~"critical|high"'], repeat_interval: 2h, group_interval: 0s}]
store: {type: sqlite, retention: {age: 400d, size: 1500MB}}
""")
    first = headwater("config", "show", "--config", path, root=ROOT)
    shown.write_text(first.stdout)
    again = headwater("config", "show", "--config", shown, root=ROOT)
    assert (first.returncode, again.stdout) == (0, first.stdout)
    for words in ("group_wait: 90s", "repeat_interval: 2h", "age: 400d", "size: 1500MB", 'severity=~"critical|high"'):
        assert words in first.stdout
    assert f"{shown}: good" in headwater("config", "check", shown, root=ROOT).stdout
