"""The FastAPI application behind RequestMiddleware; its OpenAPI document names the API keys."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from serve.http.middleware import ADMIN, RequestMiddleware, needs_key


class Application(FastAPI):
    """FastAPI behind RequestMiddleware."""

    def __init__(self, **options: Any):
        super().__init__(exception_handlers={Exception: raise_again}, **options)
        self.fast_routes: dict[tuple[str, str], APIRoute] = {}

    def build_middleware_stack(self) -> ASGIApp:
        # not add_middleware: FastAPI puts its own middlewares around those, also around the fast routes
        return RequestMiddleware(super().build_middleware_stack(), self.fast_routes, self.state)

    def openapi(self) -> dict[str, Any]:
        """The document behind /docs; where keys are needed, it asks for one."""
        document = super().openapi()
        if self.state.rules.keys or self.state.rules.admin:
            scheme = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
            document["components"]["securitySchemes"] = {"ApiKey": scheme}
            for path, operations in document["paths"].items():
                if path.startswith(ADMIN) or (self.state.rules.keys and needs_key(path)):
                    for operation in operations.values():
                        operation["security"] = [{"ApiKey": []}]
        return document


async def raise_again(_: Request, error: Exception) -> Any:
    """Leave the error to RequestMiddleware; without a handler FastAPI answers it in plain text."""
    raise error
