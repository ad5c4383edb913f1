"""The sentences of the demo's ordinary posts, in English (German: `voices_de`).

Everything was written for this file.

A post consists of many parts that are drawn independently: who, when, an aside, the things of its
community. Hence few posts are near duplicates, which the spam filter would take for a campaign.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from feedmill.simulation import voices_de

ENGLISH: Final[Mapping[str, tuple[str, ...]]] = {
    "opener": (
        "Small update:",
        "For the record:",
        "At last:",
        "A note to myself:",
        "Good news:",
        "Mixed news:",
        "As promised:",
        "Nobody asked, but:",
        "Slow progress:",
        "From my notebook:",
        "Late to this, I know:",
        "After a long break:",
        "New to me:",
        "Half a success:",
        "An honest report:",
        "Against my own advice:",
    ),
    "when": (
        "this week",
        "over the long weekend",
        "since the start of the month",
        "on two rainy evenings",
        "before breakfast",
        "during the holidays",
        "with a heavy cold",
        "between two meetings",
        "since Easter",
        "for a bet",
        "after work",
        "on a slow Sunday",
        "with the radio on",
        "without any plan",
        "in one long sitting",
        "every morning for {n} days",
        "as soon as the children slept",
        "on the last warm day",
    ),
    "who": (
        "my neighbour",
        "a colleague",
        "my sister",
        "an old friend",
        "my father",
        "somebody from the club",
        "the man at the counter",
        "my flatmate",
        "a stranger on the train",
        "our youngest",
        "my other half",
        "a retired teacher",
        "the woman next door",
        "a regular of this group",
    ),
    "aside": (
        "{who} had told me so {n} months ago",
        "{who} laughed first and then wanted a try too",
        "It cost less than I had feared",
        "It took {n} attempts and most of my patience",
        "I should have asked {who} much earlier",
        "Next time I begin {when}",
        "Half of the credit belongs to {who}",
        "Not perfect by any means, but mine",
        "Half of it was plain luck",
        "The second half went better than the first",
        "I nearly gave up on day {n}",
        "Pictures follow when the light improves",
        "Whether it was worth {n} hours I cannot say yet",
        "{who} disagrees, of course",
        "No idea why I put it off for so long",
        "Let us see how it survives the winter",
        "That leaves {n} more items on my list",
        "I had meant to spend the day otherwise",
        "Sleeping on it helped more than thinking",
        "The printed instructions were no use whatever",
        "My diary claims that I failed at this {n} years back",
        "From outside one hardly sees a difference",
        "Keeping at it is the hard part now",
        "{who} kindly lent me what was missing",
        "The remainder can wait for longer days",
        "My back complains a little",
        "I wrote every step down, for once",
        "Twice I had to start from nothing",
        "{who} watched and said nothing, which is rare",
        "The forecast had promised something else",
    ),
    "lesson": (
        "The first {n} attempts taught me more than any book",
        "What surprised me was how little talent has to do with it",
        "I changed a single thing at a time and noted what followed",
        "{who} asked one question, and I had to begin again",
        "I started with the part I understood least, which I recommend",
        "Half way through I threw everything out",
        "Most advice on {thing} was written by people in a hurry",
        "The cheap way turned out to be the slow one",
        "Doing it badly {n} times beats planning it once",
        "A list on paper kept me from fooling myself",
        "Comparing notes with {who} saved me a week",
        "My mistake was to trust a number that nobody had checked",
        "Whatever looks obvious today was a mystery {n} days ago",
        "Stopping early, {when}, did more good than going on",
        "The boring explanation was right again",
        "I measured, because {who} would not believe me otherwise",
    ),
    "closing": (
        "Happy to answer questions",
        "Corrections are welcome",
        "Tell me what I overlooked",
        "More as soon as I know more",
        "I wonder what you would have done",
        "Thanks to all who replied last time",
        "I will report back in {n} weeks",
        "If you know a shorter way, please say so",
        "Your turn now",
        "Next on the list: {thing}",
        "That is all for today",
        "Thank you for reading this far",
        "Whoever has compared it with {thing} may speak up",
        "I owe {who} a coffee",
    ),
    "shrug": ("idk", "lol", "whatever", "just asking", "hm", "not sure tbh", "anyway", "help"),
}

# By how good the post is: throwaway, ordinary, careful.
FRAMES: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "de": voices_de.FRAMES,
    "en": (
        (
            "{n} hours of {thing} {shrug}",
            "anyone else into {act} {thing}??",
            "so bored {when}. {act} {thing} maybe?",
            "first post here, {act} {thing} i guess",
            "{question}?",
            "{shrug}. {question}?",
            "day {n} of {thing}, thoughts?",
            "this. {thing} and {thing}",
            "{thing} {shrug}, anyone?",
            "{who} says {thing}?? {shrug}",
        ),
        (
            "Tried {act} {thing} {when}: {result}.",
            "{opener} {act} {thing} {when}, and {result}.",
            "A question about {thing}: {question}? So far {result}.",
            "{n} days of {act} {thing}, and {result}. {aside}.",
            "{opener} {thing}. {detail}. {closing}.",
            "After some {act} {when}, a note on {thing}: {result}.",
            "{aside}. Still, {act} {thing} {when} was right.",
            "{who} got me into {act} {thing}. {aside}.",
            "{thing} {when}: {result}. {closing}.",
            "{who} and I were {act} {thing} {when}. {closing}.",
            "{act} {thing} {when}. {aside}.",
        ),
        (
            "What I learned from {act} {thing} {when}: {result}. {detail}. {lesson}. {detail}. "
            "{closing}.",
            "{detail}. {lesson}. That is what {n} days of {act} {thing} came down to. {detail}. In "
            "the end {result}.",
            "A short guide to {thing}, after {n} attempts. {detail}. {lesson}. {detail}. "
            "Result: {result}. {closing}.",
            "Why {act} {thing} took me {n} evenings, and what I would do differently. {detail}. "
            "{lesson}. {detail}. {aside}.",
            "{lesson}. I say that after {act} {thing} {when}. {detail}. {detail}. So far {result}. "
            "{closing}.",
            "Notes on {act} {thing}, for whoever comes next. {detail}. {aside}. {detail}. "
            "{lesson}. By now {result}.",
            "{opener} {n} days of {act} {thing}. {lesson}. {detail}. {detail}. {aside}. And yes, "
            "{result}.",
            "{opener} {act} {thing} {when}, and {result}. How it went: {detail}. {lesson}. "
            "{aside}. {detail}. {closing}.",
        ),
    ),
}

VOICES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "de": voices_de.GERMAN,
    "en": ENGLISH,
}
