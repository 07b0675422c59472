"""The files of a result's folder."""

from __future__ import annotations

import json

from tfcompress.recipe import dump_recipe
from tfcompress.report.page import render_page
from tfcompress.report.result import Result

__all__ = ["result_files"]


def result_files(result: Result) -> dict[str, bytes | str]:
    """File name -> content: `model.tflite` and what explains, proves and reproduces it."""
    return {
        "recipe.yaml": dump_recipe(result.recipe),
        "promises.json": json.dumps(list(result.promises), indent=2) + "\n",
        "report.html": render_page(result),
        "result.json": json.dumps(result.to_json(), indent=2) + "\n",
        "model.tflite": result.packed,
    }
