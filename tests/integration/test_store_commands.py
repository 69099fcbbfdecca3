"""The commands that read the store, as a person at a terminal or a program in a pipe meets them."""

import json
import os
import pwd
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from connectors.stores import sqlite
from pipeline.contracts.store import Feedback
from pipeline.runtime.ledger import Ledger
from tests.components.lives import HOUR, SECOND, START, again, incident, on, record, replayed
from tests.integration.test_command_line import COLOUR, headwater, in_terminal

TABLE_FULL = "a86efe2d247662ac"
"""The root of the recording."""
EARLIER = "0123456789abcdef"
COMMANDS = ("incidents", f"show {TABLE_FULL}", "search conntrack", f"similar {TABLE_FULL}", "stats")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder: a recorded disaster that developed, and the same on the same node the year before."""
    folder = tmp_path_factory.mktemp("state")
    store = sqlite.SQLite(folder / "incidents.db")
    records = replayed("conntrack-table-full")
    root = next(one for one in records if one.id == TABLE_FULL)
    store.save([record(root.incident, public={**root.public, "level": "medium", "symptoms": []})], START)
    store.save([again(one, one.incident) for one in records], START)
    store.save([record(incident(EARLIER, at=START - 9000 * HOUR, lines=["table full"]))], START)
    store.save([record(incident("4444444444444444", at=START + SECOND, **on(node="node-z")), merged_into=EARLIER)], START)
    store.add_feedback(Feedback(EARLIER, START, "right", "alice", None, "raised nf_conntrack_max"))
    store.close()
    return folder


@pytest.fixture
def state(made: Path, tmp_path: Path) -> Path:
    """A copy of one's own."""
    shutil.copy(made / "incidents.db", tmp_path)
    return tmp_path


def said(state: Path, root: Path, *arguments: str, **more: str) -> str:
    """What the command prints when all is well."""
    done = headwater(*arguments, root=root, HEADWATER_STATE=str(state), **more)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def objects(state: Path, root: Path, command: str, *arguments: str) -> list[dict[str, Any]]:
    """The same as JSON, one object a line."""
    return [json.loads(line) for line in said(state, root, command, "--output", "json", *arguments).splitlines()]


@pytest.mark.parametrize("command", ["incidents", "show", "search", "similar", "feedback", "stats"])
def test_help_reads_well(command: str, root: Path) -> None:
    """Where the store is, and everything within 80 columns."""
    shown = headwater(command, "--help", root=root).stdout
    assert "--store FILE" in shown
    assert "HEADWATER_STATE" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_incidents_lists_roots(state: Path, root: Path) -> None:
    """Newest first; what was merged into another is not counted twice."""
    assert said(state, root, "incidents").splitlines() == [
        "a86efe2d  2026-11-23 04:40:48  going on  CRITICAL  conntrack-table-full  node-b  6 symptoms",
        "01234567  2025-11-13 04:00:00  1m00s     HIGH      conntrack-table-full  node-b              marked right",
    ]


def test_incidents_takes_filters(state: Path, root: Path) -> None:
    """By time, signature, layer, level, entity and status, symptoms on request; times of day are UTC."""
    recent = ("incidents", "--since", "2026-11-23T00:00:00Z", "--until", "2026-11-23 04:41")
    assert len(objects(state, root, *recent)) == 1
    assert [one["id"] for one in objects(state, root, "incidents", "--until", "2026-01-01")] == [EARLIER]
    assert {one["incident"]["signature"] for one in objects(state, root, *recent, "--all", "--layer", "ingress")} >= {
        "ingress-upstream-connect-timeout", "ingress-hidden-retries",
    }  # fmt: skip
    assert (
        len(objects(state, root, "incidents", "--all", "--entity", "shop/cart", "--signature", "service-without-endpoints")) == 1
    )
    assert objects(state, root, "incidents", "--status", "near_miss", "--level", "low")[0]["incident"]["status"] == "near_miss"
    on_node = objects(state, root, "incidents", "--entity", "node=node-b")
    assert on_node == objects(state, root, "incidents", "--entity", "k8s.node.name=node-b")
    assert [one["id"] for one in on_node] == [TABLE_FULL, EARLIER]
    assert len(objects(state, root, "incidents", "--limit", "1")) == 1
    assert said(state, root, "incidents", "--layer", "dns") == "No incident meets that.\n"


