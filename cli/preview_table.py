"""A preview of a feed, and suggested scales, as plain tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import numpy as np

from feedmill.cli.changed_settings import SettingWords
from feedmill.cli.feed_table import age_text
from feedmill.cli.output import print_table, short_json
from feedmill.events.weights import OBJECTIVE_ALIASES
from feedmill.operations.preview.feed_preview import FeedPreview, FeedSide, PreviewedPost
from feedmill.operations.preview.scale_suggestion import SuggestedScale, Suggestion


def print_preview(preview: FeedPreview, changes: Sequence[SettingWords]) -> None:
    """Print how a feed would change, and the commands that change it so."""
    top = _compared(preview)
    print_summary(preview)
    entering, leaving, moving = preview.entering, preview.leaving, preview.moving
    click.echo(
        f"\nposts: {len(entering):,} entering, {len(leaving):,} leaving, {len(moving):,} of the"
        f" others moving; the best {min(top, preview.then.posts)} then:"
    )
    print_table(*_top_table(preview))
    left = [post for post in leaving if post.rank_now is not None and post.rank_now <= top]
    if left:
        click.echo("\nleaving from the best of now:")
        columns = ("rank now>", "post", "author", "decision then")
        rows = [(str(p.rank_now), p.post_id, p.author_id, p.decision) for p in left]
        print_table(columns, rows)
    click.echo("\nnothing was changed; this sets it for the feed:")
    for change in changes:
        click.echo(f"  {change.command}")


def print_summary(preview: FeedPreview) -> None:
    """Print which settings of a feed change, and what its top is worth now and then."""
    click.echo(f"{preview.feed}, {_changes_text(preview)}")
    print_table(("", "now>", "then>"), _summary(preview, _compared(preview)))


def print_suggestion(suggestion: Suggestion) -> None:
    """Print what each objective wins now and at the suggested scales."""
    click.echo(
        f"{suggestion.feed}: {suggestion.posts:,} posts of {suggestion.communities:,} communities;"
        f" scales beside {suggestion.reference}, at equal weights:\n"
    )
    columns = ("posts", "pairs apart>", "wins now>", "then>", "95 %", "a quarter each")
    for one in suggestion.scales:
        click.echo(f"{one.objective}: scale {one.now:g} → {one.suggested:g}")
        print_table(columns, [_kind_row(one, kind) for kind in one.kinds])
        if not one.is_fair:
            fairest = [float(np.median(pairs.ratios)) for pairs in one.kinds.values()]
            click.echo(
                "no scale gives each a quarter of both kinds: the fairest of the one is"
                f" {max(fairest) / min(fairest):.1f} times that of the other"
            )


def _kind_row(one: SuggestedScale, kind: str) -> tuple[str, ...]:
    pairs = one.kinds[kind]
    (low, high), (least, most) = pairs.fair_range, pairs.interval(one.suggested)
    return (
        kind,
        f"{len(pairs.ratios):,}",
        f"{pairs.share(one.now):.0%}",
        f"{pairs.share(one.suggested):.0%}",
        f"{least:.0%} to {most:.0%}",
        f"scale {low:.3g} to {high:.3g}",
    )


def _compared(preview: FeedPreview) -> int:
    """How many posts the top has, now or then."""
    return min(preview.top, max(preview.now.posts, preview.then.posts))


def _changes_text(preview: FeedPreview) -> str:
    """The fields that change, by their paths: `beta 0.5 → 0.8`."""
    aliases = {objective: alias for alias, objective in OBJECTIVE_ALIASES.items()}
    changed = []
    for part in ("weights", "gates"):
        now, then = (dict(_flat(side.as_dict()[part])) for side in (preview.now, preview.then))
        for name in {**now, **then}:
            # A cost that is left out is 0.
            values = [short_json(side.get(name, 0)) for side in (now, then)]
            if values[0] != values[1]:
                changed.append(f"{aliases.get(name, name)} {' → '.join(values)}")
    return ", ".join(changed) or "no field changes"


def _flat(fields: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, object]]:
    """Each field by its path, as `config set` takes it."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{name}.")
        else:
            yield path + name, value


def _scored(preview: FeedPreview) -> tuple[str, ...]:
    """The objectives and costs that count now or then, or of which the top has values."""
    sides = preview.now, preview.then
    counted = {name for side in sides for name in side.weights.signals}
    counted |= {name for side in sides for name, mean in side.top_means.items() if mean}
    found = {**preview.now.top_means, **preview.then.top_means}
    return tuple(name for name in found if name in counted)


def _summary(preview: FeedPreview, top: int) -> list[tuple[str, ...]]:
    now, then = preview.now, preview.then
    rows: list[tuple[str, ...]] = [
        ("posts", f"{now.posts:,}", f"{then.posts:,}"),
        ("authors", f"{now.authors:,}", f"{then.authors:,}"),
        (f"authors of the top {top}", str(now.top_authors), str(then.top_authors)),
        (f"demoted in the top {top}", str(now.top_demoted), str(then.top_demoted)),
        (f"median age of the top {top}", *(_age(side) for side in (now, then))),
    ]
    for name in _scored(preview):
        means = (_number(side.top_means.get(name), 4) for side in (now, then))
        rows.append((f"mean {name} of the top {top}", *means))
    return rows


def _age(side: FeedSide) -> str:
    return "-" if side.top_age_ms is None else age_text(side.top_age_ms)


def _top_table(preview: FeedPreview) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows as `feedmill feed` has them, with the ranks gained."""
    scored, gates = _scored(preview), tuple(preview.then.gates)
    of_signals = (*(f"{name}>" for name in scored), f"{'/'.join(gates)}>")
    columns = ("rank>", "", "score>", "post", "age>", "author", "decision", *of_signals)
    rows = [
        (
            str(post.rank),
            _gained(post),
            f"{round(post.score or 0.0, 4) + 0.0:.4f}",
            post.post_id,
            age_text(preview.at_ms - post.created_ms),
            post.author_id,
            post.decision,
            *(_number(post.signals.get(name), 4) for name in scored),
            "/".join(_number(post.signals.get(name), 2) for name in gates),
        )
        for post in preview.ranked[: min(preview.top, preview.then.posts)]
    ]
    return columns, rows


def _gained(post: PreviewedPost) -> str:
    if post.gained is None:
        return "new"
    if not post.gained:
        return "·"
    return f"▲{post.gained}" if post.gained > 0 else f"▼{-post.gained}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
