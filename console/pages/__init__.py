"""The pages, a module each; `TABLE` is all that the console answers."""

from feedmill.console.pages import (
    actions,
    audit,
    feed,
    health,
    models,
    post,
    preview,
    queue,
    servers,
    sign_in,
)
from feedmill.console.routes import Route

TABLE: tuple[Route, ...] = tuple(
    route
    for page in (sign_in, actions, audit, feed, health, models, post, preview, queue, servers)
    for route in page.ROUTES
)
