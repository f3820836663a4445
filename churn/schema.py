"""The schema file: which columns a table of customers has, what they mean and which values they may hold."""

import math
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from churn.params import closest, read_yaml
from churn.script import InputError

TARGET = "churned"  # the target's name behind preprocess, whatever a table calls it
ID = "customer_id"  # what requests call the customer, whatever the table does
LARGEST = 1e15  # of a number, whatever its column's range: above, float32 features may overflow
MAX_TEXT = 200  # characters of a level
MAX_LEVELS = 50  # of a category whose column says nothing else: rarer ones count as one
AS_OF = "as_of"  # what requests call the day they describe, where the table has no time column
WEIGHT = "_weight"  # how often a row counts, where data.weight names such a column; no column of a schema is called so
CUSTOMER = (
    "customer_number"  # beside the inputs where some rows are of one customer, or copies, to keep them in one fold
)


def as_text(value: Any) -> str:
    """The text that a cell with `value` holds in a CSV file: 1, 1.0 and "1" are one, white space around is dropped."""
    # a warehouse's decimal(10, 2) of 1 is 1.00
    if isinstance(value, float | Decimal) and value == value // 1:
        value = int(value)
    return str(value).strip()


def _not_yaml_bool(value: Any) -> Any:
    # YAML 1.1 reads a bare Yes or No as true or false
    if isinstance(value, bool):
        raise ValueError(f'YAML reads a bare Yes or No as {str(value).lower()}; write it in quotes, "Yes" or "No"')
    return value


def _texts(value: Any) -> Any:
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(as_text(_not_yaml_bool(v)) for v in values)


