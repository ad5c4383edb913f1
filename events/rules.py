"""The rules of operators: the setting `rules/<filter>`, checked whole.

A rule names phrases, domains, patterns, hashes of media, authors or self labels, and what happens
to a post that has one of them.  `filters/rules.py` applies it.
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
from feedmill.events.limits import NAME_PATTERN, Id, Sha256, ShortText, TimeMs, check_id
from feedmill.events.reasons import reason_of, with_suggestion

MAX_RULES = 1_000
MAX_ENTRIES = 10_000
MAX_PHRASE_CHARACTERS = 200
MAX_PATTERN_CHARACTERS = 500
# Of one compiled pattern: 16 bytes an instruction, and a third of it for the search itself.
PATTERN_MEMORY_BYTES = 256 * 1024
# All patterns of a setting are searched at once: at worst so many steps for each byte of a text.
MAX_PATTERN_INSTRUCTIONS = 20_000

RuleAction = Literal["hide", "demote", "allow"]
Rules = Mapping[str, "Rule"]

_NAME = re.compile(NAME_PATTERN)
_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL.replace('9', '9_')}\.)+{_LABEL}\.?\Z", re.IGNORECASE)

# What `is_domain` accepts, for messages.
A_DOMAIN = (
    "a domain such as `example.org`, without scheme, port, path and `*` (it includes its"
    " subdomains)"
)

Phrase = Annotated[str, Meta(min_length=1, max_length=MAX_PHRASE_CHARACTERS)]
Domain = Annotated[str, Meta(min_length=1, max_length=253)]
PatternText = Annotated[str, Meta(min_length=1, max_length=MAX_PATTERN_CHARACTERS)]
SelfLabel = Annotated[str, Meta(min_length=1, max_length=128)]


class Rule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rule: a post that has any of its entries gets its verdict, until the rule expires."""

    verdict: RuleAction
    phrases: tuple[Phrase, ...] = ()
    domains: tuple[Domain, ...] = ()
    patterns: tuple[PatternText, ...] = ()
    media_sha256: tuple[Sha256, ...] = ()
    authors: tuple[Id, ...] = ()
    self_labels: tuple[SelfLabel, ...] = ()
    expires_at_ms: TimeMs | None = None
    note: ShortText | None = None

    @property
    def entry_count(self) -> int:
        """How many entries it has, of all kinds."""
        kinds = (self.phrases, self.domains, self.patterns, self.media_sha256)
        return sum(map(len, (*kinds, self.authors, self.self_labels)))


def decode_rules(value: Mapping[str, Any]) -> dict[str, Rule]:
    """Return the rules of a setting's value, by name.

    Raises
    ------
    BadSetting
        The first thing that is wrong: in which rule, what was expected, what was found.
    """
    if len(value) > MAX_RULES:
        raise BadSetting(f"Expected at most {MAX_RULES} rules, got {len(value)}")
    rules = {name: _decode_rule(name, rule) for name, rule in value.items()}
    entries = sum(rule.entry_count for rule in rules.values())
    if entries > MAX_ENTRIES:
        raise BadSetting(f"Expected at most {MAX_ENTRIES} entries in all rules, got {entries}")
    instructions = sum(_check_patterns(name, rule.patterns) for name, rule in rules.items())
    if instructions > MAX_PATTERN_INSTRUCTIONS:
        raise BadSetting(
            f"Expected patterns of at most {MAX_PATTERN_INSTRUCTIONS} RE2 instructions in all"
            f" rules, got {instructions}; use phrases, shorter repetitions, or fewer classes such"
            " as \\pL"
        )
    return rules


def _decode_rule(name: str, value: object) -> Rule:
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
        reason = reason_of(error, f"$.value.{name}")
        raise BadSetting(with_suggestion(reason, Rule.__struct_fields__)) from None
    if not rule.entry_count:
        raise BadSetting(
            f"Rule `{name}` has no entries, so it matches no post; give it phrases, domains,"
            " patterns, media_sha256, authors or self_labels"
        )
    for domain in rule.domains:
        _check_domain(name, domain)
    for phrase in rule.phrases:
        if not any(category(character)[0] in "LNS" for character in phrase):
            raise BadSetting(
                f"Rule `{name}`: expected a phrase with a letter, a digit or a symbol such as `$`,"
                f" got {phrase[:80]!r}"
            )
    return rule


def _check_domain(name: str, domain: str) -> None:
    if not is_domain(domain):
        raise BadSetting(f"Rule `{name}`: expected {A_DOMAIN}, got {domain[:80]!r}")


def is_domain(text: str) -> bool:
    """Return whether a text is a domain as rules and lists name them, in Unicode or as `xn--`."""
    try:
        ascii_form = text.encode("idna").decode("ascii")
    except UnicodeError:
        return False
    return _DOMAIN.match(ascii_form) is not None


def _check_patterns(name: str, patterns: Iterable[str]) -> int:
    """Return how many RE2 instructions patterns take; raise `BadSetting` for an unusable one."""
    return sum(_check_pattern(name, pattern) for pattern in patterns)


def _check_pattern(name: str, pattern: str) -> int:
    try:
        compiled = compile_pattern(pattern)
    except re2.error as error:
        message = error.args[0]
        reason = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
        raise BadSetting(
            f"Rule `{name}`: RE2 refuses the pattern {pattern[:80]!r}: {reason[:200]}"
        ) from None
    try:
        compile_pattern(f"(?:{pattern})")
    except re2.error:
        raise BadSetting(
            f"Rule `{name}`: the pattern {pattern[:80]!r} cannot be combined with others; end its"
            " \\Q with \\E"
        ) from None
    if compiled.search(b"") is not None:
        raise BadSetting(
            f"Rule `{name}`: the pattern {pattern[:80]!r} matches the empty text, and so every"
            " post; it must require a character"
        )
    return int(compiled.programsize)


def compile_pattern(pattern: str, memory_bytes: int = PATTERN_MEMORY_BYTES) -> Any:
    """Compile a pattern in RE2's syntax, to search UTF-8 bytes in linear time.

    Raises
    ------
    re2.error
        RE2 cannot parse the pattern, or it takes more than `memory_bytes`.
    """
    options = re2.Options()
    options.max_mem = memory_bytes
    options.log_errors = False
    options.never_capture = True
    return re2.compile(pattern, options)
