"""A stand-in for pandas: as much of it as the programs of these tests use."""

from __future__ import annotations

from typing import Any


class Series(list[Any]):
    """A column."""

    def sum(self) -> Any:
        return sum(self)

    def __gt__(self, other: Any) -> Series:  # type: ignore[override]
        return Series(value > other for value in self)


class DataFrame:
    """Rows."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        self._records = records

    def __getitem__(self, key: str | Series) -> Any:
        if isinstance(key, str):
            return Series(record[key] for record in self._records)
        return DataFrame([record for record, kept in zip(self._records, key, strict=True) if kept])

    def __len__(self) -> int:
        return len(self._records)

    def to_dict(self, orient: str) -> list[dict[str, Any]]:
        assert orient == "records"
        return self._records
