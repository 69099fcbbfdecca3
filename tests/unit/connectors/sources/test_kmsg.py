"""What is peculiar to the kernel's messages: a ring that forgets, a machine that starts anew, and the device itself."""

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from connectors.sources import kmsg
from pipeline.contracts import Context

CONTEXT = Context("cluster", Path("/nonexistent"), "kernel")


class Ring:
    """The newest records, one a read, as the device gives them."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def __call__(self) -> int:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.settimeout(0)
        for number in self.numbers:
            ours.send(f"4,{number},{number * 1000},-,caller=T1;text {number}\n SUBSYSTEM=net\n".encode())
        ours.close()
        return theirs.detach()


def source(ring: Ring, boot: str = "boot-1", start: str = "beginning") -> kmsg.Kmsg:
    return kmsg.Kmsg(kmsg.Settings.model_validate({"start": start}), CONTEXT, boot, ring)


def numbers(made: kmsg.Kmsg) -> list[int]:
    return [number for batch in made.poll(1 << 20, 1.0) if batch.offsets is not None for number in batch.offsets]


def test_overwritten_records_are_a_gap_of_their_number() -> None:
    """While it runs, and over a restart."""
    with closing(source(Ring(3, 4, 9))) as made:
        assert numbers(made) == [3, 4, 9]
        assert [(trouble.kind, trouble.amount) for trouble in made.troubles()] == [("gap", 4)]
        position = made.position()
    with closing(source(Ring(12, 13))) as made:
        made.seek(position)
        assert numbers(made) == [12, 13]
        assert [trouble.amount for trouble in made.troubles()] == [2]


def test_a_machine_started_anew_counts_anew() -> None:
    """Its records are another stream, read from the first; that the end of the old one may be lost is said."""
    with closing(source(Ring(7))) as made:
        (before,) = made.poll(100, 1.0)
        position = made.position()
    with closing(source(Ring(0, 1), boot="boot-2", start="end")) as made:
        made.seek(position)
        (after,) = made.poll(100, 1.0)
        assert after.offset == 0
        assert after.stream.id != before.stream.id
        assert [trouble.kind for trouble in made.troubles()] == ["gap"]


def test_continuation_lines_stay_with_their_record() -> None:
    """And the stream says what the parsers need: envelope, format and the boot time."""
    with closing(source(Ring(5))) as made:
        (batch,) = made.poll(100, 1.0)
    assert batch.data == b"4,5,5000,-,caller=T1;text 5\n SUBSYSTEM=net\n"
    assert (batch.stream.envelope, batch.stream.format) == ("kmsg", "kernel")
    assert batch.stream.boot_time is not None


def test_the_boot_time_does_not_waver() -> None:
    """A record that is read again after a restart has the time that it had."""
    with closing(source(Ring(5))) as made:
        (batch,) = made.poll(100, 1.0)
        before = made.position()
    with closing(source(Ring(5, 6))) as made:
        made.seek({**before, "sequence": 4})
        (again,) = made.poll(100, 1000.0)
    assert again.stream == batch.stream


def test_at_the_first_start_only_what_comes_is_read() -> None:
    """But what comes between the first start and the second is not passed over, though nothing had been given."""
    with closing(source(Ring(5, 6), start="end")) as made:
        assert numbers(made) == []
        position = made.position()
    with closing(source(Ring(5, 6, 7), start="end")) as made:
        made.seek(position)
        assert numbers(made) == [7]


def test_a_device_that_cannot_be_opened_is_said_once(tmp_path: Path) -> None:
    made = kmsg.create(kmsg.Settings(path=tmp_path / "kmsg"), CONTEXT)
    assert numbers(made) == numbers(made) == []
    assert [trouble.kind for trouble in made.troubles()] == ["unreadable"]
    assert not made.status().alive


def test_the_device_itself() -> None:
    """A message that is written into it comes back, with all that is written into it being of facility 1."""
    if not os.access("/dev/kmsg", os.R_OK | os.W_OK):
        pytest.skip("/dev/kmsg cannot be read and written here: run as root on a machine of one's own")
    with closing(kmsg.create(kmsg.Settings(), CONTEXT)) as made:
        made.poll(1 << 20, 1.0)
        Path("/dev/kmsg").write_text(f"<6>headwater test {os.getpid()}\n", encoding="ascii")
        found = b"".join(batch.data for batch in made.poll(1 << 20, 2.0))
        assert f";headwater test {os.getpid()}\n".encode() in found
        position = made.position()
    with closing(kmsg.create(kmsg.Settings(start="beginning"), CONTEXT)) as made:
        made.seek(position)
        assert f"headwater test {os.getpid()}".encode() not in b"".join(batch.data for batch in made.poll(1 << 20, 3.0))
