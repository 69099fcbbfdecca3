"""A real Alertmanager takes and shows our alerts, and a silence that is made there is read and honoured."""

import dataclasses
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors import http
from connectors.sinks import alertmanager
from pipeline.config import Route
from pipeline.contracts import Context
from pipeline.contracts.store import Matcher
from pipeline.model.public import rfc3339
from pipeline.runtime.dispatch import Dispatcher
from pipeline.runtime.ledger import Intent, Ledger
from pipeline.runtime.outbox import Outbox
from tests.components import lives, told
from tests.servers import require

pytestmark = pytest.mark.integration

CONFIG = "route: {receiver: nobody, group_wait: 1h}\nreceivers: [{name: nobody}]\n"
PERSON = http.Client("a person at Alertmanager", timeout=10.0)


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An Alertmanager of its own that listens where it finds room and tells nobody."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    program = require("prometheus-alertmanager", "prometheus-alertmanager")
    (tmp_path / "alertmanager.yml").write_text(CONFIG)
    files = [f"--config.file={tmp_path}/alertmanager.yml", f"--storage.path={tmp_path}/data"]
    alone = ["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="]
    with subprocess.Popen([program, *files, *alone], stderr=subprocess.PIPE, text=True) as process:
        said = []
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if found := re.search(r'"Listening on" address=(\S+)', line):
                yield f"http://{found[1]}"
                break
        else:
            pytest.fail("".join(said))
        process.terminate()


def make(url: str) -> alertmanager.Alertmanager:
    return alertmanager.create(alertmanager.Settings(urls=[url]), Context("lab", told.CAPTURE, "oncall"))


def shown(url: str) -> list[dict[str, Any]]:
    """The alerts that Alertmanager takes for firing."""
    return json.loads(PERSON.send("GET", f"{url}/api/v2/alerts", now=0.0))


def silenced(url: str, now: float, *matchers: dict[str, Any]) -> str:
    """Make a silence for an hour, as people do; gives its id."""
    times = {"startsAt": rfc3339(round(now * 1e6)), "endsAt": rfc3339(round((now + 3600) * 1e6))}
    body = {"matchers": matchers, **times, "createdBy": "kim", "comment": "moving node-b"}
    headers = {"Content-Type": "application/json"}
    answer = PERSON.send("POST", f"{url}/api/v2/silences", now=0.0, body=json.dumps(body).encode(), headers=headers)
    return json.loads(answer)["silenceID"]


def test_an_alert_is_taken_shown_and_ended(url: str) -> None:
    """With labels, words and link; a rise of the level leaves one alert, the end none."""
    sink = make(url)
    labels = told.LABELS | {"severity": "medium"}
    receipt = sink.deliver(
        told.notification(labels=labels, link="https://headwater.example/i/1"), None, repeat=False, now=time.time()
    )
    (alert,) = shown(url)
    assert alert["labels"] == {"alertname": "ConntrackTableFull", **labels}
    assert alert["annotations"]["summary"] == "CRITICAL: Connection tracking table full on node-b: new connections are dropped"
    assert alert["generatorURL"] == "https://headwater.example/i/1"
    receipt = sink.deliver(told.notification("updated", 2), receipt, repeat=False, now=time.time())
    assert [alert["labels"]["severity"] for alert in shown(url)] == ["critical"]
    receipt = sink.deliver(told.notification("updated", 2), receipt, repeat=True, now=time.time())
    assert len(shown(url)) == 1
    sink.deliver(told.notification("resolved", 3), receipt, repeat=False, now=time.time())
    assert shown(url) == []


def test_a_silence_that_was_made_there_is_read(url: str) -> None:
    """What people silenced in Alertmanager, with who and why; our labels are what its matchers see."""
    sink, now = make(url), time.time()
    identity = silenced(url, now, {"name": "node", "value": "node-[ab]", "isRegex": True, "isEqual": True})
    sink.deliver(told.notification(), None, repeat=False, now=now)
    (silence,) = sink.silences(now)
    assert (silence.id, silence.author, silence.comment, silence.origin) == (identity, "kim", "moving node-b", "oncall")
    assert silence.matchers == (Matcher("node", "=~", "node-[ab]"),)
    assert [alert["status"]["silencedBy"] for alert in shown(url)] == [[identity]]
    PERSON.send("DELETE", f"{url}/api/v2/silence/{identity}", now=0.0)
    assert sink.silences(now) == []


def test_a_silence_that_was_made_there_is_honoured(url: str, tmp_path: Path) -> None:
    """Made of all the labels that Alertmanager shows, as its page does: nothing more is said of that incident until it is lifted,
    and others are told.
    """
    sink, now = make(url), round(time.time() * 1e6)
    route = Route.model_validate({"receiver": "oncall", "group_wait": "0s", "group_interval": "0s"})
    dispatcher = Dispatcher(route, {"oncall": True}, None)
    record, other = (
        lives.record(lives.incident(node, status="firing", ended=None, **lives.on(node=node))) for node in ("node-b", "node-c")
    )
    (intent,) = dispatcher.decide({"node-b": record}, sink.silences(now / 1e6), now)
    deliver(tmp_path, sink, intent)
    (alert,) = shown(url)
    matchers = [{"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in alert["labels"].items()]
    identity = silenced(url, now / 1e6, *matchers)
    records = {"node-b": lives.again(record, dataclasses.replace(record.incident, rows=99)), "node-c": other}
    (intent,) = dispatcher.decide(records, sink.silences(now / 1e6), now + 1_000_000)
    assert intent.notification.thread == "node-c"
    PERSON.send("DELETE", f"{url}/api/v2/silence/{identity}", now=0.0)
    (intent,) = dispatcher.decide(records, sink.silences(now / 1e6), now + 2_000_000)
    assert (intent.notification.thread, intent.notification.event) == ("node-b", "updated")


def deliver(folder: Path, sink: alertmanager.Alertmanager, intent: Intent) -> None:
    """By way of the outbox."""
    ledger = Ledger(folder / "state.db")
    ledger.save({}, [intent])
    Outbox(ledger, {"oncall": sink}).step("oncall", 0.0)
    assert not ledger.pending("oncall")
    ledger.close()
