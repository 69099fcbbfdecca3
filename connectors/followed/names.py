"""What names say: which files are wanted, what a rotated file was called before, whose log a path is. Pure."""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

_PACKED = re.compile(r"\.(?:gz|zst)$")
_TAIL = re.compile(r"(?<=.)[.-]\d[\dTZ:._+-]*$")
_INNER = re.compile(r"(?<=.)[.-]\d[\dTZ:_+-]*(?=\.[A-Za-z]+$)")
_MAGIC = re.compile(r"[*?\[]")
_POD = re.compile(r"/pods/(?P<namespace>[^_/]+)_(?P<pod>[^_/]+)_(?P<pod_uid>[^/]+)/(?P<container>[^/]+)/[^/]+$")
_CONTAINER = re.compile(r"/containers/(?P<pod>[^_/]+)_(?P<namespace>[^_/]+)_(?P<container>[^/]+)-[0-9a-f]{12,64}\.log$")


def base(name: str) -> str:
    """The name of a file before it was rotated: `0.log.20261123-040000.gz`, `0.log.1` and `0.log` are all of `0.log`."""
    return _TAIL.sub("", _PACKED.sub("", name))


def bases(name: str) -> frozenset[str]:
    """All that a file may have been called: with logrotate's `extension` the number stands in front of it (`app.1.log`)."""
    return frozenset((base(name), _INNER.sub("", _PACKED.sub("", name))))


def family(name: str) -> str:
    """What all parts of one log are called in common: the name without anything that rotation may have put into it."""
    return _INNER.sub("", base(name))


def identity(paths: Sequence[str]) -> dict[str, str]:
    """Whose log it is (fields of a Stream), by the first path that says so: kubelet's folders, or the links to them."""
    for path in paths:
        if match := _POD.search(path) or _CONTAINER.search(path):
            return match.groupdict()
    return {}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A configured path: a file, a folder (with all below it) or a glob (`**` stands for any folders)."""

    root: str
    """The folder to begin at."""
    top: str
    """The part without wildcards."""
    pattern: re.Pattern[str]
    depth: int | None
    """How many folders below `top` it reaches; None: any number."""

    def takes(self, path: str) -> bool:
        """Whether a file is wanted: it, or what it was called before it was rotated."""
        folder, _, name = path.rpartition("/")
        return any(self.pattern.fullmatch(f"{folder}/{known}") for known in (name, *bases(name)))

    def enters(self, folder: str) -> bool:
        """Whether wanted files may stand in a folder."""
        inside = folder == self.top or folder.startswith(self.top.rstrip("/") + "/")
        return inside and (self.depth is None or folder.count("/") - self.top.rstrip("/").count("/") <= self.depth)


def wanted(path: str, *, is_folder: bool) -> Wanted:
    """What a configured absolute path asks for. What is not there yet may become a file or a folder."""
    plain = path.rstrip("/") or "/"
    if not _MAGIC.search(path):
        root = plain if is_folder else str(PurePosixPath(plain).parent)
        return Wanted(root, plain, re.compile(re.escape(plain.rstrip("/")) + "(?:/.+)?"), None)
    parts = PurePosixPath(path).parts
    fixed = next(number for number, part in enumerate(parts) if _MAGIC.search(part))
    root = str(PurePosixPath(*parts[:fixed]))
    return Wanted(root, root, re.compile(_regex(plain)), None if "**" in parts else len(parts) - fixed - 1)


def _regex(glob: str) -> str:
    pieces = re.split(r"(\*\*/|\*|\?|\[[^]]+\])", glob)
    special = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return "".join(special.get(piece) or _literal(piece) for piece in pieces)


def _literal(piece: str) -> str:
    if piece.startswith("[") and piece.endswith("]"):
        return fnmatch.translate(piece).removeprefix("(?s:").rpartition(")")[0]
    return re.escape(piece)


def excluded(path: str, globs: Sequence[str]) -> bool:
    """Whether a file or folder is left out: by its whole path or its name alone."""
    name = path.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(path, glob) or fnmatch.fnmatchcase(name, glob) for glob in globs)


def rotated(path: str) -> bool:
    """Whether its name looks as if a file had been rotated."""
    name = path.rpartition("/")[2]
    return bases(name) != {name}


def last(path: str) -> str:
    """The name of a file without its folder."""
    return path.rpartition("/")[2]


def beside(path: str, other: str) -> bool:
    """Whether both are in one folder."""
    return path.rpartition("/")[0] == other.rpartition("/")[0]
