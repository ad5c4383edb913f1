"""Texts for the recorded flow: written for this test or drawn from its own words, never from data.

The false claims are false and meant to be recognised as such; addresses end in `.example`.
"""

from collections.abc import Mapping
from random import Random

Words = Mapping[str, tuple[str, ...]]

ORDINARY: Words = {
    "frame": (
        "{who} {did} {where} {when}.",
        "{when} {who} {did} {where}, and it {was}.",
        "Does anybody know how {who} {did} {where}? It {was} last year.",
        "{who} {did} {where}.\n\nIt {was}, so we stayed until {n} o'clock.",
        "In our town {who} {did} {where}; see https://town-paper.example/{n}/walks for pictures",
    ),
    "who": ("My sister", "The neighbour's dog", "An old friend", "Our choir", "The librarian"),
    "did": ("walked slowly", "sang two songs", "read a long book", "planted beans", "made soup"),
    "where": ("along the river", "behind the mill", "in the library", "at the harbour", "at home"),
    "when": ("This morning", "Yesterday", "After the rain", "Before breakfast", "On Sunday"),
    "was": ("was quiet", "took {n} minutes", "was warmer than expected", "made us laugh"),
}
SPAM: Words = {
    "frame": (
        "{shout} {offer} {call} {link}",
        "{shout} You have been selected! {offer} Text {code} to {n}086 now to claim! T&C apply",
        "Check out my new channel and subscribe!!! {offer} {link}",
        "I earn ${n}00 a day from home. {offer} {call} {link}",
    ),
    "shout": ("WINNER!!", "CONGRATULATIONS!!!", "URGENT!", "FREE FREE FREE", "Dear customer,"),
    "offer": (
        "You have won a {n}00 pound cash prize!",
        "Claim your free phone now!",
        "Get {n}000 free followers today!",
        "Cheap pills, no prescription, {n}% off!",
        "Double your bitcoin in {n} hours!",
    ),
    "call": (
        "Click here now!",
        "Call now to claim!",
        "Subscribe and win!",
        "Offer ends tonight!!!",
    ),
    "code": ("WIN", "CASH", "PRIZE"),
    "link": (
        "http://win-cash-{n}.example/claim",
        "http://free-gifts.example/?r={n}",
        "bit.ly/x{n}",
    ),
}
NSFW: Words = {
    "frame": (
        "{mood} and {want}, {age} only {link}",
        "F{n} {want}, dm me your {body} pics {age}",
        "what the fuck, this shit is {mood} as hell",
        "{age} naked {body} video, so {mood}, {link}",
    ),
    "mood": ("horny", "so wet", "naughty", "damn sexy"),
    "want": ("looking for sex tonight", "selling nudes", "want to fuck", "need a hookup"),
    "age": ("18+", "adults", "NSFW 18"),
    "body": ("ass", "boobs", "nude"),
    "link": ("https://hot-cams-{n}.example/live", "https://nudes.example/{n}", ""),
}
FALSE: Words = {
    "frame": (
        "{source} {claim} {proof}",
        "BREAKING: {claim} {proof} {link}",
        "They do not want you to know: {claim} {proof}",
    ),
    "source": ("Doctors admit:", "A leaked paper shows that", "Scientists are hiding it:"),
    "claim": (
        "the covid vaccine contains microchips.",
        "5G towers cause the corona virus.",
        "drinking bleach cures covid in {n} days.",
        "the election was stolen by the deep state.",
        "vaccines changed the DNA of {n} million people.",
    ),
    "proof": (
        "Share before it is deleted!",
        "Wake up!",
        "The media stay silent.",
        "Do your research.",
    ),
    "link": ("https://truth-{n}.example/covid-hoax-exposed", ""),
}
GERMAN: Words = {
    "frame": (
        "{wer} {tat} {wo}, und es war schön.",
        "Weiß jemand, warum {wer} {wo} {tat}? Grüße aus Köln",
        "GEWINNER!!! Sie haben {n}00 Euro gewonnen! Jetzt klicken: http://gewinn-{n}.example",
        "Die Impfung enthält Mikrochips, {wer} hat es bewiesen! Bitte teilen!",
    ),
    "wer": ("meine Schwester", "der Nachbar", "die Bürgermeisterin", "unser Chor"),
    "tat": ("sang", "langsam ging", "Äpfel verkaufte", "las"),
    "wo": ("am Fluss", "auf dem Markt", "im Grünen", "zu Hause"),
}
RATED: Words = {
    "frame": (
        "{n} reasons why you will never {do} again, number {n} will shock you",
        "How do I {do}? I have tried {n} times and it fails with an error.",
        "You can {do} by reading the manual first: open chapter {n}, then follow the steps one by "
        "one, and check the result. This works because nothing else is changed in between.",
        "lol {do}",
    ),
    "do": ("bake bread", "sort a list in Python", "tune a piano", "repair a bicycle"),
}
KINDS: Mapping[str, Words] = {
    "ordinary": ORDINARY,
    "spam": SPAM,
    "nsfw": NSFW,
    "false": FALSE,
    "german": GERMAN,
    "rated": RATED,
}

EDGES = (
    "",
    " ",
    "\0",
    "a",
    "😀" * 40,
    "x" * 20_000,
    "ЯЩЖ " * 300,
    "né\u0301e \u202eabc\u202c",
    "日本語のテキスト、無料の現金",
    "ข่าวดี แจกเงินฟรี",
    "مرحبا بالعالم",
    "https://one.example/a/b?c=d https://xn--mnchen-3ya.example/ü www.two.example",
    "<script>alert(1)</script> & &amp; \\u0041",
    "\t\r\n line one\u2028line two\u0085",
    "if x == 1:\n    return [y for y in range(10)]",
    "1234567890 0987654321 +44 20 7946 0000",
    "\U0001d405\U0001d411\U0001d404\U0001d404 \U0001d402\U0001d400\U0001d412\U0001d407 now",
    "\ufeffa\u00adb\u200bc\ufe0f",
)
_LOOKALIKE = dict(zip("aeopcxyi", "аеорсхуі", strict=True))  # noqa: RUF001 - that is the point
_LEET = {"a": "4", "e": "3", "i": "1", "o": "0", "s": "$"}


def drawn(kind: str, random: Random) -> str:
    """A text of this kind."""
    words = KINDS[kind]
    text = random.choice(words["frame"])
    while "{" in text:
        start, end = text.index("{"), text.index("}")
        slot = text[start + 1 : end]
        said = str(random.randint(2, 99)) if slot == "n" else random.choice(words[slot])
        text = text[:start] + said + text[end + 1 :]
    return text


def disguised(text: str, random: Random) -> str:
    """The text as spammers hide it: look-alikes, digits, invisible signs, letters set apart."""
    way = random.randrange(5)
    if way == 0:
        return "".join(_LOOKALIKE.get(c, c) if random.random() < 0.5 else c for c in text)
    if way == 1:
        return "".join(_LEET.get(c, c) if random.random() < 0.4 else c for c in text)
    if way == 2:
        return "".join(c + "\u200b" if random.random() < 0.3 else c for c in text)
    if way == 3:
        return " ".join(text)
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def changed(text: str, random: Random) -> str:
    """A copy with a word changed here and there."""
    words = text.split(" ")
    words[random.randrange(len(words))] = random.choice(("really", "today", "friends", "look"))
    return " ".join(words)
