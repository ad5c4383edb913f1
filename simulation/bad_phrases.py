"""The bad posts of the demo: spam, NSFW, false claims and clickbait.

Everything is invented. **The claims in `FALSE` are false**, so that a filter can find them.
Addresses end in `.example`, which nobody can own. NSFW is mild enough for a repository, and plain
enough for a text filter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Words = Mapping[str, tuple[str, ...]]

SPAM: Final[Words] = {
    "frame": (
        "{shout} {offer} {call} {link}",
        "{offer} {offer} {call} {link}",
        "Check out my channel!! {offer} {call} {link}",
        "{shout} You have been selected. {offer} Txt {code} to {n}{m}00 now or click {link}",
        "I earned ${n}00 in {m} days from home, no experience! {call} {link}",
    ),
    "shout": (
        "CONGRATULATIONS!!!",
        "URGENT!",
        "FREE FREE FREE",
        "WINNER!!",
        "LAST CHANCE!!!",
        "Dear customer,",
        "HOT DEAL!!",
    ),
    "offer": (
        "You won a {n}00 cash prize.",
        "Get {n}000 followers for free!",
        "Cheap pills, {n}% off, no prescription.",
        "Make money fast, ${n}00 a day guaranteed!",
        "Claim your free phone worth ${n}00.",
        "Double your bitcoin in {n} hours!",
        "Loans without credit check up to ${n}000.",
        "Casino bonus of ${n}00, no deposit!",
    ),
    "call": (
        "Click here now!",
        "Subscribe and win!",
        "Reply YES to claim.",
        "Offer ends tonight!!!",
        "Sign up today, limited places!",
        "Call now!",
    ),
    "code": ("WIN", "CASH", "PRIZE", "CLAIM", "GOLD"),
    "link": (
        "http://win-cash-{n}.example/claim",
        "http://free-followers.example/?r={n}{m}",
        "http://cheap-pills-{m}.example",
        "http://lucky-casino.example/bonus{n}",
        "http://bit-double.example/{n}",
    ),
}

NSFW: Final[Words] = {
    "frame": (
        "{who} {what}. {call}",
        "NSFW 18+: {what}. {call}",
        "{what}, {who}. {call}",
        "[{code}] {who} {what}",
    ),
    "who": (
        "Sexy singles near you",
        "Hot naked girls",
        "Horny couple",
        "This nude model",
        "A sexy cam girl",
        "Naked amateur",
    ),
    "what": (
        "shows everything in an uncensored porn video",
        "posts nude pics and wants sex tonight",
        "strips naked live on xxx cam",
        "shares explicit nudes and boobs",
        "does hot sex shows for adults",
        "in {n} xxx porn clips",
    ),
    "call": (
        "Adults only",
        "Watch the sex tape now",
        "{n} new nudes inside",
        "DM me for nudes",
        "Subscribe for porn",
    ),
    "code": ("NSFW", "XXX", "18+", "nudes"),
}

FALSE: Final[Words] = {
    "frame": (
        "{opener} {claim}. {proof}",
        "{claim}! {proof} {plea}",
        "{opener} {claim}. {plea}",
        "BREAKING: {claim}. {proof}",
    ),
    "opener": (
        "They do not want you to know this:",
        "A secret document proves it:",
        "My cousin works in a hospital and says",
        "Doctors are hiding the truth:",
        "The media will not report that",
    ),
    "claim": (
        "peppermint tea at midnight cures covid in {n} hours",
        "wearing wet socks kills the coronavirus within {n} minutes",
        "the vaccine turns your blood into a radio antenna for {n} days",
        "eating {n} raw onions a day makes diabetes disappear for ever",
        "street lamps spread the virus whenever they flicker {n} times",
        "a spoon of candle wax removes {n} kinds of cancer overnight",
        "the government will turn off all water taps for {n} days next week",
        "face masks contain {n} living worms that eat memory",
        "microwaved salt replaces insulin, {n} patients were cured",
        "the moon landing was painted on a wall by {n} hired artists",
    ),
    "proof": (
        "{n} doctors confirmed it and were silenced.",
        "It is 100% proven, no side effects.",
        "All hospitals know it and make billions.",
        "A professor lost his job for saying so.",
        "The video was deleted {n} times.",
    ),
    "plea": (
        "Share before they delete this!",
        "Wake up, people!",
        "Forward this to {n} friends.",
        "Do not trust the experts.",
    ),
}

CLICKBAIT: Final[Words] = {
    "frame": (
        "{n} {noun} about {thing} that will {effect}",
        "You won't believe what happened when {who} tried {thing}",
        "This one weird trick with {thing} will {effect}",
        "{who} tried {thing} for {n} days, and the result will {effect}",
        "Only {n}% of people can answer these {m} questions about {thing}",
        "Here's why everyone is suddenly talking about {thing}, number {n} will {effect}",
        "What {who} did next with {thing} will {effect}",
    ),
    "noun": ("Secrets", "Shocking Facts", "Hilarious Fails", "Things", "Pictures", "Tweets"),
    "who": ("This Mom", "This Guy", "A Teenager", "She", "He", "This Family", "A Grandmother"),
    "effect": (
        "Blow Your Mind",
        "Make You Cry",
        "Change Your Life",
        "Leave You Speechless",
        "Ruin Your Childhood",
        "Restore Your Faith In Humanity",
    ),
}

BAD: Final[Mapping[str, Words]] = {
    "spam": SPAM,
    "nsfw": NSFW,
    "false": FALSE,
    "clickbait": CLICKBAIT,
}
