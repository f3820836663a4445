"""What requests and answers hold. A request's customer is made from the release's schema, not typed a second time."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, FailFast, Field, model_validator
from typing_extensions import TypedDict  # pydantic asks for this one on Python 3.11

from churn.schema import Column, Schema
from churn.script import InputError
from serve.releases.ledger import State

BATCH = 10_000  # customers, or outcomes, of one request
LARGEST = 1e15  # of a number whose range the schema leaves open; above, float32 features may overflow
ID = "customer_id"  # what requests call the customer, whatever the table does

# no NUL: PostgreSQL keeps it neither in text nor in JSON
Text = Annotated[str, Field(strict=True, max_length=200, pattern=r"^[^\x00]*$")]
Name = Annotated[str, Field(strict=True, min_length=1, max_length=128, pattern=r"^[^\x00]*$")]
# as long as what the client may choose, and its number in a batch
RequestId = Annotated[str, Field(strict=True, min_length=1, max_length=133, pattern=r"^[^\x00]*$")]


def customer_model(schema: Schema, example: Mapping[str, Any]) -> Any:
    """One customer under schema names, checked as a dict; `example` is one of the release's golden customers.

    A dict, not a model: ten thousand of them are a tenth of the memory.
    """
    names = [column.name for column in schema.columns]
    if ID in names:
        raise InputError(f"schema: a request's own name stands in '{ID}'; give the column another name")
    words = "comes back in the answer and is what outcomes are matched by"
    fields: dict[str, Any] = {ID: Annotated[Name | None, Field(default=None, description=words)]}
    for column in schema.columns:
        kind, words = _type(column), _words(column)
        fields[column.name] = (
            Annotated[kind | None, Field(default=None, description=words)]
            if column.nullable
            else Annotated[kind, Field(description=words)]
        )
    shown = {ID: "7590-VHVEG"} | {name: example.get(name) for name in names}
    return _strict("Customer", fields, json_schema_extra={"examples": [shown]})


def _type(column: Column) -> Any:
    match column.type:
        case "number":
            low, high = max(column.low, -LARGEST), min(column.high, LARGEST)
            return Annotated[float, Field(strict=True, ge=low, le=high, allow_inf_nan=False)]
        case "boolean":
            return Annotated[bool, Field(strict=True)]
    return Text


def _words(column: Column) -> str:
    words = [column.description or column.name.replace("_", " ")]
    if column.unit:
        words.append(f"in {column.unit}")
    if column.levels:
        words.append(f"one of {', '.join(column.levels)}; another one is answered with a warning")
    if column.nullable:
        words.append("may be missing: null or left out")
    return "; ".join(words)


def batch_model(customer: Any) -> Any:
    """Some customers; the first that is wrong is named, since to name ten thousand takes seconds."""
    return _strict("Batch", {"customers": Annotated[list[customer], Field(min_length=1, max_length=BATCH), FailFast()]})


def _strict(name: str, fields: dict[str, Any], **config: Any) -> Any:
    """A TypedDict that refuses other keys."""
    make: Any = TypedDict  # type checkers want each one written out
    made = make(name, fields)
    made.__pydantic_config__ = {"extra": "forbid", **config}
    return made


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
    if not isinstance(at, str):
        raise ValueError("expected a text such as 2026-11-01T00:00:00Z")
    return at


def _in_utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        return at.replace(tzinfo=UTC)
    try:
        return at.astimezone(UTC)
    except OverflowError:  # the first or the last day of the calendar, in another zone
        return at.replace(tzinfo=UTC)


class Outcome(BaseModel):
    """What became of a customer; exactly one of customer_id and request_id says which."""

    customer_id: Name | None = None
    request_id: RequestId | None = None
    churned: Annotated[bool, Field(strict=True)]
    observed_at: Annotated[
        datetime,
        Field(description="when it was known; without a zone: UTC"),
        BeforeValidator(_text),
        AfterValidator(_in_utc),
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
