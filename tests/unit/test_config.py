"""The configuration: every problem at its place in one run, the environment over the file, secrets never shown."""

from pathlib import Path

import pytest

from pipeline import config
from pipeline.contracts.store import Matcher
from pipeline.errors import ConfigError

WHOLE = """\
cluster: lab
state: /tmp/headwater
sinks:
    chat: {type: slack, token: {file: TOKEN}, channel: C0123456789}
    paper: {type: stdout}
route:
    receiver: paper
    group_by: [severity]
    group_wait: 30s
    routes:
        - {matchers: ['severity="critical"', 'layer=~node|cni'], receiver: chat, continue: true}
parsers:
    - {format: coredns, container: 'dns-.*'}
log: {type: segments, retention: {age: 2d, size: 500MB}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration that uses a little of everything."""
    (tmp_path / "token").write_text("xoxb-very-secret\n")
    path = tmp_path / "headwater.yaml"
    path.write_text(WHOLE.replace("TOKEN", str(tmp_path / "token")).replace("type: segments", "type: memory"))
    return path


def problems(path: Path, text: str, **environ: str) -> list[str]:
    """What is said of a configuration, without the path."""
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(path, environ)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


def test_a_configuration_is_read(file: Path) -> None:
    """Durations, sizes, matchers and secrets in the forms that people write."""
    found = config.load(file, {})
    assert found.settings.route.group_wait == 30.0
    assert found.settings.log.retention == config.Retention(age="2d", size="500MB")  # type: ignore[arg-type]
    assert found.settings.log.retention.size == 500_000_000
    assert found.settings.route.routes[0].matchers == (Matcher("severity", "=", "critical"), Matcher("layer", "=~", "node|cni"))
    assert [(sink.name, sink.type) for sink in found.sinks] == [("chat", "slack"), ("paper", "stdout")]
    assert found.sinks[0].settings.token.get_secret_value() == "xoxb-very-secret"  # type: ignore[attr-defined]
    assert "very-secret" not in repr(found.sinks)


def test_the_environment_overrides_the_file(file: Path) -> None:
    """Keys of a path stand behind two underscores; other variables of the prefix are none of ours."""
    environ = {"HEADWATER_CLUSTER": "prod", "HEADWATER_SINKS__CHAT__CHANNEL": "C999", "HEADWATER_EXAMPLES": "5"}
    found = config.load(file, environ)
    assert found.settings.cluster == "prod"
    assert found.sinks[0].settings.channel == "C999"  # type: ignore[attr-defined]


def test_a_value_may_stand_in_the_environment(file: Path) -> None:
    """`{env: NAME}` is the variable's content, and a variable that is not set is a problem at its place."""
    text = file.read_text().replace(f"{{file: {file.parent}/token}}", "{env: CHAT_TOKEN}")
    file.write_text(text)
    assert config.load(file, {"CHAT_TOKEN": "xoxb-1"}).sinks[0].settings.token.get_secret_value() == "xoxb-1"  # type: ignore[attr-defined]
    assert "the environment has no variable CHAT_TOKEN; set it" in problems(file, text)[0]


def test_who_wants_to_know_a_part_needs_no_secret_of_another(file: Path) -> None:
    """Nor is anything said of the other keys, but for those that there are not."""
    text = file.read_text().replace(f"{{file: {file.parent}/token}}", "{env: CHAT_TOKEN}")
    file.write_text(text.replace("channel:", "chanel:"))
    assert config.load(file, {}, only={"state"}).settings.state != config.Settings().state
    file.write_text("stat: /tmp/headwater")
    with pytest.raises(ConfigError, match="did you mean 'state'"):
        config.load(file, {}, only={"state"})
    file.write_text("state: {env: STATE}")
    with pytest.raises(ConfigError, match="no variable STATE"):
        config.load(file, {}, only={"state"})


def test_every_problem_is_said_at_once(file: Path) -> None:
    """Each with line and column, and the nearest word for one that is not known; those within components too, whatever else is
    wrong.
    """
    text = """\
clustr: lab
sinks:
    chat: {type: slak}
    paper: {type: stdout, fom: text}
route: {receiver: papr, group_wait: 5 minutes}
log: {type: memory, retention: {age: 1d}}
"""
    assert problems(file, text) == [
        "1:1: unknown key 'clustr'; did you mean 'cluster'?",
        "3:12: there is no sink of type 'slak'; did you mean 'slack'?",
        "4:27: unknown key 'fom'; did you mean 'form'?",
        "5:25: route.group_wait: '5 minutes' is not a duration; write one number and one unit of s, m, h, d, w, such as 90s",
        "6:21: missing key 'size'; add it",
    ]
    mended = text.replace("clustr", "cluster").replace("5 minutes", "5m").replace("1d}", "1d, size: 1GiB}")
    assert problems(file, mended) == [
        "3:12: there is no sink of type 'slak'; did you mean 'slack'?",
        "4:27: unknown key 'fom'; did you mean 'form'?",
        "5:9: there is no sink 'papr'; did you mean 'paper'?",
    ]


@pytest.mark.parametrize("address", ["9317", "localhost", "localhost:", ":9317", "127.0.0.1:99999", "127.0.0.1:http"])
def test_what_nobody_can_listen_on_is_refused(file: Path, address: str) -> None:
    """Before the start, with what to write."""
    (said,) = problems(file, f"listen: '{address}'\n")
    assert "no address to listen on; write host and port, such as 127.0.0.1:9317" in said


def test_a_secret_is_not_said_in_an_error(file: Path) -> None:
    """Not even where it is what is wrong."""
    text = "sinks: {chat: {type: slack, token: [xoxb-very-secret], channel: C1}}\nlog: {type: memory, retention: {age: 1d, size: 1GB}}\n"
    assert "very-secret" not in "\n".join(problems(file, text))


def test_broken_yaml_and_duplicate_keys(file: Path) -> None:
    """The file itself is looked at first."""
    assert problems(file, "cluster: a\ncluster: b\n") == ["2:1: duplicate key 'cluster'; it stands in line 1 already"]
    assert "broken YAML" in problems(file, "cluster: [\n")[0]
    assert "must be one map" in problems(file, "- a\n")[0]


@pytest.mark.parametrize("text", ["severity", 'severity="a" or', "=x", 'severity=~"("', 5])
def test_what_is_no_matcher_is_refused(text: object) -> None:
    """With what one looks like."""
    with pytest.raises(ValueError, match=r"is not a matcher|cannot be read"):
        config.matcher(text)


@pytest.mark.parametrize(("text", "amount"), [("1024", 1024), ("500MB", 500_000_000), ("2GiB", 2 << 30), ("1 Ki", 1024)])
def test_sizes(text: str, amount: int) -> None:
    """In the units of both kinds."""
    assert config.size(text) == amount
