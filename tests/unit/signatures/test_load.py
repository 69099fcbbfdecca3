"""Rule folders: every problem of every file in one run, each with its place, what is wrong, and the nearest right spelling."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pipeline import parsers
from pipeline.engine import aggregate
from pipeline.errors import Problem, SignatureError, UsageError
from pipeline.signatures import load
from pipeline.signatures.ruleset import RuleSet

BLOCK = """\
name: table_full
title: The kernel reports a full table
logsource: {product: linux, service: kernel}
detection:
    full:
        message|contains: 'table full'
    condition: full
"""
SIGNATURE = """\
title: Connection tracking table full
id: 9d6b1d9e-0f5a-4a0e-8d0d-0c2f6c7f3a52
version: 1
status: test
layer: node
level: medium
what: What it is.
cause: Why it is.
impact: Who notices.
first_aid: ['conntrack -S   # on {{ k8s.node.name }}']
fix: [Mend it.]
false_positives: [Load tests.]
references: ['https://example.org/1']
correlation:
    type: event_count
    rules: [table_full]
    group-by: [k8s.node.name]
    timespan: 1m
    condition: {gte: 1}
confidence: 0.7
alert:
    annotations:
        summary: 'Full on {{ k8s.node.name }}'
"""
OTHER = SIGNATURE.replace("9d6b1d9e", "11111111").replace("Connection tracking table full", "Another")
RULE = "node/table-full/rule.yaml"


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., tuple[RuleSet | None, list[str]]]:
    """Builds the rules of a folder with these files; problems are texts, with paths relative to the folder."""

    def run(files: Mapping[str, str] | str) -> tuple[RuleSet | None, list[str]]:
        for name, text in ({RULE: files} if isinstance(files, str) else files).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        ruleset, problems = load.build(load.files([tmp_path]), parsers.vocabulary())
        return ruleset, [str(problem).removeprefix(f"{tmp_path}/").replace(f"{tmp_path}/", "") for problem in problems]

    return run


Build = Callable[[Mapping[str, str] | str], tuple[RuleSet | None, list[str]]]


def both(block: str = BLOCK, signature: str = SIGNATURE) -> str:
    return f"{block}---\n{signature}"


def changed(old: str, new: str, text: str | None = None) -> str:
    text = both() if text is None else text
    assert text.count(old) == 1, old
    return text.replace(old, new)


def test_a_folder_of_a_signature_loads(build: Build) -> None:
    ruleset, problems = build(both())
    assert problems == []
    assert ruleset is not None
    assert list(ruleset.detections) == ["table_full"]
    assert list(ruleset.signatures) == ["table-full"]
    assert ruleset.rules["table-full"].detections == ("table_full",)
    assert ruleset.detections["table_full"].literals == {"table full"}


ONE_PROBLEM = {
    "unknown key": (
        changed("impact: Who", "impakt: Who"),
        [
            f"{RULE}:9:1: missing key 'impact'; every signature must carry it",
            f"{RULE}:17:1: unknown key 'impakt'; did you mean 'impact'?",
        ],
    ),
    "unknown key below": (
        changed("    timespan: 1m\n", "    timespan: 1m\n    timspan: 1m\n"),
        [f"{RULE}:27:5: unknown key 'timspan'; did you mean 'timespan'?"],
    ),
    "unknown key far from all": (
        changed("confidence: 0.7", "confidence: 0.7\nqqq: 1"),
        [f"{RULE}:29:1: unknown key 'qqq'; remove it"],
    ),
    "unknown column": (
        changed("message|contains", "mesage|contains"),
        [f"{RULE}:6:9: unknown column 'mesage'; did you mean 'message'?"],
    ),
    "unknown column to group by": (
        changed("group-by: [k8s.node.name]", "group-by: [k8s.node.nam, k8s.node.name]"),
        [f"{RULE}:25:16: unknown column 'k8s.node.nam'; did you mean 'k8s.node.name'?"],
    ),
    "unknown column to count": (
        changed("condition: {gte: 1}", "condition: {gte: 1, field: k8s.pod.nam}"),
        [f"{RULE}:27:25: unknown column 'k8s.pod.nam'; did you mean 'k8s.pod.name'?"],
    ),
    "unknown column in fields": (
        changed("confidence: 0.7", "confidence: 0.7\nfields: [contaner.name]"),
        [f"{RULE}:29:10: unknown column 'contaner.name'; did you mean 'container.name'?"],
    ),
    "unknown column to refer to": (
        changed(
            "        message|contains: 'table full'", "        message|contains: 'table full'\n        message|fieldref: mesage"
        ),
        [f"{RULE}:7:9: unknown column 'mesage'; did you mean 'message'?"],
    ),
    "unknown column in a support": (
        changed("confidence: 0.7", "confidence: 0.7\nsupports: [{rule: table_full, on: [k8s.node.nam]}]"),
        [f"{RULE}:29:36: unknown column 'k8s.node.nam'; did you mean 'k8s.node.name'?"],
    ),
    "unknown category": (
        changed("{product: linux, service: kernel}", "{category: webservr}"),
        [f"{RULE}:3:13: unknown category 'webservr'; did you mean 'webserver'?"],
    ),
    "unknown rule name": (
        changed("rules: [table_full]", "rules: [tabel_full]"),
        [f"{RULE}:24:13: unknown rule 'tabel_full'; did you mean 'table_full'?"],
    ),
    "unknown rule in a support": (
        changed("confidence: 0.7", "confidence: 0.7\nsupports: [{rule: tabel_full}]"),
        [f"{RULE}:29:13: unknown rule 'tabel_full'; did you mean 'table_full'?"],
    ),
    "unknown signature to explain": (
        changed("confidence: 0.7", "confidence: 0.7\nexplains: [{rules: [tabel-full]}]"),
        [f"{RULE}:29:21: unknown signature 'tabel-full'; did you mean 'table-full'?"],
    ),
    "unknown search identifier": (
        changed("    condition: full\n", "    condition: ful\n"),
        [f"{RULE}:7:5: 'ful' is not defined; did you mean 'full'?"],
    ),
    "unknown modifier": (
        changed("message|contains", "message|contians"),
        [f"{RULE}:6:9: unknown modifier 'contians'; did you mean 'contains'?"],
    ),
    "unknown entity": (
        changed("confidence: 0.7", "confidence: 0.7\nexplains: [{rules: [other], on: [k8s.node.nam]}]") + "---\n",
        [f"{RULE}:29:29: 'k8s.node.nam' is not an entity; did you mean 'k8s.node.name'?"],
    ),
    "what was written and who wrote it": (
        changed("confidence: 0.7", "confidence: 0.7\nexplains: [{rules: [other], on: [observer.k8s.node.name, k8s.pod.name]}]"),
        [f"{RULE}:29:12: explains.0: observer.k8s.node.name stands alone under `on`; the rest needs another entry"],
    ),
    "duplicate YAML key": (
        changed("what: What it is.\n", "what: What it is.\nwhat: Again.\n"),
        [f"{RULE}:16:1: duplicate key 'what'; it stands in line 15 already"],
    ),
    "missing text": (
        changed("impact: Who notices.\n", ""),
        [f"{RULE}:9:1: missing key 'impact'; every signature must carry it"],
    ),
    "empty text": (
        changed("impact: Who notices.", "impact: ''"),
        [f"{RULE}:17:1: impact: String should have at least 1 character"],
    ),
    "missing version and layer": (
        changed("version: 1\nstatus: test\nlayer: node\n", "status: test\n"),
        [
            f"{RULE}:9:1: missing key 'layer'; every signature must carry it",
            f"{RULE}:9:1: missing key 'version'; every signature must carry it",
        ],
    ),
    "missing summary": (
        changed("        summary:", "        description:"),
        [f"{RULE}:29:1: missing annotation 'summary'; say it in one line"],
    ),
    "regex without a required literal": (
        changed("message|contains: 'table full'", r"message|re: '\w+ (full|at)'"),
        [
            (
                f"{RULE}:4:1: no text of 3 bytes or more that everyday lines lack is required, so every row would have to be parsed for this rule; "
                "add a selection with fixed text, or say `expensive: true`"
            )
        ],
    ),
    "explanation cycle of one": (
        changed("confidence: 0.7", "confidence: 0.7\nexplains: [{rules: [table-full]}]"),
        [f"{RULE}:29:1: explanation cycle: table-full -> table-full; drop the weaker of the two directions"],
    ),
    "template with a missing key": (
        changed("'Full on {{ k8s.node.name }}'", "'Full on {{ k8s.node.nam }}'"),
        [f"{RULE}:31:9: template names 'k8s.node.nam', which the incident does not have; did you mean 'k8s.node.name'?"],
    ),
    "template with a missing count": (
        changed("# on {{ k8s.node.name }}", "# {{ count.tabel_full }}"),
        [
            (
                f"{RULE}:18:13: template names 'count.tabel_full', which the incident does not have; "
                "did you mean 'count.table_full'?"
            )
        ],
    ),
    "empty window": (
        changed("timespan: 1m", "timespan: 0s"),
        [f"{RULE}:26:5: impossible window: it is empty; give at least 1s"],
    ),
    "window longer than evidence is kept": (
        changed("timespan: 1m", "timespan: 2h"),
        [f"{RULE}:26:5: impossible window: evidence is kept for 1h only; shorten it"],
    ),
    "no duration": (
        changed("timespan: 1m", "timespan: 1h30m"),
        [
            (
                f"{RULE}:26:5: correlation.event_count.timespan: '1h30m' is not a duration; "
                "write one number and one unit of s, m, h, d, w, such as 90s"
            )
        ],
    ),
    "impossible range": (
        changed("condition: {gte: 1}", "condition: {gte: 5, lt: 2}"),
        [f"{RULE}:27:5: impossible condition: above 5 and below 2; swap them"],
    ),
    "no map": ("- a\n- b\n", [f"{RULE}:1:1: a rule must be a map of keys; see CONTRIBUTING, 'add a signature'"]),
    "no duration at all": (
        changed("    timespan: 1m\n", ""),
        [f"{RULE}:22:1: missing key 'timespan'; add it"],
    ),
    "wrong word": (
        changed("level: medium", "level: medum"),
        [f"{RULE}:14:1: level: Input should be 'informational', 'low', 'medium', 'high' or 'critical'; did you mean 'medium'?"],
    ),
    "wrong correlation type": (
        changed("type: event_count", "type: event_cuont"),
        [f"{RULE}:23:5: unknown type 'event_cuont'; did you mean 'event_count'?"],
    ),
}


@pytest.mark.parametrize("name", ONE_PROBLEM)
def test_each_problem_has_a_place_and_a_hint(build: Build, name: str) -> None:
    """Exactly these problems, and no more that only follow from them."""
    text, expected = ONE_PROBLEM[name]
    files = {RULE: text}
    if "other" in text:
        files["node/other/rule.yaml"] = OTHER
    ruleset, problems = build(files)
    assert problems == expected
    assert ruleset is None


ELSEWHERE = "node/another/rule.yaml"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {RULE: both(), "blocks.yaml": BLOCK},
            [f"{RULE}:1:1: duplicate name 'table_full'; blocks.yaml:1 has it already"],
        ),
        (
            {RULE: both(), ELSEWHERE: SIGNATURE},
            [f"{RULE}:10:1: duplicate id '9d6b1d9e-0f5a-4a0e-8d0d-0c2f6c7f3a52'; {ELSEWHERE}:2 has it already"],
        ),
        (
            {RULE: both(), "dns/table-full/rule.yaml": OTHER},
            [f"{RULE}:9:1: duplicate folder 'table-full'; dns/table-full/rule.yaml:1 has it already"],
        ),
        (
            {RULE: both(), "blocks.yaml": BLOCK.replace("name: table_full", "name: table-full")},
            [f"{RULE}:9:1: duplicate folder 'table-full'; blocks.yaml:1 has it already"],
        ),
    ],
)
def test_duplicates_name_the_first(build: Build, files: dict[str, str], expected: list[str]) -> None:
    """By name, id and folder, across all files."""
    assert build(files) == (None, expected)


def test_cycles_of_explanations_name_the_way_round(build: Build) -> None:
    files = {
        RULE: changed("confidence: 0.7", "confidence: 0.7\nexplains: [{rules: [another]}]"),
        ELSEWHERE: OTHER + "explains: [{rules: [table-full]}]\n",
    }
    hint = "drop the weaker of the two directions"
    assert build(files) == (None, [f"{RULE}:29:1: explanation cycle: another -> table-full -> another; {hint}"])


def test_rules_that_refer_to_each_other(build: Build) -> None:
    text = "name: {}\ntitle: T\ncorrelation: {{type: temporal, rules: [{}], timespan: 1m}}\n"
    _, problems = build({"a.yaml": text.format("a", "b"), "b.yaml": text.format("b", "a")})
    assert problems == ["a.yaml:3:1: rules refer to each other: a -> b -> a"]


@pytest.mark.parametrize(
    ("correlation", "place", "why"),
    [
        (
            "{type: cascade, cause: {rule: table_full}, effects: [{rule: x, within: 5m}], timespan: 1m}",
            64,
            "`within` is longer than",
        ),
        ("{type: absence, of: x, while: table_full, after: {rule: x, within: 2h}, timespan: 1m}", 60, "evidence is kept for 1h"),
        ("{type: baseline, of: table_full, against: 1m, condition: {factor: 2}, timespan: 1m}", 34, "the past is not longer"),
        ("{type: baseline, of: table_full, against: 2d, condition: {factor: 2}, timespan: 1m}", 34, "the past is kept for 1h"),
    ],
)
def test_windows_that_cannot_be(build: Build, correlation: str, place: int, why: str) -> None:
    """Each type has windows of its own."""
    block = f"{BLOCK}---\n{BLOCK.replace('table_full', 'x')}"
    rule = f"name: y\ntitle: T\ncorrelation: {correlation}\n"
    _, problems = build({"blocks.yaml": block, "rule.yaml": rule})
    assert len(problems) == 1
    assert problems[0].startswith(f"rule.yaml:3:{14 + place - 1}: impossible window: {why}"), problems


def test_all_problems_of_all_files_in_one_run(build: Build) -> None:
    """An unknown key does not hide the unknown column in the same document, nor one file the next; all in order."""
    broken = both().replace("impact:", "impakt:").replace("message|", "mesage|").replace("Full on {{ k8s", "Full on {{ k9s")
    files = {
        RULE: broken.replace("what: What it is.\n", "").replace("timespan: 1m", "timespan: 3h"),
        ELSEWHERE: "a: [\n",
        "node/third/rule.yaml": OTHER.replace("[table_full]", "[tabel_full]").replace("0.7", "7"),
        "dns/fourth.yaml": "title: T\ndetection: {s: {message|contians: x}, condition: s}\n",
    }
    ruleset, problems = build(files)
    assert ruleset is None
    assert [problem.split("; ")[0] for problem in problems] == [
        "dns/fourth.yaml:1:1: a detection needs logsource, which says what rows it looks at",
        f"{ELSEWHERE}:2:1: broken YAML: expected the node content, but found '<stream end>'",
        f"{RULE}:6:9: unknown column 'mesage'",
        f"{RULE}:9:1: missing key 'impact'",
        f"{RULE}:9:1: missing key 'what'",
        f"{RULE}:16:1: unknown key 'impakt'",
        f"{RULE}:25:5: impossible window: evidence is kept for 1h only",
        f"{RULE}:30:9: template names 'k9s.node.name', which the incident does not have",
        "node/third/rule.yaml:16:13: unknown rule 'tabel_full'",
        "node/third/rule.yaml:20:1: confidence: Input should be less than or equal to 1",
    ]


def test_a_broken_file_is_the_only_problem(build: Build) -> None:
    """What names it elsewhere is not wrong: it may well be there once the file is mended."""
    files = {
        "node/broken/rule.yaml": f"{BLOCK}---\ntitle: [\n",
        RULE: changed("confidence: 0.7", "confidence: 0.7\nexplains: [{rules: [broken]}]", SIGNATURE),
    }
    _, problems = build(files)
    assert [problem.split(": ")[0] for problem in problems] == ["node/broken/rule.yaml:10:1"]


def test_an_invalid_document_is_the_only_problem(build: Build) -> None:
    files = {
        "blocks.yaml": BLOCK.replace("detection:", "detektion:"),
        "node/invalid/rule.yaml": OTHER.replace("correlation:", "other:"),
        RULE: changed("confidence: 0.7", "confidence: 0.7\nexplains: [{rules: [invalid]}]", SIGNATURE),
    }
    _, problems = build(files)
    assert {problem.split(":")[0] for problem in problems} == {"blocks.yaml", "node/invalid/rule.yaml"}


def test_load_raises_every_error(tmp_path: Path) -> None:
    """What the commands use: the same problems, as one error; warnings do not stop it."""
    rule = tmp_path / RULE
    rule.parent.mkdir(parents=True)
    rule.write_text(both().replace("gte: 1", "gte: x").replace("confidence: 0.7", "confidence: -1"), encoding="utf-8")
    with pytest.raises(SignatureError) as caught:
        load.load(parsers.vocabulary(), [tmp_path], cache=tmp_path / "cache")
    assert [type(problem) for problem in caught.value.problems] == [Problem, Problem]
    assert str(caught.value).count(f"{rule}:") == 2
    rule.write_text(changed("    group-by: [k8s.node.name]\n", ""), encoding="utf-8")
    assert load.load(parsers.vocabulary(), [tmp_path], cache=tmp_path / "cache").signatures


def content(ruleset: RuleSet) -> tuple[object, ...]:
    return ruleset.detections, ruleset.rules, ruleset.signatures, ruleset.digest


def test_load_takes_what_it_compiled_before(tmp_path: Path) -> None:
    """A cache by content: the same rules, and a changed file is compiled anew; a damaged cache is no error."""
    rule, cache = tmp_path / RULE, tmp_path / "cache"
    rule.parent.mkdir(parents=True)
    rule.write_text(both(), encoding="utf-8")
    first = load.load(parsers.vocabulary(), [tmp_path / "node"], cache=cache)
    assert content(load.load(parsers.vocabulary(), [tmp_path / "node"], cache=cache)) == content(first)
    for stored in cache.iterdir():
        stored.write_bytes(b"damaged")
    assert content(load.load(parsers.vocabulary(), [tmp_path / "node"], cache=cache)) == content(first)
    rule.write_text(changed("version: 1", "version: 2"), encoding="utf-8")
    second = load.load(parsers.vocabulary(), [tmp_path / "node"], cache=cache)
    assert second.signatures["table-full"].digest != first.signatures["table-full"].digest


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        load.files([tmp_path / "missing"])


def test_the_packaged_rules_have_no_problem() -> None:
    _, problems = load.build(load.files([load.packaged()]), parsers.vocabulary())
    assert [str(problem) for problem in problems] == []


def test_no_packaged_rule_has_every_line_read_for_it() -> None:
    """What has no text to scan for is counted over all rows; where its rows were wanted, every line would be cut for it alone."""
    ruleset = load.load(parsers.vocabulary())
    used = aggregate.wanted_as_rows(ruleset)
    found = [one for one in ruleset.detections.values() if one.name in used and not one.literals and not one.dense]
    assert [one.name for one in found] == []
