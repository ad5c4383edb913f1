"""Texts that hypothesis draws for what reads their bytes."""

from hypothesis import strategies as st

# FREE in mathematical bold letters.
_BOLD = "\U0001d405\U0001d411\U0001d404\U0001d404"
_ODD = ["", " ", "\0", "\0\0a", "'", "a", "ÀÉ", _BOLD, "http://a.com @b #c 12345"]
# Lone surrogates too: they cannot arrive from Kafka, but a trainer's file may hold them.
TEXTS = st.lists(
    st.one_of(st.text(max_size=60), st.text(st.characters(), max_size=20), st.sampled_from(_ODD)),
    max_size=12,
)
