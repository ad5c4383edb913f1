"""What operators say of a filter's posts: its rules and its lists, as they are in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from feedmill.events.post import Post
from feedmill.events.rules import Rule
from feedmill.events.settings import Settings
from feedmill.filters.lists import ListSet
from feedmill.filters.rules import RuleMatch, RuleSet, demoting_value


class RulesAndLists:
    """The rules and the lists of one filter; a rule beats every list.  It never changes."""

    def __init__(self, rules: RuleSet, lists: ListSet) -> None:
        self._rules = rules
        self._lists = lists

    def __len__(self) -> int:
        return len(self._rules) + len(self._lists)

    def verdicts(self, posts: Sequence[Post], at_ms: Sequence[int]) -> list[RuleMatch | None]:
        """The rule, else the list, that decides for each post; as `RuleSet.verdicts`."""
        decided = self._rules.verdicts(posts, at_ms)
        if len(self._lists):
            # A list looks at many posts at once, and only at those that no rule has decided.
            open_rows = [row for row, match in enumerate(decided) if match is None]
            matches = self._lists.verdicts([posts[row] for row in open_rows])
            for row, match in zip(open_rows, matches, strict=True):
                decided[row] = match
        return decided


class FilterRules:
    """The rules of one filter under the settings in force, and its released lists."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._read: Mapping[str, Rule] = {}
        self._rules = RuleSet({})
        self._in_force = RulesAndLists(self._rules, ListSet([]))
        self._lists = ListSet([])
        self._demoting = demoting_value([])

    @property
    def in_force(self) -> RulesAndLists:
        """The rules and lists in force; what it returns never changes in place."""
        return self._in_force

    def follow(self, settings: Settings) -> bool:
        """Take over new settings, between batches; return whether the rules are others now."""
        feeds = ("", *settings.gates)
        gates = [settings.gates_of(feed).get(self._name) for feed in feeds]
        self._demoting = demoting_value([gate for gate in gates if gate is not None])
        rules = settings.rules.get(self._name, {})
        if rules is self._read or rules == self._read:
            return False
        self._read, self._rules = rules, RuleSet(rules)
        self._in_force = RulesAndLists(self._rules, self._lists)
        return True

    def follow_lists(self, lists: ListSet) -> None:
        """Take over the lists that are in force now, between batches."""
        self._lists = lists
        self._in_force = RulesAndLists(self._rules, lists)

    def verdicts(self, posts: Sequence[Post], at_ms: Sequence[int]) -> list[RuleMatch | None]:
        """The rule or list that decides for each post, as `RulesAndLists.verdicts`."""
        return self._in_force.verdicts(posts, at_ms)

    def value_of(self, match: RuleMatch) -> float:
        """The gate's value, a float32, that has the verdict's effect under the gates in force."""
        return {"hide": 1.0, "demote": self._demoting, "allow": 0.0}[match.verdict]
