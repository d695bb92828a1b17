"""All problems of a dataset, collected and reported in one message."""

from dataclasses import dataclass, field
from pathlib import Path

from fsat.core.errors import FsatError, shown

_SHOWN = 20


@dataclass
class Problems:
    """All problems of a dataset, for one message."""

    by_kind: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, what: str, remedy: str, item: str) -> None:
        """Note one problem; those of the same kind (what, remedy) are listed together."""
        self.by_kind.setdefault((what, remedy), []).append(item)

    def __len__(self) -> int:
        """Count problems of all kinds."""
        return sum(map(len, self.by_kind.values()))

    def raise_if_any(self, folder: str | Path, *, what: str = "dataset") -> None:
        """Raise `FsatError` with all problems of a folder or file, grouped by kind and cut after 20 of a kind."""
        if not self.by_kind:
            return
        lines = [f"{what} {folder}: {len(self)} problem{'s' if len(self) > 1 else ''}"]
        for (kind, remedy), items in self.by_kind.items():
            lines.append(f"  {kind}. {remedy}")
            lines += [f"    {shown(item)}" for item in items[:_SHOWN]]
            if len(items) > _SHOWN:
                lines.append(f"    ... and {len(items) - _SHOWN} more")
        raise FsatError("\n".join(lines))
