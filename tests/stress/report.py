"""The table of a stress run."""

from dataclasses import dataclass, field

OUTCOMES = ("right", "refused", "wrong", "trace", "hang")


@dataclass
class Row:
    """How often each outcome was seen.

    Attributes:
        name: what was tried.
        counts: outcome -> number.
        findings: one line for each that went wrong.
        note: more to say, e.g. why it was left out.
    """

    name: str
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    findings: list[str] = field(default_factory=list)
    note: str = ""

    def add(self, outcome: str, finding: str | None = None):
        """Count one."""
        self.counts[outcome] += 1
        if finding:
            self.findings.append(finding)

    @property
    def tried(self) -> int:
        """Number of all."""
        return sum(self.counts.values())


def table(rows: list[Row]) -> str:
    """Format the rows and their sum as a Markdown table, what went wrong below it."""
    total = Row("all", {name: sum(row.counts[name] for row in rows) for name in OUTCOMES})
    lines = [f"| what | tried | {' | '.join(OUTCOMES)} |", f"|{' --- |' * (len(OUTCOMES) + 2)}"]
    for row in (*rows, total):
        numbers = " | ".join(str(row.counts[name]) for name in OUTCOMES)
        lines.append(f"| {row.name}{f' ({row.note})' if row.note else ''} | {row.tried} | {numbers} |")
    found = [f"- {row.name}: {finding}" for row in rows for finding in row.findings]
    return "\n".join([*lines, *(["", *found] if found else [])])
