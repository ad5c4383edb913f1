"""The pages, a module each; `TABLE` is all that the console answers."""

from feedmill.console.pages import actions, feed, preview, servers, sign_in
from feedmill.console.routes import Route

TABLE: tuple[Route, ...] = (
    *sign_in.ROUTES,
    *servers.ROUTES,
    *feed.ROUTES,
    *preview.ROUTES,
    *actions.ROUTES,
)
