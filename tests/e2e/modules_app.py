"""The service with one more route: what its process has imported."""

import sys

from serve.app import app


@app.get("/health/modules")
def modules() -> list[str]:
    return sorted({name.partition(".")[0] for name in sys.modules})
