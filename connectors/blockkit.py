"""Messages as Slack's blocks: within its limits, and with nothing in them that a log line could make Slack do.

Text is `mrkdwn` with `verbatim`, so that Slack makes no links or mentions of its own; `& < >` are escaped, `@here` and the three
backticks that end a code block are broken up by a letter of no width. Lengths are counted in UTF-16, the stricter of the ways.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from pipeline.contracts.message import Message
from pipeline.model import words

HEADER = 150
SECTION = 3000
FALLBACK = 4000
CLAIMS = 6
"""Claims of evidence shown, so that all blocks of a message together stay near 12,000 letters."""
SHORT = 1200
ICONS = {"critical": "🔴", "high": "🟠", "medium": "🟡", "low": "🔵", "informational": "⚪"}
OVER, PART = "✅", "↪️"
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
ACTIVE = re.compile(r"@(?=here\b|channel\b|everyone\b)|`(?=`)")
BRACKETS = str.maketrans("<>", "‹›")
NARROW = "\u200b"
FENCE = "```"

Block = dict[str, Any]


def parent(message: Message, *, threaded: bool) -> list[Block]:
    """The message itself: what broke, where and since when, what to do; `threaded`: the details are in its thread."""
    blocks = [_header(_titled(message)), _section(fit([message.facts], SECTION))]
    if message.first_aid:
        blocks.append(_code(message.first_aid, SECTION))
    blocks += [_section(fit(lines, SECTION)) for lines in ([message.impact], message.body) if any(lines)]
    if not threaded and message.symptoms:
        blocks.append(_listed("Symptoms", message.symptoms))
    return [*blocks, _context(message, threaded=threaded)]


def details(message: Message) -> list[Block]:
    """The reply in the thread: symptoms, evidence, what speaks against it, what could not be seen, what to mend; may be empty."""
    blocks = [_listed("Symptoms", message.symptoms)] if message.symptoms else []
    for found in message.evidence[:CLAIMS]:
        claim = f"*{fit([found.claim], SHORT)}*"
        code = f"\n{_fenced(found.lines, SHORT)}" if found.lines else ""
        blocks.append(_section(claim + code))
    rest = len(message.evidence) - CLAIMS
    more = [f"{words.CUT} and {rest} more claims"] if rest > 0 else []
    lists = {"More evidence": more, "Speaks against it": message.against, "Could not be seen": message.blind, "Fix": message.fix}
    return blocks + [_listed(label, lines) for label, lines in lists.items() if lines]


def fallback(message: Message) -> str:
    """The text that notifications of the phone show."""
    return fit([_titled(message), message.facts, *message.first_aid, *message.body], FALLBACK)


def fit(lines: Sequence[str], limit: int) -> str:
    """Escaped lines of at most `limit` letters in all, which say how many were left out."""
    kept: list[str] = []
    room = limit - length(_more(len(lines))) - 1
    for number, line in enumerate(lines):
        pieces = _escaped(line)
        if sum(map(length, pieces)) > room:
            if kept:
                return "\n".join([*kept, _more(len(lines) - number)])
            pieces = _cut(pieces, room)
        kept.append("".join(pieces))
        room -= length(kept[-1]) + 1
    return "\n".join(kept)


def length(text: str) -> int:
    """Letters as Slack may count them."""
    return len(text) + sum(letter > "\uffff" for letter in text)


def _more(number: int) -> str:
    return f"{words.CUT} {number} more"


def _escaped(text: str) -> list[str]:
    """Letter by letter, so that no cut falls into an entity."""
    return [ENTITIES.get(letter, letter) for letter in ACTIVE.sub(rf"\g<0>{NARROW}", text)]


def _cut(pieces: Sequence[str], limit: int) -> list[str]:
    ends = accumulate(map(length, pieces))
    return [piece for piece, end in zip(pieces, ends, strict=True) if end < limit] + [words.CUT]


def _titled(message: Message) -> str:
    icon = PART if message.folded else OVER if message.over else ICONS.get(message.level, ICONS["informational"])
    return f"{icon} {message.title}"


def _header(title: str) -> Block:
    """Plain text knows no entities: what looks like a tag gets other brackets."""
    letters = ACTIVE.sub(rf"\g<0>{NARROW}", title.translate(BRACKETS))
    text = letters if length(letters) <= HEADER else "".join(_cut(letters, HEADER))
    return {"type": "header", "text": {"type": "plain_text", "text": text, "emoji": False}}


def _section(text: str) -> Block:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}


def _listed(label: str, lines: Sequence[str]) -> Block:
    return _section(f"*{label}*\n{fit(lines, SHORT)}")


def _fenced(lines: Sequence[str], limit: int) -> str:
    return f"{FENCE}\n{fit(lines, limit - 2 * len(FENCE) - 2)}\n{FENCE}"


def _code(lines: Sequence[str], limit: int) -> Block:
    return _section(_fenced(lines, limit))


def _context(message: Message, *, threaded: bool) -> Block:
    return {
        "type": "context",
        "elements": [{"type": "mrkdwn", "text": text, "verbatim": True} for text in _notes(message, threaded=threaded)],
    }


def _notes(message: Message, *, threaded: bool) -> Iterator[str]:
    yield fit([message.origin], SHORT)
    if threaded and (message.symptoms or message.evidence):
        number = len(message.symptoms)
        yield f"{number} kind{'' if number == 1 else 's'} of symptoms and the evidence are in the thread"
    if message.link:
        yield f"<{fit([message.link], SHORT)}|Open>"
