"""What operators' rules cost a post: none, one and a thousand of them, beside a regular expression.

    python benchmarks/bench_rules.py [--rounds 5]

The posts are generated (25 words each, seeded); a fifth have a link, a quarter a picture, none is
hit.  Before anything is timed the rules are shown to hit what they are about.  One thread;
processor time per post.  The peer is one `re` alternation of all the phrases over the lower case.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from machine import describe

from feedmill.events.post import Media, Post
from feedmill.events.rules import decode_rules
from feedmill.filters.rules import RuleSet

LETTERS = "abcdefghijklmnopqrstuvwxy"
KINDS: dict[str, Callable[[int], str]] = {
    "phrases": lambda i: f"{LETTERS[i % 25]}z{i} buy now",
    "domains": lambda i: f"bad{i}.example",
    "patterns": lambda i: rf"(?i)win \${i}\d+ today",
    "media_sha256": lambda i: f"{i:064x}",
    "authors": lambda i: f"bad{i}",
    "self_labels": lambda i: f"label{i}",
}


def posts(count: int, seed: int = 1) -> list[Post]:
    """Posts that no rule is about."""
    drawn = random.Random(seed)
    words = ["".join(drawn.choices(LETTERS, k=drawn.randint(2, 9))) for _ in range(20_000)]
    made = []
    for i in range(count):
        text = " ".join(drawn.choices(words, k=25)).capitalize() + "."
        links = (f"https://www.site{drawn.randint(0, 5000)}.example/x",) if i % 5 == 0 else None
        media = (Media("https://pictures.example/1", "image", "f" * 64),) if i % 4 == 0 else None
        made.append(Post(f"p{i}", f"author{i % 500}", 0, text, links=links, media=media))
    return made


def rules(count: int, kinds: Sequence[str]) -> dict[str, Any]:
    """So many rules of one entry each, their kinds in turn."""
    return {
        f"r{i}": {"verdict": "hide", kinds[i % len(kinds)]: [KINDS[kinds[i % len(kinds)]](i)]}
        for i in range(count)
    }


def check(rule_set: RuleSet) -> None:
    """Raise unless the first rule of each kind hits."""
    hit = [
        Post("p", "a", 0, "now AZ0: buy, now!"),
        Post("p", "a", 0, "at www.bad1.example/x"),
        Post("p", "a", 0, "WIN $27 today"),
        Post("p", "a", 0, "", media=(Media("u", "image", f"{3:064X}"),)),
        Post("p", "bad4", 0, ""),
        Post("p", "a", 0, "", self_labels=("Label5",)),
    ]
    found = rule_set.verdicts(hit, [0] * len(hit))
    assert [one.rule for one in found if one] == [f"r{i}" for i in range(6)]


def best(run: Callable[[], object], rounds: int) -> float:
    """The least processor time of several rounds, in seconds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    drawn = posts(4096)
    at_ms = [0] * len(drawn)
    check(RuleSet(decode_rules(rules(6, list(KINDS)))))
    check(RuleSet(decode_rules(rules(1000, list(KINDS)))))
    print(describe())
    print(f"{'rules':>6}  {'of':<12}  {'check ms':>8}  {'compile ms':>10}  {'µs a post':>9}")
    cases = [(0, list(KINDS)), (6, list(KINDS)), (1000, list(KINDS))]
    cases += [(1 if kind == "patterns" else 1000, [kind]) for kind in KINDS]
    for count, kinds in [*cases, (500, ["patterns"])]:
        setting = rules(count, kinds)
        checked = best(partial(decode_rules, setting), rounds)
        read = decode_rules(setting)
        compiled = best(partial(RuleSet, read), rounds)
        rule_set = RuleSet(read)
        assert not any(rule_set.verdicts(drawn, at_ms))
        seconds = best(partial(rule_set.verdicts, drawn, at_ms), rounds)
        of = kinds[0] if len(kinds) == 1 else "all kinds"
        print(
            f"{count:6}  {of:<12}  {1e3 * checked:8.1f}  {1e3 * compiled:10.1f}"
            f"  {1e6 * seconds / len(drawn):9.2f}"
        )
    phrases = "|".join(re.escape(KINDS["phrases"](i)) for i in range(1000))
    peer = re.compile(rf"\b(?:{phrases})\b")
    seconds = best(lambda: [peer.search(post.text.lower()) for post in drawn[:256]], rounds)
    print(f"{'peer':>6}  {'re, phrases':<12}  {'':8}  {'':10}  {1e6 * seconds / 256:9.2f}")


if __name__ == "__main__":
    main()
