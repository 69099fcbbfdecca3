"""What is peculiar to the store in SQLite: other processes at the file, files that are not ours, versions, space given back."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.stores import sqlite
from connectors.stores.sqlite import schema
from pipeline.contracts import Context
from pipeline.contracts.store import Feedback, Query
from pipeline.errors import StoreError
from pipeline.model import public
from tests.components.lives import HOUR, START, again, incident, record

VERSIONS = Path(__file__).parent / "versions"
HOLD = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
held.execute("ROLLBACK")
print("free", flush=True)
sys.stdin.readline()
"""

LOOK = """
import contextlib, sqlite3, sys
with contextlib.closing(sqlite3.connect(sys.argv[1])) as database:
    print(database.execute("SELECT count(*) FROM incidents").fetchone()[0])
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "incidents.db"


@pytest.fixture
def store(path: Path) -> Iterator[sqlite.SQLite]:
    opened = sqlite.SQLite(path, patience=0.05)
    yield opened
    opened.close()


@contextlib.contextmanager
def holder(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the file's lock for writing until a line comes."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            other.kill()


def let_go(other: "subprocess.Popen[str]") -> None:
    assert other.stdin
    assert other.stdout
    other.stdin.write("\n")
    other.stdin.flush()
    assert other.stdout.readline() == "free\n"


def test_a_locked_file_loses_nothing(store: sqlite.SQLite, path: Path) -> None:
    """Another process writes: reading goes on, writing fails after a while with a word on why, and works when it is made again."""
    store.save([record(incident("aaaaaa1"))], START)
    waiting = [record(incident("bbbbbb2", at=START + HOUR)), record(incident("cccccc3", at=START + 2 * HOUR))]
    with holder(path) as other:
        with pytest.raises(StoreError, match=r"writing incidents into the store .*locked; another process holds it"):
            store.save(waiting, START)
        with pytest.raises(StoreError, match="writing feedback into"):
            store.add_feedback(Feedback("aaaaaa1", START, "right", "alice"))
        assert [found.thread for found in store.incidents(Query())] == ["aaaaaa1"]
        let_go(other)
        store.save(waiting, START)
    assert [found.thread for found in store.incidents(Query())] == ["cccccc3", "bbbbbb2", "aaaaaa1"]


def test_it_is_patient_by_default(tmp_path: Path) -> None:
    """Half a minute is what a backup or a long look may take."""
    made = sqlite.create(sqlite.Settings(), Context("lab", tmp_path, "store"))
    made.save([record(incident("aaaaaa1"))], START)
    with sqlite3.connect(tmp_path / "incidents.db") as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    assert sqlite.PATIENCE == 30
    assert not list(tmp_path.glob("*-journal"))
    made.close()


def test_commands_read_while_the_service_writes(store: sqlite.SQLite, path: Path) -> None:
    """In the middle of a transaction of another, a reader sees what was there before, and after it what is there now."""
    first = record(incident("aaaaaa1", lines=["before"]))
    store.save([first], START)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE incidents SET level = 'low'")
    assert [hit.incident.thread for hit in store.search("before", Query(level="high"))] == ["aaaaaa1"]
    writer.execute("COMMIT")
    writer.close()
    assert not store.search("before", Query(level="high"))


def test_nothing_of_a_call_is_kept_that_failed(store: sqlite.SQLite) -> None:
    """A record that cannot be written takes the others of the call with it, and none of its words are found."""
    good = record(incident("aaaaaa1", lines=["good"]))
    bad = record(incident("bbbbbb2", lines=["half a letter: \udc80"]))
    with pytest.raises(StoreError, match="no text"):
        store.save([good, bad], START)
    assert not store.incidents(Query())
    assert not store.search("good", Query())
    store.save([good], START)
    assert store.search("good", Query())


def test_a_full_disk_keeps_what_was_there(store: sqlite.SQLite, path: Path) -> None:
    """The same as SQLite sees it: it may not have a page more."""
    store.save([record(incident("aaaaaa1"))], START)
    pages = store._database().execute("PRAGMA page_count").fetchone()[0]
    store._database().execute(f"PRAGMA max_page_count = {pages}")
    much = record(incident("bbbbbb2", lines=[f"{number} {'x' * 1000}" for number in range(200)]))
    with pytest.raises(StoreError, match=f"{path}.*full; nothing of it was kept; make room"):
        store.save([much], START)
    assert [found.thread for found in store.incidents(Query())] == ["aaaaaa1"]
    store._database().execute("PRAGMA max_page_count = 1000000")
    store.save([much], START)
    assert len(store.incidents(Query())) == 2


def test_what_a_death_left_half_copied_is_sound(store: sqlite.SQLite, path: Path, tmp_path: Path) -> None:
    """The process died, or the disk was full, while SQLite copied its log into the file: the first page was, the others not."""
    store.save([record(incident("aaaaaa1"))], START)
    dead = tmp_path / "dead" / path.name
    shutil.copytree(path.parent, dead.parent, ignore=lambda *_: [f"{path.name}-shm"])
    with dead.open("r+b") as file:
        file.seek(28)  # the header's number of pages
        file.write((1000).to_bytes(4, "big"))
    with contextlib.closing(sqlite.SQLite(dead)) as other:
        assert [found.thread for found in other.incidents(Query())] == ["aaaaaa1"]


def test_a_second_connection_of_the_process_costs_no_lock(path: Path, store: sqlite.SQLite) -> None:
    """A command that reads and ends while the service has the file open, with a connection for housekeeping besides, leaves the
    write-ahead log where it is: what is saved after that is seen, and in the file.
    """
    store.save([record(incident("aaaaaa1"))], START)
    second = sqlite.SQLite(path)
    assert len(second.incidents(Query())) == 1
    for number in (1, 2):
        seen = subprocess.run([sys.executable, "-c", LOOK, str(path)], capture_output=True, text=True, check=True)
        assert seen.stdout.split() == [str(number)]
        store.save([record(incident(f"aaaaaa{number + 1}"))], START)
    second.close()
    store.close()
    with contextlib.closing(sqlite.SQLite(path)) as later:
        assert len(later.incidents(Query())) == 3


# ---- what is refused


def _foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bookmarks (address TEXT)")
        other.commit()


def _newer(path: Path) -> None:
    made = sqlite.SQLite(path, migrations=[*schema.MIGRATIONS, lambda _: None])
    made.save([record(incident("aaaaaa1"))], START)
    made.close()


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no database": (
        lambda path: path.write_bytes(b"\x7fELF" + bytes(range(256)) * 40),
        "it is no database and was left as it is",
    ),
    "a note": (lambda path: path.write_text("buy milk"), "left as it is; move it away or name another place"),
    "of another program": (_foreign, "another program's database and was left as it is"),
    "newer": (_newer, f"version {len(schema.MIGRATIONS) + 1} .* up to {len(schema.MIGRATIONS)}; .* use the newer Headwater"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_ours_is_refused_untouched(what: str, tmp_path: Path) -> None:
    """Not a byte of it changes, nothing appears beside it, and the message says what to do."""
    write, said = REFUSED[what]
    path = tmp_path / "incidents.db"
    write(path)
    before = path.read_bytes()
    store = sqlite.SQLite(path)
    with pytest.raises(StoreError, match=said):
        store.save([record(incident("aaaaaa1"))], START)
    store.close()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """The message names the file."""
    (tmp_path / "state").write_text("")
    with pytest.raises(StoreError, match=r"opening the store .*state/incidents.db: .*"):
        sqlite.SQLite(tmp_path / "state" / "incidents.db").silences(START)


def test_a_folder_in_its_place_is_said(path: Path) -> None:
    """Rather than a traceback."""
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match="opening the store"):
        sqlite.SQLite(path).silences(START)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_file_that_may_not_be_written_is_said(store: sqlite.SQLite, path: Path) -> None:
    """With who wanted to."""
    store.save([record(incident("aaaaaa1"))], START)
    store.close()
    path.chmod(0o400)
    with pytest.raises(StoreError, match="may not write there"):
        sqlite.SQLite(path).save([record(incident("bbbbbb2"))], START)


# ---- versions


def dump(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as database:
        made = database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'words_%' ORDER BY rowid")
        return "".join(f"{sql};\n" for (sql,) in made)


@pytest.mark.parametrize("version", range(1, len(schema.MIGRATIONS) + 1))
def test_a_version_that_was_released_never_changes(version: int, tmp_path: Path) -> None:
    """Files of it are out there: what a version's schema is stands in `versions/`."""
    path = tmp_path / "incidents.db"
    schema.connect(path, 0, schema.MIGRATIONS[:version]).close()
    kept = VERSIONS / f"{version}.sql"
    if os.environ.get("HEADWATER_UPDATE_EXPECTED") and not kept.exists():
        kept.write_text(dump(path))
    assert dump(path) == kept.read_text()


