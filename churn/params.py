"""Reading params.yaml: a section's knobs are the keyword-only arguments of the function that takes them."""

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ConfigDict, Field, ValidationError, create_model

from churn.script import InputError

PARAMS = Path("params.yaml")
Knobs = TypeVar("Knobs")


def read_params(section: str, knobs_of: Callable[..., Any], path: Path = PARAMS) -> dict[str, Any]:
    """The knobs of `section` ("train" or dotted, "train.models"), checked against the signature of `knobs_of`.

    A knob that the function does not take, a missing one, and a value that its annotation refuses are InputErrors.
    """
    content = read_section(section, path)
    knobs = {
        name: (argument.annotation, Field(... if argument.default is argument.empty else argument.default, alias=name))
        for name, argument in inspect.signature(knobs_of).parameters.items()
        if argument.kind is inspect.Parameter.KEYWORD_ONLY
    }
    # behind an alias, for a knob may be called like an attribute of pydantic's models: schema, copy, model_...
    fields: dict[str, Any] = {f"knob_{name}": field for name, field in knobs.items()}
    model = create_model(section, __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=True), **fields)
    try:
        checked = model.model_validate(content)
    except ValidationError as error:
        raise InputError("\n".join(_sentence(f"{path}: {section}", e, list(knobs)) for e in error.errors())) from None
    return {name: getattr(checked, f"knob_{name}") for name in knobs}


def read_knobs(section: str, knobs: type[Knobs], path: Path = PARAMS) -> Knobs:
    """The knobs of `section` as a dataclass of keyword-only fields, checked against these as `read_params` does."""
    return knobs(**read_params(section, knobs, path))


def read_section(section: str, path: Path = PARAMS) -> dict[str, Any]:
    """The mapping that stands in params.yaml under `section`, unchecked."""
    try:
        content = read_yaml(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; run from the repository's root") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    walked: list[str] = []
    for key in section.split("."):
        if not isinstance(content, dict) or key not in content:
            has = list(content) if isinstance(content, dict) else content
            place = f" under '{'.'.join(walked)}'" if walked else ""
            raise InputError(f"{path} has no section '{key}'{place}; it has {has}")
        content = content[key]
        walked.append(key)
    if not isinstance(content, dict):
        raise InputError(f"{path}: '{section}' is {content!r}; expected a mapping of knobs")
    return content


def read_yaml(path: Path) -> Any:
    """What stands in a YAML file, by libyaml where PyYAML was built with it: each stage reads several files."""
    return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # nosec B506


def closest(word: str, words: list[str]) -> str:
    """The text " (did you mean 'x'?)" when one of `words` is near to `word`, else ""."""
    near = get_close_matches(word, words, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _sentence(place: str, error: Any, knobs: list[str]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    match error["type"]:
        case "extra_forbidden":
            return f"{place} has no knob '{where}'{closest(where, knobs)}; it has {knobs}"
        case "missing":
            return f"{place} is missing the knob '{where}'; add it"
    return f"{place}.{where} is {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
