"""What operators say of a filter's posts: its rules and its lists, as they are in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from feedmill.events.post import Post
from feedmill.events.rules import Rule
from feedmill.events.settings import Settings
from feedmill.filters.lists import ListSet
from feedmill.filters.rules import RuleMatch, RuleSet, demoting_value


@dataclass(frozen=True)
class RulesAndLists:
    """The rules and the lists of one filter; a rule beats every list."""

    rules: RuleSet
    lists: ListSet

    def __len__(self) -> int:
        return len(self.rules) + self.lists.count

    def verdicts(self, posts: Sequence[Post], at_ms: Sequence[int]) -> list[RuleMatch | None]:
        """The rule, else the list, that decides for each post; as `RuleSet.verdicts`."""
        decided = self.rules.verdicts(posts, at_ms)
        if self.lists.count:
            # A list looks at many posts at once, and only at those that no rule has decided.
            open_rows = [row for row, match in enumerate(decided) if match is None]
            matches = self.lists.verdicts([posts[row] for row in open_rows])
            for row, match in zip(open_rows, matches, strict=True):
                decided[row] = match
        return decided


class FilterRules:
    """The rules of one filter under the settings in force, and its released lists.

    Attributes
    ----------
    in_force
        The rules and lists in force; replaced as a whole.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._read: Mapping[str, Rule] = {}
        self.in_force = RulesAndLists(RuleSet({}), ListSet([]))
        self._demoting = demoting_value([])

    def follow(self, settings: Settings) -> bool:
        """Take over new settings, between batches; return whether the rules are others now."""
        feeds = ("", *settings.gates)
        gates = [settings.gates_of(feed).get(self._name) for feed in feeds]
        self._demoting = demoting_value([gate for gate in gates if gate is not None])
        rules = settings.rules.get(self._name, {})
        if rules is self._read or rules == self._read:
            return False
        self._read = rules
        self.in_force = replace(self.in_force, rules=RuleSet(rules))
        return True

    def follow_lists(self, lists: ListSet) -> None:
        """Take over the lists that are in force now, between batches."""
        self.in_force = replace(self.in_force, lists=lists)

    def value_of(self, match: RuleMatch) -> float:
        """The gate's value, a float32, that has the verdict's effect under the gates in force."""
        return {"hide": 1.0, "demote": self._demoting, "allow": 0.0}[match.verdict]
