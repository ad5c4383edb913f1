"""What a user asks for: decoded, and checked against the bounds of the feed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from feedmill.events.errors import BadEvent, BadSetting, UsageError
from feedmill.events.limits import MAX_ID_BYTES, check_id, check_names
from feedmill.events.reader_bounds import Range, ReaderBounds
from feedmill.events.reasons import DECODE_ERRORS, reason_of, with_suggestion
from feedmill.events.signal import SignalNames
from feedmill.events.weights import Weights, weights_decoder

MOST_IDS = 5_000
_NOT_IN_IDS = " |{}"
MOST_POSTS = 100

Id = Annotated[str, Meta(max_length=MAX_ID_BYTES)]
Ids = Annotated[tuple[Id, ...], Meta(max_length=MOST_IDS)]
Adjustments = Annotated[dict[str, float], Meta(max_length=MOST_IDS)]
Count = Annotated[int, Meta(ge=1, le=MOST_POSTS)]


class Subjects(Struct, frozen=True, forbid_unknown_fields=True):
    """Authors and communities."""

    authors: Ids = ()
    communities: Ids = ()


class Adjusted(Struct, frozen=True, forbid_unknown_fields=True):
    """How many doublings are added to the posts of an author, and of a community."""

    authors: Adjustments = {}
    communities: Adjustments = {}


class PageRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/feeds/<feed>`.

    Attributes
    ----------
    user_id
        Who reads, as in engagements; without it the user is in no experiment.
    authors, communities
        Whose posts are wanted: of any of them; the whole feed where neither is given.
    mute
        Whose posts are left out.
    weights, costs, half_life_hours, adjust
        In the place of the feed's, within its bounds.
    count, cursor
        How many posts, and the cursor of the page before.
    offsets
        Whether the answer says up to where each partition was read.
    """

    user_id: Id | None = None
    authors: Ids | None = None
    communities: Ids | None = None
    mute: Subjects = Subjects()
    weights: dict[str, float] = {}
    costs: dict[str, float] = {}
    half_life_hours: float | UnsetType = UNSET
    adjust: Adjusted = Adjusted()
    count: Count = 50
    cursor: str | None = None
    offsets: bool = False

    @property
    def is_of_some(self) -> bool:
        """Whether only posts of some authors or communities are wanted."""
        return self.authors is not None or self.communities is not None

    def weights_in(self, weights: Weights, names: SignalNames) -> Weights:
        """Return the weights of the feed, or of an arm, with what the request replaces.

        Raises `BadRequest`: none is above 0.
        """
        patch: dict[str, Any] = {**self.weights}
        if self.costs:
            patch["costs"] = self.costs
        if self.half_life_hours is not UNSET:
            patch["half_life_hours"] = self.half_life_hours
        if not patch:
            return weights
        try:
            return weights_decoder(names).patched(weights, patch)
        except BadSetting as error:
            raise BadRequest(str(error).replace("`$.value`", "`$.weights`")) from None


class BadRequest(UsageError):
    """A request that is refused, with the path, what was expected and what was found."""


_decode = msgspec.json.Decoder(PageRequest).decode
_decode_any = msgspec.json.Decoder().decode
# What msgspec says of a value of the right type beyond its limits, without the value.
_BEYOND = re.compile(
    r"(?P<expected>Expected `\w+` (?P<length>of length )?[<>]=? -?\d+)"
    r" - at `(?P<path>\$[.\w]*(\[\d+\])*)`\Z"
)
_FIELDS = (*PageRequest.__struct_fields__, *Subjects.__struct_fields__)


def decode_request(body: bytes, bounds: ReaderBounds) -> PageRequest:
    """Return the request of a body.

    Raises `BadRequest`: it is malformed, or outside of the bounds.
    """
    try:
        # Six characters are read after an escaped surrogate: without blanks a lone one at the end
        # would be called a body that ends too early.
        request = _decode(body + b"      ")
        _check_keys(body)
        _check_ids(request)
    except DECODE_ERRORS as error:
        raise BadRequest(with_suggestion(_with_found(reason_of(error), body), _FIELDS)) from None
    except BadEvent as error:
        raise BadRequest(str(error)) from None
    request = _with_each_id_once(request)
    _check_within("$.weights", request.weights, bounds.weights)
    _check_within("$.costs", request.costs, bounds.costs)
    if request.half_life_hours is not UNSET:
        _check_number("$.half_life_hours", request.half_life_hours, bounds.half_life_hours)
    for kind in ("authors", "communities"):
        for subject, doublings in getattr(request.adjust, kind).items():
            _check_number(f"$.adjust.{kind}.{subject}", doublings, bounds.adjust)
    return request


