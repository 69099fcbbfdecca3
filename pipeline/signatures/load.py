"""Rule folders to a `RuleSet`: read, validate, resolve, compile; every problem of every file in one run.

`load` is what the commands use: it takes the compiled rules from the user's cache when nothing changed. `build` always
works from the files.
"""

import contextlib
import hashlib
import os
import pickle
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline import documents
from pipeline.documents import Document, Loc
from pipeline.errors import Problem, SignatureError, UsageError, nearest
from pipeline.model.vocabulary import Vocabulary
from pipeline.signatures import compiler, lint, mend
from pipeline.signatures.entry import Entry
from pipeline.signatures.models import SIGNATURE_KEYS, Block, Filter, Signature
from pipeline.signatures.ruleset import RuleSet

RULE_FILE = "rule.yaml"


def packaged() -> Path:
    """The signatures that come with Headwater: inside the wheel, or in the source tree."""
    inside = Path(str(resources.files("pipeline"))) / "_rules"
    return inside if inside.is_dir() else Path(str(resources.files("pipeline"))).parent / "rules"


def files(folders: Sequence[Path]) -> list[Path]:
    """Every YAML file of the folders that holds rules: all but `cases.yaml`, in a stable order."""
    found: list[Path] = []
    for folder in folders:
        if folder.is_file():
            found.append(folder)
        elif folder.is_dir():
            found.extend(path for path in folder.rglob("*.y*ml") if path.suffix in (".yaml", ".yml") and path.stem != "cases")
        else:
            raise UsageError(f"rules cannot be read from {folder}: there is no such folder; name one that holds rule.yaml files")
    return sorted(found)


def load(vocabulary: Vocabulary, folders: Sequence[Path] | None = None, *, cache: Path | None = None) -> RuleSet:
    """The compiled rules of the folders (default: the packaged ones). Raises SignatureError with every problem."""
    paths = files(folders or [packaged()])
    digest = content_hash(paths)
    stored = (cache or cache_folder()) / f"rules-{digest}.pickle"
    try:
        found = pickle.loads(stored.read_bytes())  # noqa: S301 (our own file, in the user's own cache)
        if isinstance(found, RuleSet):
            return found
    except Exception:  # noqa: BLE001, S110 (a damaged or missing cache only costs time: anything may come out of a pickle)
        pass
    ruleset, problems = build(paths, vocabulary, digest)
    if ruleset is None:
        raise SignatureError([problem for problem in problems if not problem.warning])
    _store(stored, ruleset)
    return ruleset


def build(paths: Sequence[Path], vocabulary: Vocabulary, digest: str = "") -> tuple[RuleSet | None, list[Problem]]:
    """The compiled rules of the files, or None, and all problems (warnings among them)."""
    problems: list[Problem] = []
    entries: list[Entry] = []
    for path in paths:
        parsed, found = documents.read(path)
        problems.extend(found)
        read = [entry for one in parsed if (entry := _validate(one, problems))]
        entries.extend(read)
        if any(problem.what.startswith(documents.BROKEN) for problem in found):
            entries.extend(_unread(path, {entry.name for entry in read}))
    problems.extend(_duplicates(entries))
    ruleset = compiler.compile_rules(entries, problems, digest or content_hash(paths), vocabulary)
    problems.extend(lint.check(entries, ruleset, vocabulary))
    failed = any(not problem.warning for problem in problems)
    return (None if failed else ruleset), sorted(set(problems))


def content_hash(paths: Iterable[Path]) -> str:
    """A hash of the rule files and of this version of Headwater (a new one may compile them otherwise)."""
    digest = hashlib.sha256(_version().encode())
    for path in paths:
        digest.update(str(path).encode())
        with contextlib.suppress(OSError):  # said when it is read
            digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def _version() -> str:
    """The installed version; while developing, also the newest change of the code that compiles rules."""
    code = Path(__file__).parent.parent
    files = [*code.glob("*.py"), *(path for part in ("signatures", "parsers", "model") for path in (code / part).rglob("*.py"))]
    newest = max(path.stat().st_mtime_ns for path in files)
    try:
        return f"{metadata.version('headwater')}-{newest}"
    except metadata.PackageNotFoundError:
        return str(newest)