def older(path: Path) -> None:
    """A store of the first version with an incident in it."""
    made = sqlite.SQLite(path, migrations=schema.MIGRATIONS[:1])
    made.save([record(incident("aaaaaa1", lines=["table full"]))], START)
    made.close()


def _weather(database: sqlite3.Connection) -> None:
    database.execute("ALTER TABLE incidents ADD COLUMN weather TEXT")
    database.execute("UPDATE incidents SET weather = 'rain'")


def test_an_older_store_is_migrated_with_a_backup_beside_it(path: Path) -> None:
    """Everything is still there; the backup is the store as it was, and a store itself."""
    path.parent.mkdir()
    older(path)
    migrated = sqlite.SQLite(path, migrations=[*schema.MIGRATIONS, _weather])
    assert [hit.incident.thread for hit in migrated.search("full", Query())] == ["aaaaaa1"]
    assert migrated._database().execute("SELECT weather FROM incidents").fetchall() == [("rain",)]
    migrated.close()
    assert sorted(found.name for found in path.parent.iterdir()) == ["incidents.db", "incidents.db.v1"]
    shutil.copy(path.with_name("incidents.db.v1"), path)
    back = sqlite.SQLite(path)
    assert [found.thread for found in back.incidents(Query())] == ["aaaaaa1"]
    back.close()


