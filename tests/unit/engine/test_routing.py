"""Which format a writer's names give: a site's own words first, then the usual names of programs."""

import pytest

from pipeline.engine.routing import Assignment, Names
from pipeline.errors import ConfigError
from pipeline.model.stream import Stream


def stream(**names: str) -> Stream:
    """A stream of a writer with some names."""
    return Stream("s", **names)


def test_the_usual_names_are_known() -> None:
    """A label says more than an image, and that more than the container's name."""
    names = Names()
    assert names.format_of_stream(stream(container="coredns")) == "coredns"
    assert names.format_of_stream(stream(container="controller", image="registry.k8s.io/ingress-nginx/controller:v1")) is None
    assert names.format_of_stream(stream(container="coredns", app="haproxy")) == "haproxy"
    assert names.format_of_stream(stream(container="app")) is None


def test_a_site_may_say_what_writes_which_format() -> None:
    """All patterns must match the whole name; the first assignment that does is taken, before any usual name."""
    names = Names(
        [
            Assignment("nginx", (("container", "edge"), ("image", ".*/our-edge:.*"))),
            Assignment("klog", (("container", "coredns"),)),
        ]
    )
    assert names.format_of_stream(stream(container="edge", image="hub.example/our-edge:3")) == "nginx"
    assert names.format_of_stream(stream(container="edge", image="hub.example/another:3")) is None
    assert names.format_of_stream(stream(container="edge-2", image="hub.example/our-edge:3")) is None
    assert names.format_of_stream(stream(container="coredns")) == "klog"


def test_what_a_source_knows_is_not_overruled() -> None:
    """A file of kernel records is one, whatever its node is called."""
    assert Names([Assignment("nginx", (("process", ".*"),))]).format_of_stream(stream(format="kernel", process="x")) == "kernel"


def test_a_format_that_does_not_exist_is_refused() -> None:
    """With the nearest that does."""
    with pytest.raises(ConfigError, match="there is no format 'core-dns'; did you mean 'coredns'"):
        Names([Assignment("core-dns", ())])
