"""Ordinary sentences with words of the body, of clothes and of touch, as people write them daily.

Sexual posts are full of these words, and few posts of our ordinary sources have them.  A filter
that learned these sentences takes the words alone for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random

import numpy as np

from feedmill.events.post import Post
from feedmill.training.datasets.labelled_posts import LabelledPosts

SOURCE = "everyday"
_SLOT = re.compile(r"<(\w+)>")
_PATTERNS = (
    "With the naked eye you can see <sky> <time>",
    "The <thing> looks naked without <cover>",
    "Never leave a naked <light> near <cover>",
    "<time> the naked <plant> along the <place> look sad",
    "The <who> wore a <adjective> <garment> <time>",
    "<who2> took off <whose> <garment> because it was too hot in the <place>",
    "My <garment> got wet in the <place>, so I hung it over the <thing>",
    "The <garment> is too tight around the <part>",
    "I hurt my <part> at the <place> and it is still stiff",
    "The <who> pressed on my <part> and asked whether it was hard or soft",
    "Put <food> on the <part> of the <animal> and rub it in",
    "The <animal> licked <whose> <part> <time>",
    "<who2> stroked the <animal> behind the ears until it slept",
    "We slept in one bed, three children and the <animal>",
    "Is the <food> too hot? Blow on it first",
    "Beat the <food> hard, then let it come to the boil",
    "Strip the <thing> down to the bare wood before you paint it",
    "The <who> stripped the <plant> of their leaves <time>",
    "Suck the air out of the bag and <food> keeps for weeks",
    "Spread the <food> and lick the spoon, nobody is looking",
    "The <thing> came off in my hand when I pulled",
    "The hole in the <thing> is too big for that screw",
    "Insert the <light> all the way until it clicks",
    "The <who> rode the <animal> along the <place> <time>",
    "<who2> and <who3> kissed at the station and took different trains",
    "The girls of the <adjective> team play at the <place> <time>",
    "Two boys and their <who> got lost near the <place>",
    "My <who> is <adjective> and has a bad <part>",
    "The baby has a rash on the <part>, should we see a <who>?",
    "A massage helped my <part> more than any <food>",
    "The <who> showed us how to hold the <animal> so that it does not bite",
    "What a night, the <place> was packed and the music was hard and loud",
    "I was down on my knees to look for <whose> ring under the <thing>",
    "The picture shows the <part> of a saint, painted on wood",
    "Long <garment>, short <garment>, what do you wear to the <place>?",
    "She gave birth <time>, mother and child are asleep",
    "The <who> finished first, and the <adjective> runner came in last",
    "Wet paint on the <thing>, please do not touch",
)
_WORDS: Mapping[str, tuple[str, ...]] = {
    "who": ("doctor", "teacher", "neighbour", "nurse", "postman", "farmer", "coach", "cook",
            "painter", "driver", "mother", "father", "aunt", "gardener"),
    "who2": ("She", "He", "My sister", "Our teacher", "Grandpa", "The bride", "A stranger",
             "My wife", "The boy", "The girl"),
    "who3": ("he", "her husband", "the girl", "his wife", "the boy", "a friend"),
    "whose": ("her", "his", "my", "their"),
    "garment": ("coat", "shirt", "dress", "skirt", "pair of stockings", "swimsuit", "jacket",
                "pair of shorts", "nightgown", "bra", "belt", "pair of boots", "sock", "glove"),
    "part": ("back", "neck", "chest", "knee", "belly", "bottom", "shoulder", "leg", "thigh",
             "foot", "mouth", "tongue", "finger", "hip", "head"),
    "animal": ("dog", "cat", "horse", "pony", "calf", "cock", "hen", "donkey", "puppy", "rabbit"),
    "food": ("dough", "cream", "butter", "soup", "honey", "egg white", "sausage", "cucumber",
             "chicken breast", "jam", "ice cream", "milk"),
    "thing": ("table", "wall", "chair", "sofa", "fence", "door", "wardrobe", "window", "shelf",
              "boat", "lamp", "mattress"),
    "cover": ("curtains", "pictures", "a cloth", "paint", "ivy", "blankets", "hay"),
    "light": ("flame", "bulb", "candle", "wire", "torch"),
    "plant": ("hedges", "vines", "poplars", "rose bushes", "fields", "hills"),
    "sky": ("five planets", "the comet", "the space station", "a satellite", "that galaxy"),
    "place": ("pool", "gym", "kitchen", "river", "garden", "canal", "beach", "club", "stable",
              "sauna", "bathroom", "market"),
    "adjective": ("old", "young", "big", "long", "black", "white", "pink", "thick", "small",
                  "new", "older"),
    "time": ("tonight", "this morning", "in winter", "last summer", "on Sunday", "all night",
             "yesterday", "before breakfast"),
}  # fmt: skip
_ENDS = ("", "", ".", ".", "!", " :)")


def everyday_sentences(count: int, seed: int) -> LabelledPosts:
    """Return this many different sentences, fine, each pattern a group of the split `train`."""
    random = Random(seed)  # noqa: S311 not for secrets
    pattern_of: dict[str, int] = {}
    while len(pattern_of) < count:
        pattern = random.randrange(len(_PATTERNS))
        text = _SLOT.sub(lambda slot: random.choice(_WORDS[slot[1]]), _PATTERNS[pattern])
        text += random.choice(_ENDS)
        pattern_of.setdefault(text[0].upper() + text[1:], pattern)
    posts = [
        Post(f"{SOURCE}-{number}", f"author-of-{SOURCE}-{number}", 0, text)
        for number, text in enumerate(pattern_of, 1)
    ]
    groups = [f"{SOURCE}|{pattern}" for pattern in pattern_of.values()]
    return LabelledPosts(SOURCE, posts, np.zeros(count), groups, np.full(count, "train"))
