"""What some of the demo's communities talk about, in German.  Written for this file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Words = Mapping[str, tuple[str, ...]]

TOPICS: Final[Mapping[tuple[str, str], Words]] = {
    ("cooking", "de"): {
        "thing": (
            "Sauerteigbrot",
            "Linsensuppe",
            "Kartoffelsalat",
            "Apfelkuchen",
            "Käsespätzle",
            "Tomatensoße",
            "Rotkohl",
            "Pilzrisotto",
            "Maultaschen",
            "Grünkohl",
        ),
        "act": ("Backen", "Einkochen", "Würzen", "Aufwärmen", "Einfrieren", "Anrichten"),
        "result": (
            "am nächsten Tag schmeckt es noch besser",
            "in {n} Minuten steht es auf dem Tisch",
            "die Kruste bleibt zwei Tage knusprig",
            "leider wieder zu trocken geworden",
            "sogar die Kinder wollten Nachschlag",
        ),
        "detail": (
            "Den Teig über Nacht kalt stellen, das Aroma lohnt das Warten",
            "Ein Löffel Essig am Ende weckt das ganze Gericht auf",
            "Die Gewürze {n} Sekunden trocken anrösten, nicht länger",
            "Ich wiege jetzt alles ab: {n} Gramm mehr Wasser machten den Unterschied",
            "Vom Kochwasser eine Tasse für die Soße aufheben",
        ),
        "question": (
            "welches Mehl nehmt ihr dafür",
            "hält sich das {n} Tage im Kühlschrank",
            "was macht ihr aus altem Brot",
            "geht das auch ohne Ofen",
        ),
    },
    ("cycling", "de"): {
        "thing": (
            "mein altes Stahlrad",
            "die Runde am Fluss",
            "der neue Radweg",
            "das Nabendynamolicht",
            "die Scheibenbremse",
            "das Lastenrad",
            "der Anstieg am Wald",
            "mein Sattel",
        ),
        "act": ("Flicken", "Einstellen", "Putzen", "Pendeln", "Touren", "Umbauen"),
        "result": (
            "{n} Kilometer ohne Panne",
            "das Klappern ist endlich weg",
            "{n} Minuten schneller als mit dem Auto",
            "am Ende habe ich geschoben",
            "die Knie tun nicht mehr weh",
        ),
        "detail": (
            "Den Sattel {n} Millimeter höher, mehr brauchte es nicht",
            "Alle {n} Wochen die Kette messen, das spart die teuren Teile",
            "Auf der Abfahrt liegt Schotter, also vorher etwas Luft ablassen",
            "Flickzeug, zwei Hebel und eine kleine Pumpe passen unter den Sattel",
            "Wir haben die Tour auf {n} kurze Tage verteilt und konnten baden",
        ),
        "question": (
            "welches Schloss nehmt ihr in der Stadt",
            "wie breit sind eure Reifen",
            "lohnt sich ein Lastenrad bei {n} Kilometern am Tag",
            "wer kommt am Sonntag mit",
        ),
    },
    ("local-news", "de"): {
        "thing": (
            "die Bücherei",
            "das Freibad",
            "die Brücke an der Mühle",
            "der Nachtbus",
            "der Wochenmarkt",
            "die Schulküche",
            "das Stadtarchiv",
            "der Park am Bahnhof",
        ),
        "act": ("Sanierung", "Planung", "Öffnung", "Umzug", "Finanzierung", "Besichtigung"),
        "result": (
            "der Rat stimmte mit {n} zu {m}",
            "in {n} Wochen beginnen die Arbeiten",
            "die Kosten stiegen um {n} Prozent",
            "im Rathaus geht niemand ans Telefon",
            "die Hälfte der Spenden ist da",
        ),
        "detail": (
            "Laut Protokoll dauern die Arbeiten {n} Wochen und bleiben im Haushalt",
            "Die Pläne hängen im Rathaus aus, Einwände sind bis Monatsende möglich",
            "An {n} Stützen wurde Rost gefunden, eine Spur ist gesperrt",
            "Rund {n} Leute kamen zur Versammlung, die meisten waren dafür",
            "Der Fahrpreis bleibt bis zur Prüfung im Frühjahr gleich",
        ),
        "question": (
            "weiß jemand, wann die Straße wieder offen ist",
            "wer geht heute zur Sitzung",
            "warum fährt der Bus nur {n} Mal am Tag",
            "wo kann man die Pläne sehen",
        ),
    },
}

# By how good the post is, as in `phrases.FRAMES`.
FRAMES: Final[tuple[tuple[str, ...], ...]] = (
    (
        "{thing} halt",
        "noch jemand hier wegen {thing}??",
        "mir ist langweilig. {thing}?",
        "{question}?",
        "{thing}, was meint ihr?",
    ),
    (
        "{thing}, diese Woche ausprobiert: {result}.",
        "Eine Frage zum Thema {thing}: {question}? Bisher gilt: {result}.",
        "Kurz notiert, {act}, Tag {n}. {thing}: {result}.",
        "Neues zum Thema {thing}. {detail}.",
    ),
    (
        "Was ich in {n} Wochen gelernt habe, Thema {thing}: {result}. {detail}. {detail2}.",
        "{thing}, eine kleine Anleitung nach {n} Versuchen. {detail}. {detail2}. "
        "Ergebnis: {result}. Fragen gern.",
        "{detail}. {detail2}. So ging es uns beim Thema {thing}, und {result}.",
    ),
)
