"""Recipes as JSON and YAML files, and the presets that ship with the package."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tfcompress.errors import InvalidInputError
from tfcompress.recipe.recipe import Recipe

__all__ = ["dump_recipe", "load_recipe", "parse_recipe", "preset", "preset_names", "recipe_schema"]


def load_recipe(path: str | Path) -> Recipe:
    """Reads a recipe from a `.yaml`, `.yml` or `.json` file.

    Raises:
        InvalidInputError: The file is missing, is no YAML, or names an unknown or wrong field.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            "the recipe must be a readable text file", f"recipe='{path}' ({error})", "Check the path"
        ) from None
    return parse_recipe(text, source=str(path))


def parse_recipe(text: str, source: str = "recipe") -> Recipe:
    """Reads a recipe from JSON or YAML text.

    Raises:
        InvalidInputError: The text is no YAML mapping, or a field is unknown or wrong.
    """
    try:
        fields = _load(text)
    except yaml.YAMLError as error:
        reason = str(error).replace("\n", " ")
        raise InvalidInputError(
            "a recipe must be valid YAML or JSON", f"{source} ({reason})", "Mend the text"
        ) from None
    if not isinstance(fields, dict):
        raise InvalidInputError(
            "a recipe must be a mapping of fields", f"{source} holds {type(fields).__name__}", "Start it with 'rules:'"
        )
    try:
        return Recipe(**fields)
    except (ValidationError, TypeError) as error:
        raise InvalidInputError(
            "a recipe must keep to its schema", f"{source}: {_one_line(error)}", "`recipe_schema()` lists the fields"
        ) from None


def _load(text: str) -> Any:
    try:
        return json.loads(text)  # not left to YAML, which takes JSON's surrogate pairs for two characters
    except ValueError:
        return yaml.safe_load(text)


def _one_line(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return str(error)
    faults = []
    for fault in error.errors():
        field = ".".join(str(part) for part in fault["loc"]) or "recipe"
        faults.append(f"{field}: {fault['msg']}")
    return "; ".join(faults)


def dump_recipe(recipe: Recipe, format: str = "yaml") -> str:
    """Writes a recipe as text that `parse_recipe` reads back to an equal value.

    Args:
        recipe: The recipe.
        format: "yaml" or "json".
    """
    fields = recipe.model_dump(mode="json", exclude_none=True)
    if format == "yaml":
        return yaml.safe_dump(fields, sort_keys=False)
    if format == "json":
        return json.dumps(fields, indent=2) + "\n"
    raise InvalidInputError("format must be 'yaml' or 'json'", f"format='{format}'", "Choose one of the two")


def recipe_schema() -> dict[str, Any]:
    """The JSON schema of a recipe."""
    return Recipe.model_json_schema()


def preset_names() -> tuple[str, ...]:
    """Names of the presets, mildest first."""
    return ("light", "deep", "extreme")


def preset(name: str) -> Recipe:
    """A recipe that ships with the package.

    Raises:
        InvalidInputError: There is no preset of this name.
    """
    if name not in preset_names():
        raise InvalidInputError(
            f"a preset must be one of {', '.join(preset_names())}",
            f"preset='{name}'",
            "Give a recipe file for anything else",
        )
    text = resources.files("tfcompress.recipe").joinpath("presets", f"{name}.yaml").read_text(encoding="utf-8")
    return parse_recipe(text, source=f"preset '{name}'")
