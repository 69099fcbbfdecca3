"""Writes notifications to standard output, for log collectors and for people at a terminal.

A repeat after a crash is written again; lines of JSON carry the `key` by which a reader can tell.
"""

import json
import sys
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipeline.contracts import Context, message
from pipeline.contracts.sink import Notification, Receipt
from pipeline.errors import DeliveryError


class Settings(BaseModel):
    """`form`: text for people, or json: one object a line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: Literal["text", "json"] = "text"


class Stdout:
    """Writes each notification as it comes."""

    updates = True

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings, self._name = settings, name

    def deliver(self, notification: Notification, receipt: Receipt | None, *, repeat: bool, now: float) -> Receipt:
        """Write it and flush."""
        try:
            sys.stdout.write(_line(notification) if self._settings.form == "json" else f"{render(notification)}\n\n")
            sys.stdout.flush()
        except (OSError, ValueError) as error:  # ValueError: closed, or letters that the encoding of the terminal has not
            reason = f"sink {self._name}: writing to standard output: {error}; does anybody still read it?"
            raise DeliveryError(reason, retry=isinstance(error, OSError)) from error
        return {}

    def close(self) -> None:
        """Standard output belongs to the process, which closes it."""


def create(settings: Settings, context: Context) -> Stdout:
    """A sink that writes to whatever is standard output when something is delivered."""
    return Stdout(settings, context.name)


def render(notification: Notification) -> str:
    """The words of the notification."""
    return message.text(message.of(notification))


def _line(notification: Notification) -> str:
    said = {"key": notification.key, **message.payload(notification)}
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")) + "\n"