def _merged(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {as_text(_not_yaml_bool(into)): _texts(words) for into, words in value.items()}


def _day(value: Any) -> Any:
    # a bare 2024-12-31 is a date to YAML
    return value.isoformat() if isinstance(value, date) else value


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
Share = Annotated[float, Field(ge=0, le=1)]
Day = Annotated[date, BeforeValidator(lambda value: date.fromisoformat(_day(value)))]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Identifier(_Part):
    """A column that is kept beside the features and never is one: the customer's id or the time of a row."""

    name: Name
    source: Texts = ()

    @property
    def headers(self) -> tuple[str, ...]:
        """The headers under which a table may hold the column, the first that is there counts."""
        return (*self.source, self.name)


class Customer(Identifier):
    repeats: bool = False  # several rows per customer, which stay on one side of every split


class Time(Identifier):
    format: str | None = None  # of strptime; None: ISO 8601


class Target(Identifier):
    positive: Texts
    negative: Texts

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if both := set(self.positive) & set(self.negative):
            raise ValueError(f"{sorted(both)} stands under both positive and negative")
        return self


class Drop(_Part):
    source: Texts
    why: str


class LeaveOut(_Part):
    """Rows that are not learned from: by values (an empty one means a missing one), or by numbers beyond a bound."""

    source: str
    values: Texts = ()
    above: float | None = None
    below: float | None = None
    why: str

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if not self.values and self.above is None and self.below is None:
            raise ValueError("says not which rows; give values, above or below")
        return self


class Column(Identifier):
    """A feature column. Formats of texts (decimal to format) are the table's: requests hold numbers and ISO dates."""

    type: Literal["number", "boolean", "category", "date"]
    description: str = ""
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " ", "'", "_"] = ""
    strip: Texts = ()  # what may stand before or after a number: a currency, a unit
    format: str | None = None  # of a date, as strptime has it; None: ISO 8601
    merge: Annotated[dict[str, Texts], BeforeValidator(_merged)] = {}  # a value and the texts that mean it, too
    unit: str = ""
    min: float | None = None
    max: float | None = None
    levels: Annotated[tuple[str, ...] | None, BeforeValidator(lambda v: v if v is None else _texts(v))] = None
    max_levels: Annotated[int | None, Field(ge=2)] = None
    positive: Texts = ()
    negative: Texts = ()
    nullable: bool = False
    max_missing: Share | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_share_of_missing_makes_nullable(cls, content: Any) -> Any:
        return {"nullable": True, **content} if isinstance(content, dict) and content.get("max_missing") else content

    @model_validator(mode="after")
    def _fits_type(self) -> Self:
        takes = {
            "number": {"min", "max", "unit", "decimal", "thousands", "strip", "merge"},
            "boolean": {"positive", "negative"},
            "category": {"levels", "max_levels", "merge"},
            "date": {"format"},
        }
        if foreign := (set().union(*takes.values()) - takes[self.type]) & self.model_fields_set:
            raise ValueError(f"a {self.type} column takes no {sorted(foreign)}")
        if self.thousands == self.decimal:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}")
        if self.format and "%" not in self.format:
            raise ValueError(f"format {self.format!r} has no %; for 31/12/2024 it is '%d/%m/%Y'")
        words = [word for words in self.merge.values() for word in words]
        if twice := [word for word, n in Counter(words).items() if n > 1 or word in self.merge]:
            raise ValueError(f"merge: {twice[0]!r} means two values")
        if self.levels is not None and (new := [level for level in self.merge if level not in self.levels]):
            raise ValueError(f"merge: {new[0]!r} is none of the levels {list(self.levels)}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        if self.type == "boolean" and (bool(self.positive) != bool(self.negative)):
            raise ValueError("positive and negative stand together or not at all (then true and false)")
        if self.max_missing and not self.nullable:
            raise ValueError("max_missing above 0 contradicts nullable: false")
        return self

    @property
    def meaning(self) -> dict[str, str]:
        """Of the texts under merge."""
        return {word: value for value, words in self.merge.items() for word in words}

    @property
    def low(self) -> float:
        return -math.inf if self.min is None else self.min

    @property
    def high(self) -> float:
        return math.inf if self.max is None else self.max


class Schema(_Part):
    """What `schemas/*.yaml` says of one kind of table."""

    id: Customer | None = None
    target: Target
    time: Time | None = None
    as_of: Day | None = None  # the day that a table without a time column describes
    missing: Texts = ("",)
    leave_out: tuple[LeaveOut, ...] = ()
    drop: tuple[Drop, ...] = ()
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]
    strict: bool = False

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [part.name for part in self.parts]
        if twice := [name for name, n in Counter(names).items() if n > 1]:
            raise ValueError(f"the name {twice[0]!r} is used twice")
        if TARGET in names and self.target.name != TARGET:
            raise ValueError(f"the name {TARGET!r} is the target's behind preprocess; give the column another one")
        if ID in [column.name for column in self.columns]:
            raise ValueError(f"the name {ID!r} is the customer's own in requests; give the column another one")
        if AS_OF in names:
            raise ValueError(f"the name {AS_OF!r} is the day's in requests; give the column another one")
        if self.dates and not self.time and not self.as_of:
            raise ValueError(
                f"the date column '{self.dates[0]}' is counted in days before a row's time: name that column under "
                "time, or say as_of: 2024-12-31, the day that the table describes"
            )
        headers = Counter(header for part in self.parts for header in dict.fromkeys(part.headers))
        if twice := [header for header, n in headers.items() if n > 1]:
            raise ValueError(f"the header {twice[0]!r} stands for two columns; it may be one's source or name only")
        if both := [header for header in self.dropped if header in headers]:
            raise ValueError(f"the header {both[0]!r} stands under drop and for a column; choose one")
        return self

    @property
    def parts(self) -> tuple[Identifier, ...]:
        """Every column the table is asked for: id, time, target and the feature columns, in this order."""
        return tuple(part for part in (self.id, self.time, self.target) if part) + self.columns

    @property
    def dates(self) -> tuple[str, ...]:
        """The names of the date columns."""
        return tuple(column.name for column in self.columns if column.type == "date")

    @property
    def moment(self) -> str | None:
        """What a customer's day is called in records, which the dates are counted from; None without date columns."""
        return (self.time.name if self.time else AS_OF) if self.dates else None

    @property
    def dropped(self) -> dict[str, str]:
        """Header -> why it is never read."""
        return {header: drop.why for drop in self.drop for header in drop.source}

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def read_schema(path: Path) -> Schema:
    """The schema in `path`; every mistake in it is one line of the InputError."""
    try:
        content = read_yaml(path)
    except FileNotFoundError:
        raise InputError(
            f"schema {path} is missing; draft one with: python -m churn.draft_schema TABLE --target HEADER"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"schema {path} is not YAML: {' '.join(str(error).split())}") from None
    try:
        return Schema.model_validate(content)
    except ValidationError as error:
        raise InputError("\n".join(_sentence(path, content, e) for e in error.errors())) from None


_Parts = dict[str, type[_Part]]
_KEYS: _Parts = {
    "columns": Column, "id": Customer, "time": Time, "target": Target, "drop": Drop, "leave_out": LeaveOut,
}  # fmt: skip


def _sentence(path: Path, content: Any, error: Any) -> str:
    place, keys = f"schema {path}", list(Schema.model_fields)
    match error["loc"]:
        case (part, int(i), *rest) if part in _KEYS:
            entry = content[part][i]
            label = entry.get("name", entry.get("source")) if isinstance(entry, dict) else entry
            place, loc, keys = f"{place}: {part}[{i}] ({label})", rest, list(_KEYS[part].model_fields)
        case (part, *rest) if rest and part in _KEYS:
            place, loc, keys = f"{place}: {part}", rest, list(_KEYS[part].model_fields)
        case loc:
            pass
    key = ".".join(str(word) for word in loc)
    message = error["msg"].removeprefix("Value error, ")
    match error["type"]:
        case "extra_forbidden":
            return f"{place} has no key '{key}'{closest(key, keys)}; it has {keys}"
        case "missing":
            return f"{place} has no key '{key}'"
        case "value_error":
            return f"{place}{f' {key}' if key else ''}: {message}"
    return f"{place}{f' {key}' if key else ''} is {error['input']!r}: {message[0].lower()}{message[1:]}"
