"""FastAPI behind the middleware of every request, and what /docs shows of its keys."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from serve.http.middleware import ADMIN, RequestMiddleware, asks_for_key


class Application(FastAPI):
    """FastAPI behind the RequestMiddleware."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.fast_routes: dict[tuple[str, str], APIRoute] = {}

    def build_middleware_stack(self) -> ASGIApp:
        # the outermost one would answer an error in plain text before RequestMiddleware sees it
        outermost: Any = super().build_middleware_stack()
        return RequestMiddleware(outermost.app, self.fast_routes, self.state)

    def openapi(self) -> dict[str, Any]:
        """What /docs shows; where keys are asked for, it has a place to give one."""
        document = super().openapi()
        if self.state.rules.keys or self.state.rules.admin:
            scheme = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
            document["components"]["securitySchemes"] = {"ApiKey": scheme}
            for path, operations in document["paths"].items():
                if path.startswith(ADMIN) or (self.state.rules.keys and asks_for_key(path)):
                    for operation in operations.values():
                        operation["security"] = [{"ApiKey": []}]
        return document
