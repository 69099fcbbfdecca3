"""Standard output: what is written, and when nobody reads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from connectors.sinks import stdout
from pipeline.contracts import Context
from tests.components import told

NOBODY = """
import sys
from connectors.sinks import stdout
from pipeline.contracts import Context
from pipeline.contracts.sink import Notification
from pipeline.errors import DeliveryError
from pathlib import Path
sink = stdout.create(stdout.Settings(), Context("lab", Path(), "console"))
told = Notification("k", "t", "test", 0, {}, {})
try:
    for _ in range(2):
        sink.deliver(told, None, repeat=False, now=0.0)
except DeliveryError as error:
    print(error.retry, error, file=sys.stderr)
sys.stdout = None
"""


def test_json_is_one_line_a_notification(capsys: pytest.CaptureFixture[str]) -> None:
    """With the key by which a reader drops repeats."""
    sink = stdout.create(stdout.Settings(form="json"), Context("lab", told.CAPTURE, "console"))
    for number in (1, 2):
        sink.deliver(told.notification(number=number), None, repeat=False, now=told.NOW)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["key"], line["type"]) for line in lines] == [("key-1", "incident.opened"), ("key-2", "incident.opened")]


def test_text_is_a_paragraph_a_notification(capsys: pytest.CaptureFixture[str]) -> None:
    """Separated by an empty line."""
    sink = stdout.create(stdout.Settings(), Context("lab", told.CAPTURE, "console"))
    sink.deliver(told.notification(), None, repeat=False, now=told.NOW)
    assert capsys.readouterr().out == stdout.render(told.notification()) + "\n\n"


def test_a_reader_that_left_is_an_error_of_delivery(root: Path) -> None:
    """`headwater run | head -1`: the error says what happened; the service goes on."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", NOBODY]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, cwd=root, timeout=30)
    os.close(writing)
    assert done.stderr.startswith("True sink console: writing to standard output: ")
    assert "does anybody still read it?" in done.stderr
