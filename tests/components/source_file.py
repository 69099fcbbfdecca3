"""A log file that a program appends to."""

from collections.abc import Sequence
from pathlib import Path

from connectors.sources import file
from pipeline.contracts import Context


class Outside:
    """One file in a folder."""

    grows = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, lines: Sequence[str]) -> None:
        with (self.folder / "app.log").open("a") as out:
            out.writelines(f"{line}\n" for line in lines)

    def open(self) -> file.Followed:
        settings = file.Settings(paths=(str(self.folder),), start="beginning")
        return file.create(settings, Context("cluster", self.folder / "state", "files"))

    def text(self, record: bytes) -> str:
        return record.decode().removesuffix("\n")

    def close(self) -> None:
        """Nothing is held."""
