"""GET /docs: Swagger UI from an installed package, so that the page needs no other server."""

import base64
import hashlib
import re
from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

PACKAGE = "fastapi_swagger"  # only its files: its own FastAPI plugin sets no content security policy


def add_docs(app: FastAPI) -> None:
    """Add the page and its files below /docs."""
    page = bytes(
        get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="docs/favicon-32x32.png",
            swagger_ui_parameters={"tryItOutEnabled": True, "defaultModelsExpandDepth": 0},
        ).body
    )
    # the one inline script of the page
    (script,) = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    policy = f"default-src 'self'; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'; "
    policy += "img-src 'self' data:; frame-ancestors 'none'"

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page, headers={"content-security-policy": policy})

    folder = files(PACKAGE) / "resources"
    app.mount("/docs", StaticFiles(directory=str(folder)), name="docs")
