"""Which arm of an experiment a user gets.  Copy it into a frontend in Python."""

from hashlib import sha256


def arm_of(
    salt: str, experiment: str, user_id: str, traffic: int, arms: list[tuple[str, int]]
) -> str | None:
    """Return the arm, None for a user outside; `arms` are names and shares, of 10,000 in all."""
    digest = sha256(f"{salt}\0{experiment}\0{user_id}".encode()).digest()
    place, left = (int.from_bytes(digest[at : at + 8], "big") * 10_000 >> 64 for at in (0, 8))
    if place >= traffic:
        return None
    for arm, share in arms:
        if left < share:
            return arm
        left -= share
    raise ValueError("the shares do not sum to 10,000")
