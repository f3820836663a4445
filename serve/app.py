"""The service: `uvicorn serve.app:app`."""

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from serve.http.application import Application
from serve.http.auth import ApiKeys
from serve.http.docs import add_docs
from serve.http.middleware import Rules
from serve.http.rate_limit import RateLimit
from serve.http.routes import add_customer_routes, add_routes
from serve.predict.service import Service, described
from serve.settings import Settings, read_settings
from serve.telemetry import logs, metrics
from serve.web.customers.what_if import add_what_if
from serve.web.routes import add_console

log = logging.getLogger("serve")

SWITCH_SECONDS = 0.0005  # that a thread may hold the interpreter; a tenth of Python's default


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    settings = read_settings()

    def add_typed_routes() -> None:
        add_customer_routes(app, service)
        add_what_if(app, service)

    service = Service(settings, on_new_schema=add_typed_routes)
    app.state.service, app.state.rules = service, rules_of(settings)
    add_routes(app, service, app.state.rules)
    add_typed_routes()
    console = add_console(app, service, settings, app.state.rules)
    service.open()
    log.info("ready", extra={"fields": {"release": described(service.live)}})
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # loaded models live as long as the process: exclude them from collections
    reloading = asyncio.create_task(service.reload())
    yield
    reloading.cancel()
    await service.close()
    console.close()


def admin_keys(settings: Settings) -> ApiKeys:
    keys = {"admin key": settings.admin_key} if settings.admin_key else {}
    keys |= settings.admin_keys
    return ApiKeys(list(keys.values()), list(keys))


def rules_of(settings: Settings) -> Rules:
    return Rules(
        ApiKeys(settings.api_keys),
        admin_keys(settings),
        RateLimit(settings.rate_limit, metrics.FOLDER) if settings.rate_limit else None,
        settings.max_body,
        settings.cors_origins,
        settings.max_upload,
    )


def create_app() -> Application:
    logs.configure()
    app = Application(
        title="Churn",
        description="How likely a customer is to leave, from a verified and versioned release. "
        "A request may bring its own name in the header X-Request-ID.",
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would name the host that the client named
    )
    add_docs(app)
    return app


app = create_app()
