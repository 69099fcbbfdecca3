"""The configuration of a process: one frozen tree of settings from `headwater.yaml`, the environment, and files that hold
secrets.

What a component may be told is its own `Settings` (`pipeline.contracts`); everything else stands here. Every problem is found
in one run and named with its place in the file. The environment overrides the file: `HEADWATER_CLUSTER`,
`HEADWATER_SINKS__CHAT__CHANNEL`. Any value may be written `{file: PATH}` or `{env: NAME}`: it is then the content of that file,
or variable, without the newline at its end.
"""

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic_core import ErrorDetails

from pipeline import contracts, documents
from pipeline.contracts.store import Matcher
from pipeline.errors import ConfigError, Problem, nearest

PREFIX = "HEADWATER_"
OWN = "headwater"
"""The name of the source in which the service reports on itself."""
PLACES = (Path("headwater.yaml"), Path("/etc/headwater/headwater.yaml"))
_MATCHER = re.compile(r'\s*([A-Za-z_][\w.]*)\s*(=~|!~|!=|=)\s*(?:"(.*)"|([^"]*?))\s*')
_SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_SPANS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
LAST_PORT = 65_535


def size(value: object) -> int:
    """Bytes of `2GiB`, `500MB`, `1024`."""
    match = re.fullmatch(r"(\d+) ?([KMGT]i?)?B?", str(value).strip())
    if match is None:
        raise ValueError(f"{value!r} is not a size; write one number and one unit, such as 500MB or 2GiB")
    return int(match[1]) * _SIZES[match[2] or ""]


def seconds(value: object) -> float:
    """Seconds of `90s`, `5m`, `1h`; `0s` is none."""
    return documents.duration(value) / documents.MICROSECONDS


def matcher(value: object) -> Matcher:
    """A matcher as Alertmanager writes it: `severity="critical"`, `cluster=~lab-.*`."""
    match = _MATCHER.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{value!r} is not a matcher; write name="value" with one of = != =~ !~')
    operator: Literal["=", "!=", "=~", "!~"] = match[2]  # type: ignore[assignment]
    text = match[3] if match[3] is not None else match[4]
    if operator.endswith("~"):
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(f"{value!r}: its regular expression cannot be read: {error}") from error
    return Matcher(match[1], operator, text)


def _span(value: float) -> str:
    """Seconds in the largest unit that they fill."""
    unit, long = next(((unit, long) for unit, long in _SPANS.items() if value and value % long == 0), ("s", 1))
    return f"{round(value / long)}{unit}"


def _bytes(value: int) -> str:
    """Bytes in the largest unit that they fill."""
    unit = max((unit for unit, long in _SIZES.items() if value % long == 0), key=_SIZES.__getitem__)
    return f"{value // _SIZES[unit]}{unit}B"


def _written(value: Matcher) -> str:
    return f'{value.name}{value.operator}"{value.value}"'


def _listened(value: str) -> str:
    """An address to listen on."""
    host, colon, port = value.rpartition(":")
    if not host or not colon or not port.isdecimal() or int(port) > LAST_PORT:
        raise ValueError(f"{value!r} is no address to listen on; write host and port, such as 127.0.0.1:9317")
    return value


Seconds = Annotated[float, BeforeValidator(seconds), PlainSerializer(_span, when_used="json")]
Size = Annotated[int, BeforeValidator(size), PlainSerializer(_bytes, when_used="json")]
Match = Annotated[Matcher, BeforeValidator(matcher), PlainSerializer(_written, when_used="json")]
Listen = Annotated[str, AfterValidator(_listened)]


class Frozen(BaseModel):
    """Unknown keys are errors, and nothing changes after the start."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Component(BaseModel):
    """Something found by its `type`; the other keys are its own settings."""

    model_config = ConfigDict(extra="allow", frozen=True)
    type: str


class Source(Component):
    """A source; `name` is what metrics and messages call it (default: its type). `keep` has its rows copied to the log."""

    name: str | None = None
    keep: bool = False


class Retention(Frozen):
    """What is older or more than this goes, oldest first."""

    age: Seconds
    size: Size


class Kept(Component):
    """The log or the store, with how long things are kept in it."""

    retention: Retention


class Assignment(Frozen):
    """Streams that match all given patterns (whole name, regular expressions) are read as `format`."""

    format: str
    container: str | None = None
    image: str | None = None
    app: str | None = None
    process: str | None = None
    pod: str | None = None


class Route(Frozen):
    """Alertmanager's route: who hears of what, in which groups, and how often."""

    receiver: str | None = None
    matchers: tuple[Match, ...] = ()
    group_by: tuple[str, ...] | None = None
    group_wait: Seconds | None = None
    group_interval: Seconds | None = None
    repeat_interval: Seconds | None = None
    continue_: Annotated[bool, Field(alias="continue")] = False
    daily_cap: Annotated[int | None, Field(ge=1)] = None
    routes: tuple["Route", ...] = ()


