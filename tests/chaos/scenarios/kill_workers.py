"""Kill -9 of one, two or all of three workers at once, under load."""

from chaos.kill_rounds import kill_rounds
from chaos.scenario import Chaos, Rows


def run(chaos: Chaos) -> Rows:
    names = ["first", "second", "third"]
    rounds = 25 if chaos.is_long else 3
    yield kill_rounds(chaos, "kill -9 of one to three of three workers", names, rounds)