def test_a_migration_that_fails_leaves_the_store_as_it_was(path: Path) -> None:
    """The next attempt starts anew, over the unfinished backup of the last."""
    path.parent.mkdir()
    older(path)
    before = dump(path)

    def fails(database: sqlite3.Connection) -> None:
        _weather(database)
        database.execute("SELECT * FROM nowhere")

    for _ in range(2):
        with pytest.raises(StoreError, match="nowhere"):
            sqlite.SQLite(path, migrations=[*schema.MIGRATIONS, fails]).silences(START)
        assert dump(path) == before
    same = sqlite.SQLite(path)
    assert len(same.incidents(Query())) == 1
    same.close()


# ---- after a restart, over years


@pytest.mark.integration
@pytest.mark.parametrize("saves", [1, 3, 10])
def test_a_kill_leaves_whole_calls(path: Path, saves: int) -> None:
    """Another process is killed while it writes: what it was told is kept is there, a call is there whole or not at all."""
    script = """
import sys
from pathlib import Path
from connectors.stores.sqlite import SQLite
from tests.components.lives import HOUR, START, incident, record
store = SQLite(Path(sys.argv[1]))
for call in range(1000):
    store.save([record(incident(f"{call:04}-{n:04}", at=START + n, lines=["x"] * 20)) for n in range(20)], START)
    print(call, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        told = [writer.stdout.readline() for _ in range(saves)]
        writer.kill()
    assert told == [f"{call}\n" for call in range(saves)]
    store = sqlite.SQLite(path)
    kept = Counter(found.thread[:4] for found in store.incidents(Query(limit=100_000)))
    assert set(kept.values()) == {20}
    assert len(kept) >= saves
    store._database().execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
    assert store._database().execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store.close()


DIES = """
import os, sys
from pathlib import Path
from connectors.stores.sqlite import schema

