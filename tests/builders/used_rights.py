"""Which rights of the table `make test-secure` used, from the file that its stacks wrote.

Prints a line for each role, and ends with 1 if the authorizer allowed something beside the table,
or if a right that not only faults use was never used.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

from feedmill.events.built_in import BUILT_IN_COSTS, BUILT_IN_GATES, BUILT_IN_OBJECTIVES
from feedmill.streams.rights import ROLES

Row = tuple[str, ...]
# Roles that run the code of others, whose use of a right of both counts.
LIKE = {
    "judge": ("worker",),
    "worker": ("judge", "ranker"),
    "operator": ("viewer", "trainer"),
    "console": ("viewer", "operator", "moderator"),
}
_BUILT_IN = {f"signals.{name}" for name in (*BUILT_IN_GATES, *BUILT_IN_OBJECTIVES, *BUILT_IN_COSTS)}


def _named(row: list[str]) -> Row:
    """A row, the same for all own signals."""
    kind, name, operation = row
    is_own = name.startswith("signals.") and name not in _BUILT_IN
    return kind, "signals.<own>" if is_own else name, operation


def told(path: Path) -> tuple[list[str], bool]:
    """Return what to print of a run's file, and whether all is as the table says."""
    called: set[str] = set()
    table: dict[str, dict[Row, bool]] = defaultdict(dict)
    used: dict[str, set[Row]] = defaultdict(set)
    beside: dict[str, set[Row]] = defaultdict(set)
    for line in map(json.loads, path.read_text().splitlines()):
        role = line["role"]
        if not role:
            called |= {*line["called"]}
            continue
        table[role] |= {_named(row): at_faults for row, at_faults in line["rows"]}
        used[role] |= {*map(_named, line["used"])}
        beside[role] |= {*map(_named, line["beside"])}
    lines, is_right = [], True
    for role, rows in table.items():
        unused = rows.keys() - used[role].union(*(used[like] for like in LIKE.get(role, ())))
        wrong = {row for row in unused if not rows[row]}
        is_right &= not wrong and not beside[role]
        lines.append(
            f"{role}: used {len(rows) - len(unused)} of {len(rows)}{_list(unused - wrong)}"
        )
        lines += [f"  not used{_list(wrong)}"] if wrong else []
        lines += [f"  beside the table{_list(beside[role])}"] if beside[role] else []
    commands = {name: one.redis.commands for name, one in ROLES.items() if one.redis}
    for role in commands.keys() & table.keys():
        if uncalled := {*commands[role]} - called:
            is_right = False
            lines.append(f"{role}: Redis was not called for {', '.join(sorted(uncalled))}")
    return lines, is_right


def _list(rows: set[Row]) -> str:
    return "".join(f"; {' '.join(filter(None, row))}" for row in sorted(rows))


if __name__ == "__main__":
    said, is_right = told(Path(sys.argv[1]))
    print("\n".join(said))
    sys.exit(not is_right)