class Node(Frozen):
    """What is known of a node beforehand."""

    zone: str


class Settings(Frozen):
    """All there is to configure."""

    cluster: str = ""
    state: Path = Path("/var/lib/headwater")
    rules: tuple[Path, ...] = ()
    """Folders of signatures beside the packaged ones."""
    parsers: tuple[Assignment, ...] = ()
    nodes: dict[str, Node] = {}
    sources: tuple[Source, ...] = ()
    log: Kept = Kept(type="segments", retention=Retention(age="1d", size="2GiB"))  # type: ignore[arg-type]
    store: Kept = Kept(type="sqlite", retention=Retention(age="365d", size="5GiB"))  # type: ignore[arg-type]
    sinks: dict[str, Component] = {}
    route: Route = Route()
    listen: Listen = "127.0.0.1:9317"
    link: str | None = None
    """Base address of pages about incidents, for messages."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A component of the configuration, validated: `create` makes it."""

    kind: contracts.Kind
    type: str
    name: str
    settings: BaseModel


@dataclass(frozen=True, slots=True)
class Config:
    """Settings and the components they name. `path` is the file they came from, if any."""

    settings: Settings
    sources: tuple[Chosen, ...]
    log: Chosen
    store: Chosen
    sinks: tuple[Chosen, ...]
    path: Path | None = None


@dataclass(slots=True)
class _Reader:
    """Reads one file, collecting what is wrong with it."""

    document: documents.Document
    problems: list[Problem] = field(default_factory=list)

    def component(self, kind: contracts.Kind, loc: tuple[str | int, ...], component: Component, name: str) -> Chosen | None:
        """A component with its own settings."""
        try:
            module = contracts.find(kind, component.type)
        except ConfigError as error:
            self.problems.append(self.document.problem((*loc, "type"), str(error)))
            return None
        try:
            return Chosen(kind, component.type, name, module.Settings.model_validate(component.model_extra))
        except ValidationError as error:
            known = {*module.Settings.model_fields, *type(component).model_fields}
            self.explain(loc, error, known)
            return None

    def explain(self, loc: tuple[str | int, ...], error: ValidationError, known: set[str]) -> None:
        """What pydantic says, at its place, without the values: they may be secret."""
        for item in error.errors(include_url=False, include_input=False, include_context=False):
            place = (*loc, *item["loc"])
            self.problems.append(self.document.problem(place, *_said(item, known)))


def _said(item: ErrorDetails, known: set[str]) -> tuple[str, str]:
    name = str(item["loc"][-1]) if item["loc"] else ""
    if item["type"] == "extra_forbidden":
        return f"unknown key '{name}'", nearest(name, known) or "remove it"
    if item["type"] == "missing":
        return f"missing key '{name}'", "add it"
    where = ".".join(str(part) for part in item["loc"])
    return f"{where}: {item['msg'].removeprefix('Value error, ')}", ""


