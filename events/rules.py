"""What operators know for certain: phrases, hosts, patterns, hashes, authors and labels by rule.

The setting `rules/<filter>`, checked whole.  `filters/rules.py` applies it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal
from unicodedata import category

import msgspec
import re2
from msgspec import Meta, Struct

from feedmill.events.errors import BadEvent, BadSetting
from feedmill.events.limits import (
    NAME_PATTERN,
    Id,
    Sha256,
    Short,
    TimeMs,
    check_id,
    explain_patterns,
)

MAX_RULES = 1_000
MAX_ENTRIES = 10_000
MAX_PATTERN_CHARACTERS = 500
# A pattern's program: 16 bytes an instruction, a third of the memory is for the search itself.
PATTERN_MEMORY = 256 * 1024
# All patterns of a setting are searched for at once, at worst an instruction a byte of text.
MAX_INSTRUCTIONS = 20_000

RuleAction = Literal["hide", "demote", "allow"]
Rules = Mapping[str, "Rule"]

_NAME = re.compile(NAME_PATTERN)
_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL.replace('9', '9_')}\.)+{_LABEL}\.?\Z", re.IGNORECASE)

Phrase = Annotated[str, Meta(min_length=1, max_length=200)]
Domain = Annotated[str, Meta(min_length=1, max_length=253)]
PatternText = Annotated[str, Meta(min_length=1, max_length=MAX_PATTERN_CHARACTERS)]
SelfLabel = Annotated[str, Meta(min_length=1, max_length=128)]


class Rule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rule: a post that shows any of its entries has its verdict, until it runs out."""

    verdict: RuleAction
    phrases: tuple[Phrase, ...] = ()
    domains: tuple[Domain, ...] = ()
    patterns: tuple[PatternText, ...] = ()
    media_sha256: tuple[Sha256, ...] = ()
    authors: tuple[Id, ...] = ()
    self_labels: tuple[SelfLabel, ...] = ()
    expires_at_ms: TimeMs | None = None
    note: Short | None = None

    @property
    def size(self) -> int:
        """How many entries it has."""
        kinds = (self.phrases, self.domains, self.patterns, self.media_sha256)
        return sum(map(len, (*kinds, self.authors, self.self_labels)))


def decode_rules(value: Mapping[str, Any]) -> dict[str, Rule]:
    """The rules by name of a setting's value.

    Raises
    ------
    BadSetting
        Something in it is wrong: which rule, what was expected, what was found.
    """
    if len(value) > MAX_RULES:
        raise BadSetting(f"Expected at most {MAX_RULES} rules, got {len(value)}")
    rules = {name: _read_rule(name, rule) for name, rule in value.items()}
    entries = sum(rule.size for rule in rules.values())
    if entries > MAX_ENTRIES:
        raise BadSetting(f"Expected at most {MAX_ENTRIES} entries in all rules, got {entries}")
    instructions = sum(_check_patterns(name, rule.patterns) for name, rule in rules.items())
    if instructions > MAX_INSTRUCTIONS:
        raise BadSetting(
            f"Expected patterns of at most {MAX_INSTRUCTIONS} RE2 instructions in all rules, got"
            f" {instructions}; use phrases, shorter repetitions, or fewer classes such as \\pL"
        )
    return rules


def _read_rule(name: str, value: object) -> Rule:
    if not _NAME.match(name):
        raise BadSetting(
            "Expected a rule's name of 1 to 64 letters, digits, `.`, `_` and `-`, got "
            f"{name[:80]!r}"
        )
    try:
        rule = msgspec.convert(value, Rule)
        for author in rule.authors:
            check_id(author, "$.authors")
    except (msgspec.ValidationError, BadEvent) as error:
        path = f"$.value.{name}"
        text = explain_patterns(str(error))
        if " - at `$" not in text:
            raise BadSetting(f"{text} - at `{path}`") from None
        raise BadSetting(text.replace(" - at `$", f" - at `{path}")) from None
    if not rule.size:
        raise BadSetting(
            f"Rule `{name}` says of nothing that it is to {rule.verdict}; give it phrases, domains,"
            " patterns, media_sha256, authors or self_labels"
        )
    for domain in rule.domains:
        _check_domain(name, domain)
    for phrase in rule.phrases:
        if not any(category(character)[0] in "LNS" for character in phrase):
            raise BadSetting(
                f"Rule `{name}`: the phrase {phrase[:80]!r} has no letter, digit or symbol"
            )
    return rule


def _check_domain(name: str, domain: str) -> None:
    try:
        ascii_form = domain.encode("idna").decode("ascii")
    except UnicodeError:
        ascii_form = ""
    if not _DOMAIN.match(ascii_form):
        raise BadSetting(
            f"Rule `{name}`: expected a domain such as `example.org`, without scheme, port, path"
            f" and `*` (its subdomains are meant too), got {domain[:80]!r}"
        )


def _check_patterns(name: str, patterns: Iterable[str]) -> int:
    """How many instructions they take; raise `BadSetting` for one that cannot be used."""
    return sum(_check_pattern(name, pattern) for pattern in patterns)


def _check_pattern(name: str, pattern: str) -> int:
    try:
        compiled = compile_pattern(pattern)
    except re2.error as error:
        said = error.args[0]
        reason = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise BadSetting(
            f"Rule `{name}`: RE2 refuses the pattern {pattern[:80]!r}: {reason[:200]}"
        ) from None
    try:
        compile_pattern(f"(?:{pattern})")
    except re2.error:
        raise BadSetting(
            f"Rule `{name}`: the pattern {pattern[:80]!r} cannot stand beside others; close its"
            " \\Q by \\E"
        ) from None
    if compiled.search(b"") is not None:
        raise BadSetting(
            f"Rule `{name}`: the pattern {pattern[:80]!r} matches the empty text, and so every post"
        )
    return int(compiled.programsize)


def compile_pattern(pattern: str, memory: int = PATTERN_MEMORY) -> Any:
    """A pattern in RE2's syntax, for UTF-8 bytes: linear in the text, bounded in memory.

    Raises
    ------
    re2.error
        RE2 cannot read it, or it takes more than `memory` bytes.
    """
    options = re2.Options()
    options.max_mem = memory
    options.log_errors = False
    options.never_capture = True
    return re2.compile(pattern, options)