folder, left = Path(sys.argv[1]), 0

def count(frame, event, function):
    global left
    left -= event == "c_return" and function.__name__ == "execute"
    if left < 0:
        os._exit(9)

for left in range(100):
    child = os.fork()
    if not child:
        sys.setprofile(count)
        schema.connect(folder / f"{left}.db", 1.0)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


def test_a_death_while_it_is_made_leaves_nothing_that_is_nobodys(tmp_path: Path) -> None:
    """After any statement: the next process makes it whole."""
    root = Path(__file__).parents[4]
    subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=True, cwd=root)
    files = sorted(tmp_path.glob("*.db"))
    assert len(files) > 10
    for path in files:
        with contextlib.closing(schema.connect(path, 1.0)) as database:
            found = [
                database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("auto_vacuum", "application_id", "user_version")
            ]
        assert found == [2, schema.APPLICATION, len(schema.MIGRATIONS)]


def test_it_is_there_after_a_restart(path: Path) -> None:
    """Whether it was closed or not."""
    left_open = sqlite.SQLite(path)
    left_open.save([record(incident("aaaaaa1", lines=["table full"]))], START)
    opened = sqlite.SQLite(path)
    assert [hit.incident.thread for hit in opened.search("table", Query())] == ["aaaaaa1"]
    left_open.close()
    opened.close()


def test_the_file_shrinks(store: sqlite.SQLite, path: Path) -> None:
    """What retention frees goes back to the file system, from the file and from what lies beside it."""
    lines = [f"{number} {'x' * 500}" for number in range(40)]
    store.save([record(incident(f"{n:07}", at=START + n * HOUR, lines=lines)) for n in range(300)], START)
    store.close()
    before = path.stat().st_size
    assert store.retain(START + 1000 * HOUR, age=850 * 3600, size=None) == 150
    assert path.stat().st_size < before * 0.6
    assert store.retain(START + 1000 * HOUR, age=0, size=None) == 150
    assert store.size() < before / 20


def test_a_reader_does_not_keep_retention_from_working(store: sqlite.SQLite, path: Path) -> None:
    """The file shrinks later then; what was dropped is gone at once for whoever asks anew."""
    store.save([record(incident("aaaaaa1")), record(incident("bbbbbb2", at=START + HOUR))], START)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM incidents").fetchone() == (2,)
    assert store.retain(START + 9 * HOUR, age=0, size=None) == 2
    assert reader.execute("SELECT count(*) FROM incidents").fetchone() == (2,)
    reader.close()
    assert not store.incidents(Query())


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from("abcd"), st.sampled_from(["one two", "two", "a é", ""])), max_size=20
    )
)
def test_the_index_says_what_the_tables_say(steps: list[tuple[int, str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever is saved, revised, commented on and dropped, SQLite's own check of the index against its content passes."""
    store = sqlite.SQLite(tmp_path_factory.mktemp("store") / "incidents.db")
    kept: dict[str, object] = {}
    for number, (what, who, text) in enumerate(steps):
        one = record(incident(who * 7, at=START + ord(who) * HOUR, lines=[text, "line"], summary=text))
        if what == 0 and who in kept:
            store.add_feedback(Feedback(who * 7, START, "right", "alice", None, text))
        elif what == 1:
            store.retain(START + ord(who) * HOUR, age=0, size=None)
            kept.clear()
        else:
            store.save([one if what == 2 else again(one, one.incident, revision=number + 2)], START)
            kept[who] = one
        store._database().execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
    store.close()


def test_an_id_that_two_lay_claim_to_is_of_the_present_one(store: sqlite.SQLite) -> None:
    """A start that moved may give an incident the id that a merged one had."""
    one, other = record(incident("aaaaaa1")), record(incident("bbbbbb2"))
    moved = again(one, incident("bbbbbb2"), id="bbbbbb2", aliases=("aaaaaa1",))
    store.save([one, other, moved], START)
    found = store.incident("bbbbbb2")
    assert found is not None
    assert found.thread == "aaaaaa1"
    assert found.incident == public.as_dict(moved.incident)
