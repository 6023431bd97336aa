"""Plain text tables."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, indent: str = "") -> list[str]:
    """Lay out rows under a header. The first ``left`` columns are aligned left, numbers right; no trailing blanks."""
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]

    def lay(cells: Sequence[str]) -> str:
        aligned = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return (indent + "  ".join(aligned)).rstrip()

    return [lay(header), indent + "  ".join("-" * width for width in widths), *(lay(row) for row in rows)]
