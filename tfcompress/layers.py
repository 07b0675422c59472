"""The rows of a report: per variable what was asked, and what the audit found in the finished file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfcompress.convert import AuditResult, AuditRow
from tfcompress.report import Histogram, LayerReport
from tfcompress.train import Plan, PlanRow
from tfcompress.train.targets import find_variables

if TYPE_CHECKING:
    import keras

__all__ = ["layer_reports"]


def layer_reports(plan: Plan, before: keras.Model, after: keras.Model, verdict: AuditResult) -> tuple[LayerReport, ...]:
    """Joins the plan with the audit, by the variables' paths.

    Args:
        plan: One row per variable; those with fewer than two axes are left out.
        before: The trained model.
        after: The finalized model, of the same architecture.
        verdict: What the audit found, one row per promise.
    """
    found = {row.variable: row for row in verdict.rows}
    weights = [{item.path: item.variable for item in find_variables(model)} for model in (before, after)]
    reports = []
    for row in plan.rows:
        if len(row.shape) < 2:
            continue
        shipped = found.get(row.variable)
        if shipped is None:
            reports.append(_left_alone(row))
            continue
        trained, final = (np.asarray(variables[row.variable].numpy()) for variables in weights)
        reports.append(_report(row, shipped, Histogram.of(trained, final)))
    return tuple(reports)


def _left_alone(row: PlanRow) -> LayerReport:
    return LayerReport(row.layer, row.variable, row.shape, row.parameters, reason=row.reason)


def _report(row: PlanRow, shipped: AuditRow, histogram: Histogram) -> LayerReport:
    return LayerReport(
        layer=row.layer,
        variable=row.variable,
        shape=row.shape,
        parameters=row.parameters,
        asked_sparsity=row.sparsity,
        asked_centroids=row.num_centroids,
        asked_bits=row.num_bits,
        zeros=None if shipped.zeros is None else shipped.zeros / row.parameters,
        levels=shipped.levels,
        bits=shipped.bits if shipped.encoding != "float32" else None,
        bytes=shipped.bytes,
        ram_bytes=shipped.ram_bytes,
        op=shipped.op,
        kept=shipped.kept,
        histogram=histogram,
    )
