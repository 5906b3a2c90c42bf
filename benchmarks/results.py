"""Rows of measurements: the values of every turn, their medians, and what a target says of them.

Plain data, so that a run can be saved and its report written again from the file.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

OURS = "nexo"


@dataclass
class Row:
    """One comparison. `values` maps a server to what each turn measured; `against` are the peers a target names.

    `ratio_min` or `ratio_max` bounds ours divided by the better of `against`; `value_min` and
    `value_max` bound ours itself.
    """

    case: str
    title: str
    unit: str
    values: dict[str, list[float]]
    against: list[str] = field(default_factory=list)
    ratio_min: float | None = None
    ratio_max: float | None = None
    value_min: float | None = None
    value_max: float | None = None
    better: str = "higher"
    missing: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def median(self, name: str) -> float | None:
        """The median over the turns; None when the server was not there."""
        values = self.values.get(name)
        return statistics.median(values) if values else None

    def ratios(self, against: Sequence[str] | None = None) -> list[float]:
        """Per turn: ours over the best peer in the same turn."""
        peers = [name for name in (self.against if against is None else against) if self.values.get(name)]
        ours = self.values.get(OURS, [])
        if not peers or not ours:
            return []
        best = max if self.better == "higher" else min
        return [mine / best(self.values[name][turn] for name in peers) for turn, mine in enumerate(ours)]

    def target(self) -> str:
        """The target in words; empty where a row only informs."""
        parts = []
        if self.ratio_min is not None:
            parts.append(f"≥ {self.ratio_min:g} ×")
        if self.ratio_max is not None:
            parts.append(f"≤ {self.ratio_max:g} ×")
        if self.value_min is not None:
            parts.append(f"≥ {amount(self.value_min)} {self.unit}")
        if self.value_max is not None:
            parts.append(f"≤ {amount(self.value_max)} {self.unit}")
        return ", ".join(parts)

    def met(self) -> bool | None:
        """Whether the medians meet the target; None without a target, or when a peer it names is missing."""
        if not self.target():
            return None
        answers: list[bool] = []
        ratios = self.ratios()
        if self.ratio_min is not None or self.ratio_max is not None:
            if not ratios or any(name in self.missing for name in self.against):
                return None
            ratio = statistics.median(ratios)
            answers.append(self.ratio_min is None or ratio >= self.ratio_min)
            answers.append(self.ratio_max is None or ratio <= self.ratio_max)
        if self.value_min is not None:
            ours = self.median(OURS)
            answers.append(ours is not None and ours >= self.value_min)
        if self.value_max is not None:
            ours = self.median(OURS)
            answers.append(ours is not None and ours <= self.value_max)
        return all(answers)


def amount(value: float) -> str:
    """A bound as it was set: millions where it has some."""
    return f"{value / 1e6:,.4g} M" if value >= 1e6 else f"{value:,.4g}"


@dataclass
class Run:
    """Everything a report needs."""

    command: str
    when: str
    quick: bool
    machine: dict[str, str]
    versions: dict[str, str]
    plan: dict[str, float]
    failures: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def of(self, case: str) -> list[Row]:
        """The rows of a case."""
        return [row for row in self.rows if row.case == case]


def save(run: Run, path: Path) -> None:
    """Write a run as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = _rounded(asdict(run))
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def load(path: Path) -> Run:
    """Read a run that `save` wrote."""
    data = json.loads(path.read_text())
    data["rows"] = [Row(**row) for row in data["rows"]]
    return Run(**data)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
