"""The base of all sections of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """An immutable section that refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_bool_as_number(cls, given: Any) -> Any:
        for name, value in given.items() if isinstance(given, Mapping) else ():
            kinds = cls.model_fields[name].annotation if name in cls.model_fields else None
            allowed = {kinds, *get_args(kinds)}
            if isinstance(value, bool) and allowed & {int, float} and bool not in allowed:
                raise ValueError(f"{name} must be a number, got {str(value).lower()}")
        return given
