"""Both marketplaces' own APIs as one ASGI application, for a port of its own."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute, Router

from marketbell.control.services import Services
from marketbell.marketplace.ledger import Ledger
from marketbell.marketplace.ovoko.face import routes as ovoko_routes
from marketbell.marketplace.ovoko.market import Market
from marketbell.marketplace.sellercenter.face import routes as sellercenter_routes


class Marketplaces:
    """The marketplaces over the services of a node: who acts on them, and what serves them."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.ledger = Ledger(services)
        """One for all: what a seller's requests decide is decided one after the other."""
        self.ovoko = Market(services.store, self.ledger)

    def routes(self) -> tuple[BaseRoute, ...]:
        """Every route: Ovoko's paths, and Seller Center's `/`."""
        services = self.services
        return (
            *ovoko_routes(self.ovoko, services.store, services.settings),
            *sellercenter_routes(services, self.ledger),
        )

    def app(self, extra_routes: Sequence[BaseRoute] = ()) -> Router:
        """The application that serves them; `extra_routes` stand beside, such as a sandbox's."""
        return Router([*self.routes(), *extra_routes], redirect_slashes=False)
