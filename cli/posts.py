"""`feedmill posts`: recent posts with their words, what decided about them, and who complained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from feedmill.cli import COUNT, Duration, flag, option
from feedmill.cli.options import asks_installation
from feedmill.cli.output import Answer, Columns, on_one_line, plain_table, table_of
from feedmill.cli.posts_on_kafka import read_for_command, timeout_option
from feedmill.events.errors import UsageError
from feedmill.operations.post_list import ListedPost, TextView, count_complaints, list_posts
from feedmill.operations.setting_changes import read_settings_log
from feedmill.operations.times import age_text
from feedmill.streams.environment import Environment
from feedmill.streams.settings.clock import now_ms

_DECISIONS = {"hidden": "hide", "demoted": "demote", "held": "hold"}
_COLUMNS: Columns = {
    "post": "post_id",
    "age>": lambda post: age_text(now_ms() - post.created_ms),
    "author": "author_id",
    "decision": "decision",
    "decided by": "decided_by",
    "reports>": lambda post: str(post.reports or ""),
    "hides>": lambda post: str(post.hides or ""),
    "near": "near",
}


@click.command()
@flag("--hidden", "Posts that are hidden.")
@flag("--demoted", "Posts that are demoted.")
@flag("--held", "Posts that wait for a verdict.")
@flag("--reported", "Posts that users reported, the most often first.")
@flag("--near-threshold", "Posts within 0.05 of a gate's threshold.")
@option("--since", "Posts of so long.  [1h]", Duration(), 3_600_000)
@option("--feed FEED", "Posts of FEED, decided by its gates.", default="")
@option("--author ID", "Posts of this author.")
@option("--limit", "Show so many.  [50]", COUNT, 50)
@timeout_option
@asks_installation
def posts(
    environment: Environment,
    *,
    reported: bool,
    near_threshold: bool,
    since: int,
    feed: str,
    author: str | None,
    limit: int,
    patience_ms: int,
    **decisions: bool,
) -> Answer:
    """List recent posts, the newest first: their first words, author, decision and complaints.

    Of several filters a post must meet one.  Reports and hides are how many users sent such an
    engagement in that time.  `feedmill explain` tells more of one post.
    """
    since_ms, view = now_ms() - since, TextView(environment.signals)
    settings = read_settings_log(environment).settings
    if feed and settings.feed_of(feed) is None:
        raise UsageError(f"no feed `{feed}`: no setting and no pattern has it (`config get`)")
    read_for_command(environment, view, patience_ms / 1000, since_ms=since_ms)
    found = list_posts(view, settings, feed, count_complaints(environment, since_ms), now_ms())
    if author is not None:
        found = [post for post in found if post.author_id == author]
    wanted = {_DECISIONS[name] for name, is_wanted in decisions.items() if is_wanted}
    if wanted or reported or near_threshold:
        found = [
            post
            for post in found
            if post.decision in wanted
            or (reported and post.reports)
            or (near_threshold and post.near)
        ]
    if reported:
        found.sort(key=lambda post: -post.reports)
    return Answer(found[:limit], _lines(found, limit))


def _lines(found: Sequence[ListedPost], limit: int) -> Iterator[str]:
    if not found:
        yield "no such post came in this time; give a longer --since"
        return
    heading, *lines = plain_table(*table_of(found[:limit], _COLUMNS)).splitlines()
    yield heading
    for post, line in zip(found, lines, strict=False):
        yield f"{line}\n    {on_one_line(post.text)}"
    if len(found) > limit:
        yield f"and {len(found) - limit:,} more: --limit shows more of them"
