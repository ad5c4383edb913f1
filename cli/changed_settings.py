"""The settings as a change of the command line would make them; nothing is written."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import click
import msgspec

from feedmill.cli.setting_value import parse_setting_value
from feedmill.events.errors import BadSetting, UsageError
from feedmill.events.settings import Settings
from feedmill.streams.settings.config_log import ConfigLog, encode_record


class SettingWords(NamedTuple):
    """What would be set under a key: the words after `config set KEY`."""

    key: str
    words: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command that sets it."""
        return f"feedmill config set {self.key} {shlex.join(self.words)}"


def words_by_setting(
    words: Sequence[str], feed: str, gates: Sequence[str]
) -> tuple[SettingWords, ...]:
    """Tell words for `weights/<feed>` from those for `gates/<feed>`, by the names of the gates.

    Words are pairs, or JSON of one of the two settings.
    """
    of_gates = tuple(word for word in words if _names_gate(word, gates))
    of_weights = tuple(word for word in words if word not in of_gates)
    found = (SettingWords(f"weights/{feed}", of_weights), SettingWords(f"gates/{feed}", of_gates))
    return tuple(one for one in found if one.words)


def changed_settings(log: ConfigLog, changes: Sequence[SettingWords]) -> Settings:
    """Return the settings in force with changes.

    Raises
    ------
    click.UsageError
        The words are neither JSON nor pairs.
    BadSetting
        A stage would refuse the change.
    """
    settings = log.settings
    for key, words in changes:
        try:
            record = encode_record(parse_setting_value(log, key, words))
            settings = settings.fold(key.encode(), record, settings.offset + 1)
        except UsageError as error:
            raise click.UsageError(str(error)) from None
        except BadSetting as error:
            raise BadSetting(f"`{key}` would be refused: {error}") from None
    return settings


def _names_gate(word: str, gates: Sequence[str]) -> bool:
    return any(name.partition(".")[0] in gates for name in _names(word))


def _names(word: str) -> Iterator[str]:
    """The fields that a word names: of a pair its own, of JSON those of the object."""
    if not word.lstrip().startswith("{"):
        yield word.partition("=")[0]
        return
    try:
        yield from msgspec.json.decode(word, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError):
        return  # whoever parses the value says what is wrong
