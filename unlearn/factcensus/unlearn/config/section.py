"""The base of all sections of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator

from factcensus.indexer.numbers import decimal_number


class ConfigSection(BaseModel):
    """An immutable section that refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_other_values_as_numbers(cls, given: Any) -> Any:
        """Refuse true, and texts such as ``1_0``; YAML reads ``1e-5`` as a text, so texts of numbers are accepted."""
        for name, value in given.items() if isinstance(given, Mapping) else ():
            kinds = cls.model_fields[name].annotation if name in cls.model_fields else None
            allowed = {*(get_args(kinds) or (kinds,))}
            if not allowed & {int, float}:
                continue
            if isinstance(value, bool) and bool not in allowed:
                raise ValueError(f"{name} must be a number, got {str(value).lower()}")
            if isinstance(value, str) and allowed <= {int, float, type(None)}:
                try:
                    decimal_number(value)
                except ValueError:
                    raise ValueError(f"{name} must be a number, got {value!r}") from None
        return given