def find(path: Path | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The configuration file: the one named, `HEADWATER_CONFIG`, or the first of `PLACES` that is there."""
    if path is None and (named := environ.get(f"{PREFIX}CONFIG")):
        path = Path(named)
    return path or next((place for place in PLACES if place.is_file()), None)


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ, *, only: Collection[str] = ()) -> Config:
    """The configuration. Raises ConfigError with every problem of the file, a line each. `only`: the keys that somebody wants to
    know; the others are left at their defaults, and the secrets in them need not be there.
    """
    found = find(path, environ)
    document, problems = _document(found)
    if problems:
        raise ConfigError("\n".join(map(str, sorted(problems))))
    reader = _Reader(document)
    unwanted = Settings.model_fields.keys() - only if only else set()
    given = {key: value for key, value in _overridden(document.value, environ).items() if key not in unwanted}
    values = _resolved(given, reader, (), environ)
    unread = {(problem.line, problem.column) for problem in reader.problems}
    missing, reader.problems = reader.problems, []
    config = _validated(values, reader, found)
    # What is wrong with a value that could not be read follows from that.
    wrong = {*missing, *(problem for problem in reader.problems if (problem.line, problem.column) not in unread)}
    if config is None or wrong:
        raise ConfigError("\n".join(map(str, sorted(wrong))))
    return config


def _document(path: Path | None) -> tuple[documents.Document, list[Problem]]:
    if path is None:
        return documents.Document(Path("headwater.yaml"), {}), []
    parsed, problems = documents.read(path)
    document = parsed[0] if parsed else documents.Document(path, {})
    if document.value is None:
        document.value = {}
    if not isinstance(document.value, dict) or len(parsed) > 1:
        problems.append(document.problem((), "the configuration must be one map of keys", "see deploy/headwater.yaml"))
    return document, problems


def _overridden(values: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The file's values with those of the environment in their place; `__` stands between the keys of a path."""
    result = dict(values)
    for variable in sorted(environ):
        first, *rest = variable.removeprefix(PREFIX).lower().split("__")
        if not variable.startswith(PREFIX) or first not in Settings.model_fields:
            continue
        result[first] = _placed(result.get(first), rest, environ[variable])
    return result


def _placed(value: Any, path: list[str], new: str) -> Any:  # noqa: ANN401 (values of YAML)
    if not path:
        return new
    below = dict(value) if isinstance(value, dict) else {}
    below[path[0]] = _placed(below.get(path[0]), path[1:], new)
    return below


def _resolved(value: Any, reader: _Reader, loc: tuple[str | int, ...], environ: Mapping[str, str]) -> Any:  # noqa: ANN401 (values of YAML)
    """The value with `{file: PATH}` and `{env: NAME}` replaced by what they point to."""
    if isinstance(value, list):
        return [_resolved(item, reader, (*loc, at), environ) for at, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if set(value) == {"file"} and loc:
        try:
            return Path(str(value["file"])).read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            reader.problems.append(reader.document.problem(loc, f"the file {value['file']} cannot be read: {why}"))
            return ""
    if set(value) == {"env"} and loc:
        if value["env"] not in environ:
            reader.problems.append(reader.document.problem(loc, f"the environment has no variable {value['env']}", "set it"))
        return environ.get(str(value["env"]), "")
    return {key: _resolved(item, reader, (*loc, key), environ) for key, item in value.items()}


def _validated(values: Mapping[str, Any], reader: _Reader, path: Path | None) -> Config | None:
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        reader.explain((), error, _known_keys())
        for kind, loc, model, value in _components(values):
            with contextlib.suppress(ValidationError):  # that is said already
                reader.component(kind, loc, model.model_validate(value), "")
        return None
    sources = [
        reader.component("sources", ("sources", at), source, source.name or source.type)
        for at, source in enumerate(settings.sources)
    ]
    log = reader.component("transports", ("log",), settings.log, "log")
    store = reader.component("stores", ("store",), settings.store, "store")
    sinks = [reader.component("sinks", ("sinks", name), sink, name) for name, sink in settings.sinks.items()]
    _check_routes(settings.route, settings, reader, ("route",))
    _check_names(settings, reader)
    if log is None or store is None or None in sources or None in sinks:
        return None
    return Config(settings, tuple(filter(None, sources)), log, store, tuple(filter(None, sinks)), path)


def _components(values: Mapping[str, Any]) -> Iterator[tuple[contracts.Kind, tuple[str | int, ...], type[Component], Any]]:
    """The components of a configuration that could not be read as a whole: what is wrong within them is to be said as well."""
    sources, sinks = values.get("sources"), values.get("sinks")
    for at, value in enumerate(sources if isinstance(sources, list) else ()):
        yield "sources", ("sources", at), Source, value
    for name, value in (sinks if isinstance(sinks, dict) else {}).items():
        yield "sinks", ("sinks", name), Component, value
    yield "transports", ("log",), Kept, values.get("log")
    yield "stores", ("store",), Kept, values.get("store")


def _check_routes(route: Route, settings: Settings, reader: _Reader, loc: tuple[str | int, ...]) -> None:
    if route.receiver is not None and route.receiver not in settings.sinks:
        hint = nearest(route.receiver, settings.sinks) or "name one of the sinks"
        reader.problems.append(reader.document.problem((*loc, "receiver"), f"there is no sink '{route.receiver}'", hint))
    for at, below in enumerate(route.routes):
        _check_routes(below, settings, reader, (*loc, "routes", at))


def _check_names(settings: Settings, reader: _Reader) -> None:
    seen = {OWN}
    for at, source in enumerate(settings.sources):
        name = source.name or source.type
        if name in seen:
            problem = reader.document.problem(
                ("sources", at), f"another source is called '{name}'", "give each a `name` of its own"
            )
            reader.problems.append(problem)
        seen.add(name)


def _known_keys() -> set[str]:
    """Every key of the configuration itself, at any level."""
    models: list[type[BaseModel]] = [Settings, Source, Kept, Retention, Assignment, Route, Node]
    return {info.alias or name for model in models for name, info in model.model_fields.items()}
