"""The pages, a module each; `TABLE` is all that the console answers."""

from feedmill.console.pages import actions, sign_in
from feedmill.console.routes import Route

TABLE: tuple[Route, ...] = (*sign_in.ROUTES, *actions.ROUTES)
