"""What becomes of one request, for its line in the log and the numbers."""

from dataclasses import dataclass


@dataclass(slots=True)
class Call:
    """One request, from its arrival to its line in the log."""

    request_id: str
    arrived: float
    max_body: int
    model_version: str = ""
    arm: str = ""
    status: int = 0
    error: str = ""
