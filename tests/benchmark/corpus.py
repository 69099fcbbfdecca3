"""Lines of the shape that clusters write, made from the healthy parts of recordings: as many as are asked for.

CRI lines of CoreDNS (45 %), ingress-nginx (45 %) and others (10 %), about 200 bytes on average, 1 in 10,000 of them interesting. Every
line is varied: time, addresses, query ids, request ids.
"""

import gzip
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

START = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
RATE = 20_000
"""Lines a second of event time."""
SHARES = (("coredns", 0.45), ("ingress", 0.45), ("other", 0.10))
INTERESTING = 10_000
_TROUBLE = {
    "coredns": "stdout F [ERROR] plugin/errors: 2 api.example.com. A: read udp 10.244.1.7:47212->10.0.0.2:53: i/o timeout",
    "ingress": 'stderr F {time} [error] 31#31: *5812 upstream timed out (110: Connection timed out) while connecting to upstream, client: 203.0.113.9, server: shop.example.com, request: "GET /cart HTTP/1.1", upstream: "http://10.244.2.10:8080/cart", host: "shop.example.com"',
    "other": 'stdout F time={rfc} level=error msg="request failed" err="dial tcp: lookup cart.shop: i/o timeout"',
}
_FILES = {
    "coredns": "nodes/node-c/var/log/pods/kube-system_coredns-60c0c0df3-rmm9t_0d3f0f0e/coredns/0.log",
    "ingress": "nodes/node-a/var/log/pods/ingress-nginx_ingress-nginx-controller-e315dd649-ks8tr_1d3f0f0e/controller/0.log",
    "other": "nodes/node-b/var/log/pods/shop_catalog-4186d979c-q75nf_2d3f0f0e/catalog/0.log",
}


def write(capture: Path, folder: Path, lines: int, *, seed: int = 1) -> int:
    """Write a capture of so many lines below `folder`, from the recording `capture`; gives its bytes."""
    samples = {kind: _samples(capture, kind) for kind, _ in SHARES}
    total = 0
    (folder / "capture.yaml").write_text("cluster: bench\nnodes: {node-a: {zone: a}, node-b: {zone: b}, node-c: {zone: c}}\n")
    objects = folder / "cluster" / "objects.jsonl"
    objects.parent.mkdir(parents=True, exist_ok=True)
    objects.write_bytes(gzip.decompress((capture / "cluster" / "objects.jsonl.gz").read_bytes()))
    for kind, share in SHARES:
        path = folder / _FILES[kind]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as out:
            draw = random.Random(f"{seed}{kind}")  # noqa: S311 (a corpus that can be made again)
            for block in _blocks(samples[kind], kind, round(lines * share), share, draw):
                out.write(block)
        total += path.stat().st_size
    return total


def _samples(capture: Path, kind: str) -> list[str]:
    """What follows the time in lines of a kind."""
    patterns = {
        "coredns": "*_coredns-*/coredns/*.log.gz",
        "ingress": "*ingress-nginx-controller*/*/*.log.gz",
        "other": "shop_*/*/*.log.gz",
    }
    found: list[str] = []
    for path in sorted(capture.glob(f"nodes/*/var/log/pods/{patterns[kind]}")):
        text = gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
        found.extend(line.split(" ", 1)[1] for line in text.splitlines() if " stdout F " in line)
    wanted = {"coredns": '" NOERROR', "ingress": '" 200 ', "other": "request"}[kind]
    return [line for line in found if wanted in line][:5000]


def _blocks(samples: list[str], kind: str, lines: int, share: float, draw: random.Random) -> Iterator[str]:
    step = timedelta(seconds=1 / (RATE * share))
    at = START
    parts: list[str] = []
    for number in range(lines):
        at += step
        stamp = f"{at:%Y-%m-%dT%H:%M:%S.%f}{draw.randrange(1000):03}Z"
        if number % INTERESTING == INTERESTING - 1:
            rest = _TROUBLE[kind].format(time=f"{at:%Y/%m/%d %H:%M:%S}", rfc=stamp)
        else:
            rest = _varied(samples[draw.randrange(len(samples))], kind, draw)
        parts.append(f"{stamp} {rest}\n")
        if len(parts) == 10_000:
            yield "".join(parts)
            parts.clear()
    yield "".join(parts)


def _varied(line: str, kind: str, draw: random.Random) -> str:
    if kind == "coredns":
        return line.replace(" - ", f" - {draw.randrange(65536)}0", 1)
    if kind == "ingress":
        return line[:-8] + f"{draw.randrange(16**8):08x}"
    return line