def cache_folder() -> Path:
    """Where compiled rules are kept; safe to delete."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "headwater"


def _store(path: Path, ruleset: RuleSet) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(pickle.dumps(ruleset))
        temporary.replace(path)
    except OSError:
        return  # a cache that cannot be written only costs time


def _validate(parsed: Document, problems: list[Problem]) -> Entry | None:
    value = parsed.value
    if not isinstance(value, dict):
        problems.append(parsed.problem((), "a rule must be a map of keys", "see CONTRIBUTING, 'add a signature'"))
        return None
    model = _kind(value)
    slug = parsed.path.parent.name if model is Signature else None
    if model is not Signature:
        value = _drop_custom(parsed, value, problems)
    try:
        return Entry(model.model_validate(value), parsed, slug)
    except ValidationError as error:
        problems.extend(_explain(parsed, model, item) for item in error.errors(include_url=False))
        line, _ = parsed.where(())
        body = mend.mended(model, value, error, _known_keys(model), f"{parsed.path}:{line}")
        return Entry(body, parsed, slug) if body is not None else _placeholder(parsed, slug, value.get("name"))


def _placeholder(parsed: Document, slug: str | None, name: object) -> Entry:
    """A document of which only the name is known: to name it elsewhere is no mistake."""
    return Entry(Block.model_construct(title="?", name=name if isinstance(name, str) else None), parsed, slug)


def _unread(path: Path, read: Container[str]) -> Iterator[Entry]:
    """What a file that is no YAML would have defined, as far as can be seen."""
    nothing = Document(path, None)
    if path.name == RULE_FILE and path.parent.name not in read:
        yield _placeholder(nothing, path.parent.name, None)
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    names = dict.fromkeys(re.findall(r"^name:[ \t]*['\"]?([\w.-]+)", text, re.MULTILINE))
    yield from (_placeholder(nothing, None, name) for name in names if name not in read)


def _kind(value: Mapping[str, Any]) -> type[Signature] | type[Block] | type[Filter]:
    if "filter" in value:
        return Filter
    own = SIGNATURE_KEYS & set(value)
    return Signature if {"version", "layer"} & own or len(own) > len(SIGNATURE_KEYS) // 2 else Block


def _drop_custom(parsed: Document, value: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Sigma allows custom top-level keys: those far from every known word are a warning, those near one stay an error."""
    known = set(Block.model_fields) | set(Filter.model_fields) | SIGNATURE_KEYS
    custom = [key for key in value if key not in known and not nearest(key, known)]
    problems.extend(parsed.problem((key,), f"custom key '{key}' is ignored", warning=True) for key in custom)
    return {key: item for key, item in value.items() if key not in custom}


def _explain(parsed: Document, model: type[Signature] | type[Block] | type[Filter], error: ErrorDetails) -> Problem:
    loc: Loc = tuple(part for part in error["loc"])
    name = str(loc[-1]) if loc else ""
    if error["type"] == "extra_forbidden":
        return parsed.problem(loc, f"unknown key '{name}'", nearest(name, _known_keys(model)) or "remove it")
    if error["type"] == "missing":
        text = model is Signature and len(loc) == 1
        return parsed.problem(loc[:-1], f"missing key '{name}'", "every signature must carry it" if text else "add it")
    context = error.get("ctx", {})
    if error["type"] == "union_tag_invalid":
        tag = str(context["tag"])
        words = _words(context["expected_tags"])
        return parsed.problem((*loc, "type"), f"unknown type '{tag}'", nearest(tag, words) or f"one of {', '.join(words)}")
    message = error["msg"].removeprefix("Value error, ")
    hint = nearest(str(error["input"]), _words(context["expected"])) if error["type"] == "literal_error" else ""
    return parsed.problem(loc, f"{'.'.join(str(part) for part in loc)}: {message}" if loc else message, hint)


def _words(listed: str) -> list[str]:
    """The words of pydantic's `'a', 'b' or 'c'`."""
    return re.findall(r"'([^']*)'", listed)


def _known_keys(model: type[Signature] | type[Block] | type[Filter]) -> set[str]:
    """Every key of the language below a model: unknown ones are compared with all, whatever their level."""
    keys: set[str] = set()

    def walk(schema: object) -> None:
        if isinstance(schema, dict):
            keys.update(schema.get("properties", {}))
            for part in schema.values():
                walk(part)
        elif isinstance(schema, list):
            for part in schema:
                walk(part)

    walk(model.model_json_schema())
    return keys


def _duplicates(entries: Sequence[Entry]) -> Iterator[Problem]:
    """Names and ids that two documents have; the folder of a signature is a name of it."""
    first: dict[str, tuple[Entry, str]] = {}
    for entry in entries:
        named = {"folder": entry.slug, "name": entry.model.name, "id": entry.model.id}
        for key, value in named.items():
            if not value:
                continue
            other, its_key = first.setdefault(value, (entry, key))
            if other is not entry:
                where = f"{other.document.path}:{other.document.where((its_key,))[0]}"
                yield entry.document.problem((key,), f"duplicate {key} '{value}'", f"{where} has it already")
