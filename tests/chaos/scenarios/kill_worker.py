"""Kill -9 of the only worker under load, at random moments and at points of its loop."""

from chaos.kill_rounds import kill_rounds
from chaos.scenario import Chaos, Rows


def run(chaos: Chaos) -> Rows:
    rounds = 30 if chaos.is_long else 3
    fault = "kill -9 of the only worker, on compacted topics"
    yield kill_rounds(chaos, fault, ["only"], rounds, compacted=True)
