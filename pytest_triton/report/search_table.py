"""The table of a search: a row for each candidate, the best first, and the default configuration last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_triton.measurement import Measurement
from pytest_triton.metrics import is_metric, metric
from pytest_triton.quantities import show
from pytest_triton.report.load import cell
from pytest_triton.results.record import Record
from pytest_triton.search.objective import Objective, objective

MOST_ROWS = 30
"""A table with more rows than this is cut."""
_BEST_ROWS = 20
_HEADER = ("configuration", "max batch", "dyn. batching", "instances", "load", "p99", "throughput")
_THROTTLED = 0.05
"""Share of the time in which a GPU was throttled from which on a candidate's row says so."""
_ALWAYS = ("p99", "throughput")
_ON_GPU = {"gpu_memory": "max GPU memory", "gpu_utilization": "avg. GPU util."}
_ON_CPU = {"rss": "RSS", "cpu": "CPU"}


def objectives_of(records: Sequence[Record]) -> tuple[Objective, ...]:
    """Return what a search is about, as its records say it: throughput where none does."""
    told = [part.get("objectives") for record in records for part in (record.summary, record.sought)]
    return tuple(objective(name) for name in next((names for names in told if names), ["throughput"]))


def end_of(records: Sequence[Record]) -> Record | None:
    """Return the record that decided a search, None where it did not come so far."""
    return next((record for record in records if record.summary), None)


def search_table(records: Sequence[Record]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the header and the rows; of many candidates the best ones, which ``hidden`` says."""
    objectives, end = objectives_of(records), end_of(records)
    resources = _ON_GPU if any("gpu_memory" in record.measurement for record in records) else _ON_CPU
    extra = [each for each in objectives if each.name not in _ALWAYS]
    others = _others(objectives, records)
    view = _View(objectives[0], extra, others, tuple(resources), end.summary if end is not None else {})
    ordered = sorted(_measured(records), key=view.order)
    rows = [view.row(record, end) for record in ordered[: _shown(ordered)]]
    if end is not None and end.summary["default"]:
        rows.append(view.default_row(end))
    header = (*_HEADER, *(each.name for each in extra), *others, *resources.values(), "gain", "")
    return header, rows


def _others(objectives: Sequence[Objective], records: Sequence[Record]) -> tuple[str, ...]:
    """Name the metrics of models under load beside that something depends on, and that are no objective themselves."""
    bounds = dict.fromkeys(name for record in records for name in record.slo)
    names = dict.fromkeys([*(name for each in objectives for name in each.metrics), *bounds])
    told = [each.name for each in objectives]
    return tuple(name for name in names if is_metric(name) and metric(name).model and name not in told)


def hidden(records: Sequence[Record]) -> list[str]:
    """Say how many candidates were measured and have no row: a line, or none."""
    measured = _measured(records)
    more = len(measured) - _shown(measured)
    return [f"... and {more} more, which --triton-json has"] if more else []


def value_of(record: Record, by: Objective) -> float | None:
    """Return a record's value of an objective; None where that is not known."""
    value = by.value(Measurement.from_dict(record.measurement).metrics, record.settings.get("instances", 0))
    return value.value if value is not None else None


def _measured(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.point and record.measurement]


def _shown(records: Sequence[Record]) -> int:
    return len(records) if len(records) <= MOST_ROWS else _BEST_ROWS


def _was_throttled(record: Record) -> bool:
    share = record.measurement.get("gpu_throttled", {}).get("value")
    return share is not None and share > _THROTTLED


@dataclass(frozen=True, slots=True)
class _View:
    """How the rows of one search's table are made. ``summary`` is empty where nothing was decided."""

    by: Objective
    extra: Sequence[Objective]
    others: tuple[str, ...]
    resources: tuple[str, ...]
    summary: Mapping[str, Any]

    def order(self, record: Record) -> tuple[bool, bool, float]:
        """Put the winner first, then those that may have won, by their value."""
        value = value_of(record, self.by)
        worth = self.by.quotient(value, 1.0) if value is not None else 0.0
        return record.point != self.summary.get("winner"), record.status != "measured", -worth

    def row(self, record: Record, end: Record | None) -> tuple[str, ...]:
        """Write a candidate's row; the winner's in the figures of its confirmation."""
        if end is not None and record.point == self.summary["winner"]:
            gain = self.summary["gain_shown"]
            note = ", ".join(filter(None, ("winner", self._note(record))))
            return self._cells(record.point, record.settings, record.load, end.measurement, gain, note)
        gain = self.summary.get("gains_shown", {}).get(record.point) or self._rough_gain(record)
        return self._cells(record.point, record.settings, record.load, record.measurement, gain, self._note(record))

    def default_row(self, end: Record) -> tuple[str, ...]:
        """Write the row of the default configuration, as it was measured against the finalists."""
        note = "stays" if self.summary["winner"] == "default" else ""
        load = self.summary.get("default_load") or end.load
        return self._cells("default", self.summary["default_settings"], load, self.summary["default"], "", note)

    def _note(self, record: Record) -> str:
        if record.status == "skipped":
            return record.reason.partition(": ")[0]
        if record.status != "measured":
            missed = [check["metric"] for check in record.checks if check["outcome"] == "FAIL"]
            return f"{record.status}: {', '.join(missed)}" if missed else record.status
        told = {"tie": "rivals", "front": "front", "as by default": "alike"}
        words = [word for word, names in told.items() if record.point in self.summary.get(names, ())]
        return ", ".join([*words, "throttled"] if _was_throttled(record) else words)

    def _rough_gain(self, record: Record) -> str:
        """Compare a candidate's first figures to the default's: not in alternation, so without an interval."""
        metrics = Measurement.from_dict(self.summary.get("default", {})).metrics
        ours = value_of(record, self.by)
        theirs = self.by.value(metrics, self.summary.get("default_settings", {}).get("instances", 0))
        if not ours or theirs is None or not theirs.value:
            return "-"
        return f"~{self.by.gain(self.by.quotient(ours, theirs.value)):+.0%}"

    def _cells(
        self,
        name: str,
        settings: Mapping[str, Any],
        load: Mapping[str, Any],
        measured: Mapping[str, Mapping[str, Any]],
        gain: str,
        note: str,
    ) -> tuple[str, ...]:
        metrics = Measurement.from_dict(measured).metrics
        values = [each.value(metrics, settings["instances"]) for each in self.extra]

        def written(name: str) -> str:
            return show(metrics[name].value if name in metrics else None, metric(name).unit)

        return (
            name,
            str(settings["max_batch_size"]),
            "yes" if settings["dynamic_batching"] else "no",
            str(settings["instances"]),
            cell(load),
            *(written(each) for each in _ALWAYS),
            *(
                each.show(value.value if value is not None else None)
                for each, value in zip(self.extra, values, strict=True)
            ),
            *(written(each) for each in (*self.others, *self.resources)),
            gain,
            note,
        )
