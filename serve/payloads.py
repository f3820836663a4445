"""What requests and answers hold; a request's customer is in churn/customer_model.py, for training checks it, too."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, FailFast, Field, model_validator
from typing_extensions import TypedDict  # pydantic asks for this one on Python 3.11

from churn.customer_model import Name, strict_dict
from serve.log.tables import CAMPAIGN, CLOCK_SKEW
from serve.releases.ledger import State

BATCH = 10_000  # customers, outcomes or contacts of one request
DAY = re.compile(r"\s*\d{4}-\d\d-\d\d\s*")
NUMBER = re.compile(r"\s*[-+]?[\d.]+(e[-+]?\d+)?\s*", re.IGNORECASE)
# as long as what the client may choose, and its number in a batch
RequestId = Annotated[str, Field(strict=True, min_length=1, max_length=133, pattern=r"^[^\x00]*$")]


def batch_model(customer: Any) -> Any:
    """Some customers; the first that is wrong is named, since to name ten thousand takes seconds."""
    return strict_dict(
        "Batch", {"customers": Annotated[list[customer], Field(min_length=1, max_length=BATCH), FailFast()]}
    )


class Prediction(TypedDict):
    customer_id: str | None
    churn_probability: Annotated[
        float, Field(ge=0, le=1, description="P(the customer leaves), not rounded", examples=[0.625])
    ]
    prediction: Annotated[Literal["churn", "no_churn"], Field(description="churn from the threshold on")]
    confidence: Annotated[float, Field(ge=0, le=1, description="probability of what is predicted", examples=[0.625])]
    threshold: Annotated[
        float, Field(description="chosen in training for the profit of an offer, not 0.5", examples=[0.33])
    ]
    model_version: Annotated[str, Field(description="of the release, from the content of its files")]
    arm: Literal["champion", "challenger"]
    request_id: Annotated[str, Field(description="name of this answer in the log and for /feedback")]
    warnings: Annotated[list[str], Field(description="what the model could not make use of")]


class Predictions(TypedDict):
    predictions: Annotated[list[Prediction], Field(description="in the order of the customers")]


class Contribution(TypedDict):
    feature: str
    value: float | bool | str | None
    contribution: Annotated[float, Field(description="share of churn_probability - base_probability")]


class Explanation(Prediction):
    base_probability: Annotated[float, Field(description="mean probability of the release's background customers")]
    contributions: Annotated[
        list[Contribution],
        Field(description="sampled Shapley values as differences of probability, largest first; their sum is exact"),
    ]
    reasons: Annotated[list[str], Field(description="the three largest in words")]


def _text(at: object) -> object:
    """A day, which is known at its end, as its last moment; other texts as they are, but for a number of seconds."""
    if not isinstance(at, str) or NUMBER.fullmatch(at):
        raise ValueError("expected a text such as 2026-11-01T00:00:00Z")
    return f"{at.strip()}T23:59:59.999999Z" if DAY.fullmatch(at) else at


def _in_utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        return at.replace(tzinfo=UTC)
    try:
        return at.astimezone(UTC)
    except OverflowError:  # the first or the last day of the calendar, in another zone
        return at.replace(tzinfo=UTC)


def _not_in_the_future(at: datetime) -> datetime:
    """Clocks may differ a little, and today counts as a day."""
    is_day = (at.hour, at.minute, at.second, at.microsecond) == (23, 59, 59, 999_999)
    if at - (timedelta(days=1) if is_day else timedelta()) > datetime.now(UTC) + CLOCK_SKEW:
        raise ValueError("lies in the future; what is reported has happened")
    return at


# a moment that was; without a zone in UTC, a day without a time is its end
Past = Annotated[datetime, BeforeValidator(_text), AfterValidator(_in_utc), AfterValidator(_not_in_the_future)]


class Outcome(BaseModel):
    """What became of a customer; exactly one of customer_id and request_id says which."""

    customer_id: Name | None = None
    request_id: RequestId | None = None
    churned: Annotated[bool, Field(strict=True)]
    observed_at: Annotated[
        Past,
        Field(description="when it was known, not in the future; without a zone: UTC; a day without a time: its end"),
    ]

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "oneOf": [
                {"required": ["customer_id"], "properties": {"customer_id": {"type": "string"}, "request_id": False}},
                {"required": ["request_id"], "properties": {"request_id": {"type": "string"}, "customer_id": False}},
            ],
            "examples": [{"customer_id": "7590-VHVEG", "churned": True, "observed_at": "2026-11-01T00:00:00Z"}],
        },
    )

    @model_validator(mode="after")
    def _names_one(self) -> "Outcome":
        if (self.customer_id is None) == (self.request_id is None):
            raise ValueError("give customer_id or request_id, one of them")
        return self

    def row(self) -> dict[str, Any]:
        """As the log's table holds it."""
        return {**vars(self), "customer_id": self.customer_id or "", "request_id": self.request_id or ""}