def test_show_tells_the_whole_story(state: Path, root: Path) -> None:
    """The tree, the lines of all sources in order of time, first aid with real names, revisions, feedback."""
    shown = said(state, root, "show", TABLE_FULL[:6])
    assert shown.startswith("a86efe2d  2026-11-23 04:40:48  conntrack-table-full  node-b  going on\n")
    for words in (
        "CRITICAL",
        "└─ ingress-no-endpoints-503",
        "Why    240 x The kernel reports",
        "Blind  nothing",
        "# on node-b: how full it is",
    ):
        assert words in shown
    times = re.findall(r"^\d\d:\d\d:\d\d\.\d{3}", shown.split("What happened\n")[1], re.MULTILINE)
    assert times == sorted(times)
    assert len(times) > 10
    happened = shown.split("What happened\n")[1].split("\n\n")[0].splitlines()
    assert len({line[:12] + line[50:] for line in happened}) == len(happened)  # evidence of two symptoms is told once
    assert re.search(r"04:40:48.216  kernel +node-b +nf_conntrack.*\(20 kept\)\n04:40:50.917  counters +node-b", shown)
    assert re.search(r"04:40:53.255  ingress-nginx.error +shop/checkout", shown)
    assert re.search(
        r"04:40:48 +1  opened: medium, confidence 0.99, 265 rows\n.* 2  level medium -> critical, 6 symptoms more", shown
    )
    assert "right, says alice. raised nf_conntrack_max" in said(state, root, "show", EARLIER)


def test_show_of_a_replay_is_its_tree(state: Path, root: Path) -> None:
    """What a replay prints is what is kept, line by line."""
    replay = headwater("replay", "tests/captures/conntrack-table-full", root=root).stdout
    assert replay in said(state, root, "show", TABLE_FULL)


def test_show_of_a_symptom_names_what_it_hangs_below(state: Path, root: Path) -> None:
    """With the command to go there."""
    symptom = objects(state, root, "incidents", "--all", "--signature", "service-without-endpoints")[0]["id"]
    assert f"accounted for by conntrack-table-full node-b: headwater show {TABLE_FULL[:8]}" in said(state, root, "show", symptom)


def test_show_of_a_merged_incident_is_of_what_it_became(state: Path, root: Path) -> None:
    """Links that were given out go on to lead somewhere."""
    assert said(state, root, "show", "444444").startswith("01234567  ")


def test_show_as_json_holds_everything(state: Path, root: Path) -> None:
    """Symptoms and revisions too, on one line."""
    (shown,) = objects(state, root, "show", TABLE_FULL)
    assert len(shown["symptoms"]) == 6
    assert [one["incident"]["level"] for one in shown["revisions"]] == ["medium", "critical"]
    assert shown["incident"]["evidence"]["lines"][0]["origin"] == "nodes/node-b/kmsg:1975"


def test_search_finds_words_phrases_and_prefixes(state: Path, root: Path) -> None:
    """With where it stands; `--` or quotes bring anything else in."""
    shown = said(state, root, "search", "nf_conntrack*", "raised")
    assert shown.splitlines()[1] == "          note: raised nf_conntrack_max"
    assert len(objects(state, root, "search", '"dropping packet"')) == 1
    assert said(state, root, "search", '"packet dropping"') == "Nothing holds all of that.\n"
    assert [one["where"] for one in objects(state, root, "search", "node-b", "--limit", "1")] == ["title"]
    assert objects(state, root, "search", "--until", "2026-01-01", "table")[0]["id"] == EARLIER
    assert objects(state, root, "search", "--", "-v") == []


def test_similar_says_why_and_what_ended_it(state: Path, root: Path) -> None:
    """What an engineer wants at 3 a.m.: it was here before, and this helped."""
    assert said(state, root, "similar", TABLE_FULL[:7]).splitlines()[1:] == [
        "      why    same signature; same node node-b; marked right by alice",
        "      ended  raised nf_conntrack_max (alice)",
    ]
    assert objects(state, root, "similar", TABLE_FULL)[0]["id"] == EARLIER


def test_feedback_is_kept_shown_and_found(state: Path, root: Path) -> None:
    """By whoever is logged in, unless another is named."""
    kept = said(
        state, root, "feedback", TABLE_FULL[:8], "wrong", "--cause", "mtu-blackhole", "--note", "see ticket 4711", USER="bob"
    )
    assert kept == "kept: a86efe2d conntrack-table-full was wrong, says bob\n"
    said(state, root, "feedback", EARLIER, "right", "--author", "carol")
    assert "wrong, says bob. it was mtu-blackhole. see ticket 4711\n" in said(state, root, "show", TABLE_FULL)
    assert [one["id"] for one in objects(state, root, "search", "4711")] == [TABLE_FULL]
    assert [(one["right"], one["wrong"]) for one in objects(state, root, "stats")] == [(1, 1)]
    assert [one["author"] for one in objects(state, root, "incidents")[1]["feedback"]] == ["alice", "carol"]


