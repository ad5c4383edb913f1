"""What cards say alike."""

from __future__ import annotations

MODEL_LICENCE = "Apache-2.0; the licence of each data set is stated with it"
# The licence of what a product's own topics hold.
OWN_DATA = "the product's own"
INTENDED_USE = (
    "to demote and hide posts of a newsfeed, under thresholds and rules of its operator, with "
    "moderators who can overrule it",
    "not to judge people: not to block accounts, report them or decide on their rights",
    "not as the only safeguard where a missed post does harm",
)
FACTORS = (
    "the length of a post and the platform it comes from: figures are given by both",
    "the group (subreddit, page, author, video) that a post belongs to: groups are judged whole, "
    "and one that weighs more than 5 % of the violating posts is shown apart",
    "language and script: nearly all labelled posts are English",
)
ETHICS = (
    "the labels are what raters or platforms of one time and place called a violation; their "
    "prejudices, such as against dialects and communities, are learned with them",
    "the posts were public; people wrote them without this use in mind",
    "a hidden post harms its author: operators should watch the rate hidden, label a sample and "
    "let authors appeal",
)