class Feedback(BaseModel):
    model_config = ConfigDict(extra="forbid")

    outcomes: Annotated[list[Outcome], Field(min_length=1, max_length=BATCH), FailFast()]


class Contact(BaseModel):
    """A customer of a campaign, who was made an offer or was held back by chance, as its control."""

    customer_id: Name
    campaign: Annotated[str, Field(strict=True, pattern=CAMPAIGN, description="its name, as in its plan")]
    offered: Annotated[bool, Field(strict=True, description="false: held back as control")]
    share: Annotated[
        float,
        Field(strict=True, gt=0, le=1, description="chance with which an offer was drawn; 1: nobody was held back"),
    ] = 1.0
    at: Annotated[
        Past, Field(description="when, not in the future; without a zone: UTC; a day without a time: its end")
    ]

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "anyOf": [
                {"properties": {"offered": {"const": True}}},
                {"required": ["share"], "properties": {"share": {"exclusiveMaximum": 1}}},
            ],
            "examples": [
                {
                    "customer_id": "7590-VHVEG",
                    "campaign": "2026-11-discount",
                    "offered": True,
                    "share": 0.9,
                    "at": "2026-11-01T00:00:00Z",
                }
            ],
        },
    )

    @model_validator(mode="after")
    def _is_drawn(self) -> "Contact":
        if not self.offered and self.share == 1:
            raise ValueError("share is 1, by which nobody is held back; say with what chance an offer was drawn")
        return self


class Contacts(BaseModel):
    model_config = ConfigDict(extra="forbid")

    contacts: Annotated[list[Contact], Field(min_length=1, max_length=BATCH), FailFast()]


class ContactsReceipt(TypedDict):
    accepted: Annotated[int, Field(description="contacts that are kept")]


class Receipt(TypedDict):
    accepted: Annotated[int, Field(description="outcomes that are kept")]
    matched: Annotated[int, Field(description="those that belong to an answer: observed when it was given or later")]
    unmatched: int


class Acted(TypedDict):
    state: Annotated[State, Field(description="the live releases from now on; the service follows within a second")]
    gate: Annotated[dict[str, Any] | None, Field(description="the numbers that a promotion passed, or was forced over")]


class Deployed(TypedDict):
    state: State
    releases: Annotated[list[dict[str, Any]], Field(description="the newest first")]
    history: Annotated[list[dict[str, Any]], Field(description="every act, the oldest first")]


class Health(TypedDict):
    status: Literal["alive"]


class Readiness(TypedDict):
    status: Annotated[
        Literal["ready", "degraded", "unready"],
        Field(description="degraded: answers are kept in the spool while the log's database is down"),
    ]
    reason: str
    model_version: str


class Refusal(TypedDict):
    detail: str


class Mistake(TypedDict):
    loc: list[str | int]
    msg: str
    type: str


class Mistakes(TypedDict):
    detail: list[Mistake]
