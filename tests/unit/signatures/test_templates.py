"""Templates substitute and compute nothing; what goes into a command is only ever a plain name."""

import pytest

from pipeline.signatures import templates


def test_a_key_without_a_value_stays_visible() -> None:
    """To be filled in by hand."""
    assert templates.render("on {{ node }} of {{cluster}}", {"cluster": "lab"}) == "on <node> of lab"


@pytest.mark.parametrize("value", ["node-b", "shop/cart", "10.0.0.1:53", "[fd00::1]:53", "api.example.com.", "a@b"])
def test_a_plain_name_is_put_into_a_command(value: str) -> None:
    """What Kubernetes and DNS call things."""
    assert templates.command("dig {{ name }}", {"name": value}) == f"dig {value}"


@pytest.mark.parametrize("value", ["$(reboot)", "a;reboot", "-rf", "a b", "a'b", 'a"b', "a\nb", "`id`", "a|b", "a>b", "ä&b"])
def test_what_a_shell_would_act_on_stays_out_of_a_command(value: str) -> None:
    """The place is left to be filled in by hand; in other texts the value may stand."""
    assert templates.command("dig '{{ name }}'", {"name": value}) == "dig '<name>'"
    assert templates.render("about {{ name }}", {"name": value}) == f"about {value}"