def test_feedback_without_an_environment_is_by_the_account(state: Path, root: Path) -> None:
    """As of cron and of `docker exec`, where no variable says who it is."""
    nobody = dict.fromkeys(("USER", "LOGNAME", "LNAME", "USERNAME"), "")
    account = pwd.getpwuid(os.getuid()).pw_name
    assert said(state, root, "feedback", EARLIER, "right", **nobody).endswith(f"says {account}\n")


def test_stats_count(state: Path, root: Path) -> None:
    """How often, how long in all, when last."""
    assert said(state, root, "stats").splitlines() == [
        "times  signature             place   in all  last                 right  wrong",
        "    2  conntrack-table-full  node-b  3m02s   2026-11-23 04:40:48      1",
    ]
    assert objects(state, root, "stats")[0]["last"] == "2026-11-23T04:40:48.216676Z"


SLIPS = {
    "id": ("show a86efe2c", 2, "did you mean 'a86efe2d247662ac'?"),
    "short id": ("show a86", 2, "give 6 letters or more: did you mean 'a86efe2d247662ac'?"),
    "nothing like an id": ("similar zzzzzzzz", 2, "`headwater incidents --all` names them"),
    "signature": ("incidents --signature conntrack-tabel-full", 2, "did you mean 'conntrack-table-full'?"),
    "layer": ("incidents --layer nod", 2, "did you mean 'node'?"),
    "level": ("incidents --level hihg", 2, "did you mean 'high'?"),
    "status": ("incidents --status fireing", 2, "did you mean 'firing'?"),
    "time": ("incidents --since yesterday", 2, "give a span back from now (90m, 2h, 7d) or RFC 3339"),
    "far away": ("incidents --since 99999999w", 2, "that is no time"),
    "form": ("stats -o jsn", 2, "json (for machines)"),
    "verdict": ("feedback a86efe2d rigth", 2, "did you mean 'right'?"),
    "cause": ("feedback a86efe2d wrong --cause mtu-blakhole --author bob", 2, "did you mean 'mtu-blackhole'?"),
    "nobody": ("feedback a86efe2d right --author=", 2, "name yourself with --author"),
    "no word": ("search --", 2, "TEXT"),
    "only signs": ("search ().", 2, "there is no word in it"),
    "store": ("incidents --store README.mdd", 1, "did you mean 'README.md'?"),
    "not a store": ("incidents --store README.md", 1, "left as it is"),
}  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_answered_with_the_nearest_right_word(slip: str, made: Path, root: Path) -> None:
    """Status 2 for wrong usage, 1 for a store that cannot be read."""
    command, status, answer = SLIPS[slip]
    done = headwater(*command.split(), root=root, HEADWATER_STATE=str(made))
    assert (done.returncode, done.stdout) == (status, "")
    assert answer in done.stderr


def test_looking_makes_no_store(tmp_path: Path, root: Path) -> None:
    """A wrong folder is said, not filled."""
    done = headwater("incidents", "--state", tmp_path, root=root)
    assert done.returncode == 1
    assert "name another with --store" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_configuration_says_where_the_store_is(made: Path, tmp_path: Path, root: Path) -> None:
    """Its state folder, or the store's own path; HEADWATER_STATE goes before the file. Its signatures are known by name."""
    config, rules = tmp_path / "headwater.yaml", tmp_path / "rules"
    (rules / "ours").mkdir(parents=True)
    (rules / "ours" / "rule.yaml").touch()
    by_state, elsewhere = {"state": str(made), "rules": [str(rules)]}, {"state": str(tmp_path)}
    by_path = elsewhere | {
        "store": {"type": "sqlite", "path": str(made / "incidents.db"), "retention": {"age": "1d", "size": "1GB"}}
    }
    for content in (by_state, by_path):
        config.write_text(json.dumps(content))
        assert len(headwater("incidents", "--config", config, root=root).stdout.splitlines()) == 2
    config.write_text(json.dumps(elsewhere))
    assert "there is no such file" in headwater("incidents", "--config", config, root=root).stderr
    assert said(made, root, "incidents", "--config", str(config)) == said(made, root, "incidents")
    config.write_text(json.dumps(by_state))
    assert said(made, root, "stats", "--signature", "ours", "--config", str(config)) == "No incident meets that.\n"
    assert "did you mean 'ours'?" in headwater("stats", "--signature", "our", "--config", config, root=root).stderr


