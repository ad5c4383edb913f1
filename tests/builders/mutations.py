"""Small changes of bytes, drawn: what fuzzers do, for draws that anyone can repeat."""

import random

# What parsers and arithmetic stumble over.
_PIECES = (
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\n", b"\0", b" ", b"|", b"=", b"-", b"/"),
    *(b"null", b"true", b"NaN", b"Infinity", b"-1", b"0", b"1e400", b"1.5", b"9" * 400),
    *(str(n).encode() for n in (2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**40)),
    *(
        b"\xff",
        b"\xc3\x28",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\\u0000",
        b"\xe2\x80\xae",
        b"\xef\xbb\xbf",
    ),
    *(b"[" * 5_000, b'{"a":' * 5_000, b"x" * 30_000, b"\x1f\x8b\x08", b"PK\x03\x04"),
)
_MOST_CHANGES = 4


def mutated(seeds: list[bytes], rng: random.Random) -> bytes:
    """Return one of the seeds after one to four changes."""
    content = rng.choice(seeds)
    for _ in range(rng.randint(1, _MOST_CHANGES)):
        begin = rng.randint(0, len(content))
        end = min(len(content), begin + rng.choice((0, 1, 1, 2, 8, 64)))
        other = rng.choice(seeds)
        start = rng.randint(0, len(other))
        piece = rng.choice(
            (
                rng.choice(_PIECES),
                rng.randbytes(rng.randint(0, 4)),
                other[start : start + rng.randint(0, 64)],
                content[begin:end] * 2,
            )
        )
        content = content[:begin] + piece + content[end:]
    return content
