"""Reading the environment variables of the service."""

from __future__ import annotations

import os
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Strict, ValidationError, create_model
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from factcensus.api.settings import UNNAMED, Limits, Settings
from factcensus.indexer.environment import PREFIX, check_environment
from factcensus.indexer.errors import InputError
from factcensus.indexer.numbers import decimal_number, whole_number


def _flag(text: str) -> bool | str:
    return {"0": False, "1": True}.get(text, text)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _folders(text: str) -> list[str]:
    return [folder for folder in text.split(os.pathsep) if folder]


Whole = Annotated[int, BeforeValidator(partial(whole_number, least=None))]
#: How the text of a variable becomes a value, by the type of its setting.
_BY_TYPE: dict[str, Any] = {
    "str": str,
    "int": Annotated[Whole, Field(ge=1, description="a whole number, at least 1")],
    "bool": Annotated[bool, Strict(), BeforeValidator(_flag), Field(description="0 or 1")],
    "Path | None": Annotated[Path | None, BeforeValidator(lambda text: text or None)],
    "tuple[Path, ...]": Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_folders)],
    "tuple[str, ...]": Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)],
    "tuple[str, ...] | None": Annotated[
        tuple[str, ...] | None, NoDecode, BeforeValidator(lambda text: _words(text) or None)
    ],
}
#: The same, for settings whose values are limited further.
_BY_NAME: dict[str, Any] = {
    "port": Annotated[Whole, Field(ge=0, le=65535, description="a whole number from 0 to 65535")],
    "workers": Annotated[Whole, Field(ge=1, le=256, description="a whole number from 1 to 256")],
    # A comma separates the addresses of one index.
    "remote": Annotated[tuple[str, ...], NoDecode, BeforeValidator(lambda text: text.split())],
    "requests_per_minute": Annotated[Whole, Field(ge=0, description="a whole number, at least 0")],
    "poll_seconds": Annotated[
        float, BeforeValidator(decimal_number), Field(ge=0, le=86400, description="a number of seconds from 0 to 86400")
    ],
    "log_level": Annotated[
        Literal["debug", "info", "warning", "error"],
        BeforeValidator(str.lower),
        Field(description="one of debug, info, warning, error"),
    ],
    "log_format": Annotated[
        Literal["text", "json"], BeforeValidator(str.lower), Field(description="one of text, json")
    ],
}


class _Variables(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, validate_default=False)


def settings_from_env() -> Settings:
    """Read the settings from the variables ``FACTCENSUS_…``; unset variables keep the defaults.

    ``FACTCENSUS_INDEXES`` separates folders as ``PATH`` does, with a colon (a semicolon on Windows).

    Raises:
        InputError: A value is invalid; the message names the variable.
        UnknownNameError: A variable is unknown; the message suggests the nearest one.
    """
    check_environment(os.environ)
    named = [each for each in (*fields(Settings), *fields(Limits)) if each.name not in UNNAMED]
    kinds: Any = {each.name: (_BY_NAME.get(each.name) or _BY_TYPE[str(each.type)], None) for each in named}
    variables: Any = create_model("Variables", __base__=_Variables, **kinds)
    try:
        given = dict(variables().model_dump(exclude_unset=True))
    except ValidationError as error:
        wrong = error.errors()[0]
        name = str(wrong["loc"][0])
        expected = variables.model_fields[name].description
        raise InputError(
            f"{PREFIX}{name.upper()} is {os.environ[PREFIX + name.upper()]!r}; it must be {expected}"
        ) from None
    limits = {limit.name: given.pop(limit.name) for limit in fields(Limits) if limit.name in given}
    return Settings(**given, limits=Limits(**limits))
