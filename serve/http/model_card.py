"""GET /model: the card as JSON, or as a page where the client prefers HTML."""

import base64
import hashlib
import re

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from churn.release import Release


def answer(request: Request, release: Release) -> Response:
    """The release's card in the form that the Accept header asks for; a bundle without a page has JSON alone."""
    vary = {"vary": "Accept"}
    if release.page and prefers_html(",".join(request.headers.getlist("accept"))):
        return HTMLResponse(release.page, headers=vary | {"content-security-policy": policy(release.page)})
    return JSONResponse(release.card, headers=vary)


def prefers_html(accept: str) -> bool:
    """Whether HTML ranks before JSON, as browsers have it; where both rank the same, as in */*, it is JSON."""
    return quality(accept, "text/html") > quality(accept, "application/json")


def quality(accept: str, media_type: str) -> float:
    """The weight of a media type in an Accept header: that of the most specific range around it (RFC 9110, 12.5.1)."""
    ranges: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        if re.fullmatch(r"[01](\.[0-9]{0,3})?", weight):
            ranges[name] = max(float(weight), ranges.get(name, 0.0))
    around = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
    return next((ranges[name] for name in around if name in ranges), 0.0)


def policy(page: str) -> str:
    """The page's own styles and nothing else: no script, no request, no frame around it."""
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() for style in styles]
    sources = " ".join(f"'sha256-{text}'" for text in hashes) or "'none'"
    return f"default-src 'none'; style-src {sources}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