@pytest.mark.parametrize("command", [*COMMANDS, "silences list", "outbox"])
def test_the_secrets_of_a_configuration_are_not_needed(command: str, state: Path, tmp_path: Path, root: Path) -> None:
    """Who is on call has neither the tokens of the service in the environment nor its files."""
    Ledger(state / "state.db").close()
    config = tmp_path / "headwater.yaml"
    config.write_text(
        f"state: {state}\nlink: {{env: NOBODY_SET_IT}}\nsinks:\n"
        "    chat: {type: slack, channel: C1, token: {env: NOBODY_SET_IT}}\n"
        "    hook: {type: webhook, url: {file: /nobody/wrote/it}}\n"
    )
    done = headwater(*command.split(), "--config", str(config), root=root)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_configuration_that_cannot_be_read_is_not_needed(made: Path, tmp_path: Path, root: Path) -> None:
    """It may say where things are in a way that only the service understands."""
    config = tmp_path / "headwater.yaml"
    config.write_text(json.dumps({"state": {"env": "NOT_FOR_YOU"}}))
    done = headwater("incidents", root=root, HEADWATER_CONFIG=str(config))
    assert done.returncode == 1
    assert "the environment has no variable NOT_FOR_YOU" in done.stderr
    assert "--state FOLDER" in done.stderr
    assert headwater("incidents", "--state", made, root=root, HEADWATER_CONFIG=str(config)).returncode == 0


def test_an_empty_store_is_no_error(tmp_path: Path, root: Path) -> None:
    """Nothing happened yet."""
    empty = sqlite.SQLite(tmp_path / "incidents.db")
    assert not empty.silences(START)
    empty.close()
    assert said(tmp_path, root, "incidents") == said(tmp_path, root, "stats") == "No incident meets that.\n"
    assert said(tmp_path, root, "search", "x") == "Nothing holds all of that.\n"
    assert objects(tmp_path, root, "incidents") == []


def test_commands_work_beside_a_writer(state: Path, root: Path) -> None:
    """The service is in the middle of writing."""
    writer = sqlite3.connect(state / "incidents.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE incidents SET level = 'low'")
    assert [said(state, root, *command.split()) for command in COMMANDS]
    writer.close()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_terminal_gets_colour_unless_it_is_not_wanted(command: str, made: Path, root: Path) -> None:
    """And a pipe gets plain text, as every other test here shows."""
    assert not COLOUR.search(in_terminal(*command.split(), root=root, HEADWATER_STATE=str(made), NO_COLOR="1"))
    if command != "stats":
        assert COLOUR.search(in_terminal(*command.split(), root=root, HEADWATER_STATE=str(made)))


def test_a_replay_is_kept_and_found_again(tmp_path: Path, root: Path) -> None:
    """Once, however often it is replayed; its evidence can be searched."""
    kept = tmp_path / "new" / "incidents.db"
    for _ in range(2):
        done = headwater("replay", "tests/captures/conntrack-table-full", "--keep", kept, "-o", "json", root=root)
        assert done.returncode == 0, done.stderr
    found = headwater("search", "table full", "--store", kept, "-o", "json", root=root)
    assert [json.loads(line)["incident"]["signature"] for line in found.stdout.splitlines()][:1] == ["conntrack-table-full"]
    listed = headwater("incidents", "--store", kept, "-o", "json", root=root).stdout.splitlines()
    assert len(listed) == 1


def test_a_replay_is_kept_though_nobody_reads_it_to_its_end(tmp_path: Path, root: Path) -> None:
    """`| head` closes the pipe after some lines: the incidents are in the store by then."""
    kept = tmp_path / "incidents.db"
    command = [sys.executable, "-m", "pipeline.cli.main", "replay", "tests/captures/conntrack-table-full", "--keep", str(kept)]
    read, write = os.pipe()
    os.close(read)
    subprocess.run(command, cwd=root, stdout=write, stderr=subprocess.DEVNULL, check=False)
    os.close(write)
    listed = headwater("incidents", "--store", kept, "-o", "json", root=root)
    assert len(listed.stdout.splitlines()) == 1, listed.stderr


@pytest.mark.parametrize("sink", ["slack", "webhook", "alertmanager", "pagerduty", "stdout"])
def test_what_a_sink_would_send_can_be_seen(sink: str, state: Path, root: Path) -> None:
    """Before anything is configured; what broke and where stands in it."""
    shown = said(state, root, "show", "a86efe2d", "--as", sink)
    assert "Connection tracking table full on node-b" in shown


def test_a_sink_that_does_not_exist_is_answered_with_the_nearest(state: Path, root: Path) -> None:
    """As every slip is."""
    done = headwater("show", "a86efe2d", "--as", "slak", root=root, HEADWATER_STATE=str(state))
    assert done.returncode == 2
    assert "there is no sink of type 'slak'; did you mean 'slack'?" in done.stderr
