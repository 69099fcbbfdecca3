"""A recording of one pod's log."""

from collections.abc import Sequence
from pathlib import Path

from connectors.sources import capture
from pipeline.contracts import Context

HEADER = "2026-11-23T04:39:01.041577Z stdout F "


class Outside:
    """A capture folder, read as fast as it can be."""

    grows = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "nodes/a/var/log/pods/n_p_1/c/0.log"

    def write(self, lines: Sequence[str]) -> None:
        (self.folder / "capture.yaml").write_text("cluster: c\n")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text("".join(f"{HEADER}{line}\n" for line in lines))

    def open(self) -> capture.Recorded:
        return capture.create(capture.Settings(path=self.folder, speed=0), Context("c", self.folder, "recording"))

    def text(self, record: bytes) -> str:
        return record.decode().removeprefix(HEADER).removesuffix("\n")

    def close(self) -> None:
        """Nothing is held."""