def _with_found(reason: str, body: bytes) -> str:
    """Add what was found to the refusal of a number, text or list beyond its limits."""
    match = _BEYOND.match(reason)
    if match is None:
        return reason
    try:
        found: Any = _decode_any(body)
        for key, place in re.findall(r"\.(\w+)|\[(\d+)\]", match["path"]):
            found = found[key] if key else found[int(place)]
        text = str(len(found) if match["length"] else found)[:80]
    except (*DECODE_ERRORS, LookupError, TypeError, ValueError):
        return reason  # what comes later is malformed, or there is another value of the same name
    return f"{match['expected']}, got {text} - at `{match['path']}`"


def _check_keys(body: bytes) -> None:
    """Refuse a body with an object that has a key twice: msgspec would take the last value."""
    # Numbers stay text, since no value is used and Python refuses to read very long ones.
    text = body.decode("utf-8", "replace")
    json.loads(text, object_pairs_hook=_check_pairs, parse_int=str, parse_float=str)


def _check_pairs(pairs: list[tuple[str, Any]]) -> None:
    before: set[str] = set()
    for key, _ in pairs:
        if key in before:
            raise BadEvent(f"Expected each key of an object once, got {key[:80]!r} again: keep one")
        before.add(key)


def _with_each_id_once(request: PageRequest) -> PageRequest:
    """Return the request without repeated ids in its lists, in the order of their first places."""

    def once(ids: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return ids and tuple(dict.fromkeys(ids))

    mute = Subjects(once(request.mute.authors) or (), once(request.mute.communities) or ())
    authors, communities = once(request.authors), once(request.communities)
    return replace(request, authors=authors, communities=communities, mute=mute)


def _check_ids(request: PageRequest) -> None:
    if request.user_id is not None:
        check_id(request.user_id, "$.user_id")
    adjust, mute = request.adjust, request.mute
    lists: Mapping[str, Sequence[str] | None] = {
        "$.authors": request.authors,
        "$.communities": request.communities,
        "$.mute.authors": mute.authors,
        "$.mute.communities": mute.communities,
        "$.adjust.authors": tuple(adjust.authors),
        "$.adjust.communities": tuple(adjust.communities),
    }
    for path, ids in lists.items():
        if not ids:
            continue
        if path.endswith("communities"):
            check_names(ids, path)
        else:
            _check_authors(ids, path)


def _check_authors(ids: Sequence[str], path: str) -> None:
    joined = "".join(ids)
    # Nearly all lists pass so, in a hundredth of the time of a pattern for each id.
    is_plain = joined.isascii() and joined.isprintable() and all(ids)
    if is_plain and not any(sign in joined for sign in _NOT_IN_IDS):
        return
    for place, author in enumerate(ids):
        check_id(author, f"{path}[{place}]")


def _check_within(path: str, given: Mapping[str, float], allowed: Mapping[str, Range]) -> None:
    for name, value in given.items():
        if name not in allowed:
            known = ", ".join(allowed) or "nothing"
            raise BadRequest(
                f"Expected {known}, as this feed allows, got {name[:80]!r} - at `{path}`"
            )
        _check_number(f"{path}.{name}", value, allowed[name])


def _check_number(path: str, value: float, allowed: Range | None) -> None:
    if allowed is None:
        raise BadRequest(f"Expected nothing, since this feed does not allow it - at `{path}`")
    if not allowed[0] <= value <= allowed[1]:
        low, high = allowed
        found = f"{value:.16g}"  # 2.0000001 is no 2
        raise BadRequest(f"Expected a number from {low:g} to {high:g}, got {found} - at `{path}`")
