"""One request under way: what its log line and the metrics need."""

from dataclasses import dataclass


@dataclass(slots=True)
class Call:
    """One request, from its arrival to its log line."""

    request_id: str
    arrived: float  # time.perf_counter()
    max_body: int  # bytes
    model_version: str = ""
    arm: str = ""
    status: int = 0
    error: str = ""
