"""Posts that are made for training: sentences of everyday life, and long posts.

The sentences have words of the body, of clothes and of touch, as people write them daily.  Sexual
posts are full of these words, and few posts of our ordinary sources have them.  A filter that
learned these sentences takes the words alone for nothing.

Few people write more than 2,000 characters, so a long post is made of the posts of one group.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random

import numpy as np
from msgspec.structs import replace

from feedmill.events.limits import MAX_TEXT_CHARACTERS
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

_SHORTEST = 400
# What `long_posts_of_each_group` takes for long; a group gives one post for so many characters that
# it wrote, and at most so many posts.
_LONG, _CHARACTERS_OF_POST, _MAX_OF_GROUP = 2_000, 1_500, 80
_SEED = 20


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


def long_posts(rows: LabelledPosts, count: int, seed: int) -> LabelledPosts:
    """Return posts of more than 400 characters, each of posts of one group, in random order.

    Their lengths are spread over the logarithm up to 20,000 characters; a group with too little
    text gives shorter ones, or none.  They are fine, and in their group's split.
    """
    random = np.random.default_rng(seed)
    groups = [
        indices
        for indices in _members(rows)
        if sum(len(rows.posts[i].text) for i in indices) > _SHORTEST
    ]
    made = []
    for _ in range(count if groups else 0):
        indices = groups[int(random.integers(len(groups)))]
        made.append((indices[0], _joined(rows, indices, _SHORTEST, random)))
    return _posts(rows, made, range(len(made)))


def long_posts_of_each_group(rows: LabelledPosts) -> LabelledPosts:
    """Return posts of more than 2,000 characters, the more the more a group wrote.

    Each is made of posts of one group, as `long_posts` does; groups with too little text give none.
    """
    random = np.random.default_rng(_SEED)
    made, numbers = [], []
    for indices in _members(rows):
        characters = sum(len(rows.posts[i].text) + 1 for i in indices)
        if len(indices) < 2 or characters <= _LONG:
            continue
        for number in range(min(_MAX_OF_GROUP, 1 + characters // _CHARACTERS_OF_POST)):
            text = _joined(rows, indices, _LONG, random)
            if len(text) > _LONG:
                made.append((indices[0], text))
                numbers.append(number)
    return _posts(rows, made, numbers)


def _members(rows: LabelledPosts) -> list[list[int]]:
    """Return which rows each group has, in the order of the groups' names."""
    members: dict[str, list[int]] = {}
    for index, group in enumerate(rows.groups):
        members.setdefault(group, []).append(index)
    return [members[group] for group in sorted(members)]


def _joined(
    rows: LabelledPosts, indices: Sequence[int], shortest: int, random: np.random.Generator
) -> str:
    """Join texts of these rows, in random order, to a length above `shortest` that is drawn."""
    length = int(np.exp(random.uniform(*np.log([shortest + 1, MAX_TEXT_CHARACTERS]))))
    parts: list[str] = []
    total = 0
    for index in random.permutation(indices):
        parts.append(rows.posts[index].text)
        total += len(parts[-1]) + 1
        if total > length:
            break
    return "\n".join(parts)[:MAX_TEXT_CHARACTERS]


def _posts(
    rows: LabelledPosts, made: Sequence[tuple[int, str]], numbers: Sequence[int]
) -> LabelledPosts:
    """Return fine posts with these texts, each otherwise like the row of its index."""
    first = [index for index, _ in made]
    posts = [
        replace(rows.posts[index], post_id=f"{rows.posts[index].post_id}-long-{number}", text=text)
        for (index, text), number in zip(made, numbers, strict=True)
    ]
    splits = rows.splits[first] if first else rows.splits[:0]
    groups = [rows.groups[index] for index in first]
    return LabelledPosts(rows.source, posts, np.zeros(len(posts)), groups, splits)
