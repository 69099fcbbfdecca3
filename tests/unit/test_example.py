"""The example configuration runs as it stands."""

from pathlib import Path

import pytest

from pipeline import config
from pipeline.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "deploy" / "headwater.yaml"


def test_the_example_is_sound_as_it_stands() -> None:
    """Whoever copies it needs no secret and no server to begin."""
    found = config.load(EXAMPLE, {})
    assert [chosen.name for chosen in found.sources] == ["containers", "kmsg"]
    assert [chosen.type for chosen in found.sinks] == ["stdout"]


def test_what_is_commented_out_is_sound_with_its_secrets(tmp_path: Path) -> None:
    """The rest of the example is read as well, and what is missing is named once."""
    secret = tmp_path / "secret"
    text = EXAMPLE.read_text().replace("/etc/headwater/webhook.secret", str(secret))
    told, sinks = [], False
    for line in text.splitlines():
        sinks |= line.startswith("sinks:")
        told.append("  " + line[2:] if sinks and line.startswith(("# chat", "# hook", "# pager", "# routes", "#   ")) else line)
    path = tmp_path / "headwater.yaml"
    path.write_text("\n".join(told))
    with pytest.raises(ConfigError) as error:
        config.load(path, {"PAGERDUTY_KEY": "k"})
    assert len(str(error.value).splitlines()) == 2
    assert "SLACK_TOKEN" in str(error.value)
    assert str(secret) in str(error.value)
    secret.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    found = config.load(path, {"PAGERDUTY_KEY": "k", "SLACK_TOKEN": "xoxb-1"})
    assert [chosen.type for chosen in found.sinks] == ["stdout", "slack", "webhook", "pagerduty"]
    assert [route.receiver for route in found.settings.route.routes] == ["pager", "hook"]
