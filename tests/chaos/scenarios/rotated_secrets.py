"""Two workers take new passwords and certificates one after the other, as docs/security.md says."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from builders.engine import WORKER, Engine
from builders.secured_stack import SecuredStack
from builders.waiting import in_background
from chaos.recovery import under_load
from chaos.scenario import Chaos, Row, Rows
from chaos.scenarios.rolling import BAR_S, Posts, replaced

Variables = Mapping[str, str]


def run(chaos: Chaos) -> Rows:
    stack = SecuredStack(chaos.folder("secured"))
    chaos.at_end(stack.close)
    engine = chaos.engine(kafka=stack.kafka, redis=stack.redis_url)
    first, second = (stack.user_of(engine, WORKER, name=name) for name in ("first", "second"))
    user = second["FEEDMILL_KAFKA_SASL_PLAIN_USERNAME"]
    for number in range(2):
        engine.start_worker(f"{number}", variables=first)
    engine.wait_ready()
    steps = {
        "as they are": iter([first]),
        "with another user and password of Kafka": iter([second]),
        "with a new password of Redis": _redis_password(stack, user),
        "with a certificate, then its successor": _certificates(stack, user),
    }
    for what, changes in steps.items():
        yield _row(chaos, engine, what, changes)


def _row(chaos: Chaos, engine: Engine, what: str, changes: Iterator[Variables]) -> Row:
    posts = Posts(engine)

    def replacements() -> Iterator[float]:
        with in_background(posts.send_until):
            for variables in changes:
                yield from replaced(engine, posts, variables)

    return under_load(chaos, engine, f"restarted {what}", replacements(), bar_s=BAR_S)


def _redis_password(stack: SecuredStack, user: str) -> Iterator[Variables]:
    """Redis takes both passwords until the workers have the new one."""
    variables, before = stack.variables(user), stack.passwords[user]
    stack.redis_rules(user, ">another")
    address = Path(variables["FEEDMILL_REDIS_FILE"])
    address.write_text(address.read_text().replace(f":{before}@", ":another@"))
    yield variables
    stack.redis_rules(user, f"<{before}")
    stack.passwords[user] = "another"


def _certificates(stack: SecuredStack, user: str) -> Iterator[Variables]:
    """Kafka takes both certificates, since they have the same name."""
    for _ in range(2):
        yield stack.mutual_variables(user, *stack.certificates.issue(user))
