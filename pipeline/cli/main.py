"""Where `headwater` begins: what a signal does is settled before anything heavy is imported."""

import os
import signal
import sys
from types import FrameType

from pipeline.runtime import memory

SHOW_CURSOR = b"\x1b[?25h"
"""A progress bar may have hidden it."""
INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended: 128 and the number of the signal."""


def _leave(number: int, _frame: FrameType | None) -> None:
    """Go at once: an exception may come up anywhere, also where Python can only report it (a generator being closed). What is on
    disk is as after a kill, which costs nothing.
    """
    if sys.stderr.isatty():
        os.write(2, SHOW_CURSOR)
    os._exit(INTERRUPTED if number == signal.SIGINT else 0)


def main() -> None:
    """The command line."""
    signal.signal(signal.SIGINT, _leave)
    if sys.argv[1:2] == ["run"]:  # a service that is told to stop while it starts has stopped; then it listens itself
        signal.signal(signal.SIGTERM, _leave)
    memory.give_back()
    from pipeline.cli import commands

    commands.run()


if __name__ == "__main__":
    main()
