"""What the simulated communities of the demo talk about, in English; see `phrases_de`.

All of it was written for this file; no text of any data set stands here.  Braces are filled
from the same table: `{thing}`, `{act}`, …, and `{n}` with a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from feedmill.streams.replay import phrases_de

Words = Mapping[str, tuple[str, ...]]

COMMUNITIES: Final = ("python", "cooking", "cycling", "photography", "local-news", "gaming")

TOPICS: Final[Mapping[tuple[str, str], Words]] = {
    **phrases_de.TOPICS,
    ("python", "en"): {
        "thing": (
            "dataclasses",
            "generators",
            "type hints",
            "asyncio",
            "a plugin system",
            "our test suite",
            "a parser",
            "numpy arrays",
            "context managers",
            "packaging",
            "logging",
            "a small web service",
            "a command line tool",
            "the import system",
        ),
        "act": (
            "rewriting",
            "profiling",
            "testing",
            "documenting",
            "porting",
            "simplifying",
            "debugging",
            "benchmarking",
        ),
        "result": (
            "start-up went from {n} seconds to under one",
            "memory fell by {n} percent",
            "the code is {n} lines shorter and reads better",
            "three old bugs showed up on the first day",
            "the tests now finish before my coffee does",
            "nothing got faster, but I finally understand it",
        ),
        "detail": (
            "The slow part was a list that was searched {n} times per request; a set fixed it",
            "I measured before and after on the same machine and kept the script",
            "Most of the time went into one function that copied its input for no reason",
            "The trick is to keep the input and output at the edge and the rest plain functions",
            "A property based test found an off by one error within {n} seconds",
            "We deleted the cache, because it was wrong more often than it was useful",
        ),
        "question": (
            "how do you lay out a project with {n} modules",
            "do you use a lock file for libraries",
            "what is your rule for catching exceptions",
            "is there a good way to test code that waits",
        ),
    },
    ("cooking", "en"): {
        "thing": (
            "sourdough bread",
            "lentil soup",
            "a mushroom risotto",
            "roast cauliflower",
            "fresh pasta",
            "a chickpea curry",
            "apple cake",
            "tomato sauce",
            "pickled onions",
            "a potato gratin",
            "dumplings",
            "flatbread",
        ),
        "act": (
            "baking",
            "braising",
            "freezing",
            "making",
            "serving",
            "reheating",
            "seasoning",
        ),
        "result": (
            "the crust stays crisp for two days",
            "even the children asked for more",
            "it takes {n} minutes and one pan",
            "it tastes better the next day",
            "it came out dry again, my oven must run hot",
        ),
        "detail": (
            "Salt the water well and keep a cup of it for the sauce",
            "Toast the spices for {n} seconds until you can smell them, not longer",
            "Let the dough rest in the fridge overnight; the flavour is worth the wait",
            "I weigh everything now: {n} grams more water made all the difference",
            "A spoon of vinegar at the end wakes the whole dish up",
            "Roast the tomatoes at a low heat for {n} minutes before they go into the pot",
        ),
        "question": (
            "what do you do with leftover rice",
            "which flour do you use for this",
            "can this be frozen for {n} days",
            "how do you keep herbs fresh",
        ),
    },
    ("cycling", "en"): {
        "thing": (
            "my old steel frame",
            "the river route",
            "tubeless tyres",
            "a dynamo light",
            "the hill behind the mill",
            "winter commuting",
            "a used touring bike",
            "the new bike lane",
            "my saddle",
            "disc brakes",
        ),
        "act": (
            "riding",
            "repairing",
            "trying",
            "cleaning",
            "adjusting",
            "touring with",
            "testing",
        ),
        "result": (
            "{n} kilometres without a single stop",
            "my knees stopped hurting",
            "the rattle is gone at last",
            "I was {n} minutes faster than by car",
            "I walked home, pump in hand",
        ),
        "detail": (
            "Raising the saddle by {n} millimetres was all it took",
            "I carry a spare tube, two levers and a small pump, and have needed them twice",
            "Check the chain with a gauge every {n} weeks; it saves the expensive parts",
            "The descent is gravel, so let some air out before the top",
            "The light runs from the hub, so there is no battery to forget",
            "We split the tour into {n} short days and had time to swim",
        ),
        "question": (
            "which lock do you trust in the city",
            "how wide are your tyres",
            "is {n} gears too many for a commuter",
            "how do you carry a laptop in the rain",
        ),
    },
    ("photography", "en"): {
        "thing": (
            "a 35 mm lens",
            "black and white film",
            "the harbour at dawn",
            "street portraits",
            "long exposures",
            "a cheap tripod",
            "window light",
            "my first darkroom print",
            "the night sky",
            "fog over the fields",
        ),
        "act": (
            "shooting",
            "scanning",
            "editing",
            "printing",
            "learning",
            "waiting for",
            "framing",
        ),
        "result": (
            "one of {n} frames was worth keeping",
            "the shadows finally have detail",
            "the colours look the way I remember them",
            "everything is slightly out of focus",
            "I sold the first print ever",
        ),
        "detail": (
            "I exposed for the highlights and lifted the shadows by one stop afterwards",
            "Exposure was {n} seconds at f/8, on a wall because the tripod stayed at home",
            "Stand with your back to the window and wait until people forget the camera",
            "I kept one lens for {n} weeks, and stopped thinking about equipment",
            "The fog lifts about {n} minutes after sunrise, so be there before",
            "A sheet of white card brought the light back into the face",
        ),
        "question": (
            "how do you back up {n} thousand pictures",
            "which film for a cloudy day",
            "do you ask before you photograph people",
            "how do you sort after a trip",
        ),
    },
    ("local-news", "en"): {
        "thing": (
            "the library",
            "the swimming pool",
            "the bridge on Mill Street",
            "the night bus",
            "the weekly market",
            "the school kitchen",
            "the town archive",
            "the tram extension",
            "the park by the station",
            "the fire brigade",
        ),
        "act": (
            "reopening",
            "repairing",
            "financing",
            "planning",
            "moving",
            "visiting",
            "saving",
        ),
        "result": (
            "the council voted {n} to {m}",
            "work begins in {n} weeks",
            "the costs rose by {n} percent",
            "volunteers have collected the first half",
            "nobody at the town hall picks up the phone",
        ),
        "detail": (
            "According to the published minutes the work will take {n} weeks and stay in budget",
            "Residents may comment until the end of the month; the plans hang in the town hall",
            "The engineers found rust in {n} of the supports and closed one lane",
            "Tickets stay at the old price until the review in spring",
            "About {n} people came to the meeting, most of them in favour",
            "The reporter spoke with both sides; the figures are linked below",
        ),
        "question": (
            "does anyone know when the road opens again",
            "who goes to the meeting tonight",
            "why are there {n} buses on one line and none on mine",
            "where can we see the plans",
        ),
    },
    ("gaming", "en"): {
        "thing": (
            "a farming game",
            "the old space trader",
            "co-op puzzles",
            "a text adventure",
            "the desert map",
            "speedrunning",
            "a board game night",
            "my first level editor",
            "pixel art",
            "a racing wheel",
        ),
        "act": (
            "finishing",
            "modding",
            "replaying",
            "streaming",
            "building",
            "learning",
            "losing at",
        ),
        "result": (
            "{n} hours in and still finding secrets",
            "we won with one life left",
            "the ending made my brother cry",
            "my record fell by {n} seconds",
            "the save file is gone",
        ),
        "detail": (
            "The second boss is easier if you keep {n} arrows and never stand still",
            "Read the manual first: half of the mechanics are explained only there",
            "Our group plays every other week, {n} rounds at most, so that nobody gets tired",
            "The level editor saves plain text, so I keep my maps in version control",
            "Turn the music up in the cave; the echo tells you where the door is",
            "I mapped all {n} rooms on paper, and the layout is a word",
        ),
        "question": (
            "what should I play with a ten year old",
            "which save slot do you use",
            "is it worth it after {n} hours",
            "who has space in a group of four",
        ),
    },
}

# By how good the post is: throwaway, ordinary, careful.
FRAMES: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "de": phrases_de.FRAMES,
    "en": (
        (
            "{n} hours of {thing} lol",
            "anyone else into {act} {thing}??",
            "so bored today. {act} {thing} maybe",
            "first post here, {act} {thing} i guess",
            "{question}?",
            "day {n} of {thing}, thoughts?",
            "this. {thing} and {thing2}",
        ),
        (
            "Tried {act} {thing} this week: {result}.",
            "A question about {thing}: {question}? So far {result}.",
            "{n} days of {act} {thing}, and {result}.",
            "Small update on {thing}. {detail}.",
            "After some {act}, a note on {thing}: {result}.",
        ),
        (
            "What I learned from {act} {thing} for {n} weeks: {result}. {detail}. {detail2}.",
            "{detail}. That was the lesson of {act} {thing} for {n} days. {detail2}. In the end "
            "{result}.",
            "A short guide to {thing}, after {n} attempts. {detail}. {detail2}. Result: {result}. "
            "Happy to answer questions.",
            "Why {act} {thing} took me {n} evenings, and what I would do differently. {detail}. "
            "{detail2}.",
        ),
    ),
}
