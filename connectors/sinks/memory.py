"""Keeps notifications in memory, for tests and for trying out a configuration. A repeat is kept once."""

from pydantic import BaseModel, ConfigDict

from pipeline.contracts import Context, message
from pipeline.contracts.sink import Notification, Receipt


class Settings(BaseModel):
    """Nothing to configure."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Memory:
    """`told` holds what was delivered, by key, in the order of the first delivery."""

    updates = True

    def __init__(self) -> None:
        self.told: dict[str, Notification] = {}

    def deliver(self, notification: Notification, receipt: Receipt | None, *, repeat: bool, now: float) -> Receipt:
        """Keep it."""
        self.told[notification.key] = notification
        return {"told": len(self.told)}

    def close(self) -> None:
        """Nothing to let go of; what was told stays readable."""


def create(settings: Settings, context: Context) -> Memory:
    """An empty memory."""
    return Memory()


def render(notification: Notification) -> str:
    """The words of the notification."""
    return message.text(message.of(notification))
