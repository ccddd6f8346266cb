"""The tables of a comparison as Markdown."""

from rankmatch_keras.comparison.measures import MEASURES, Comparison
from rankmatch_keras.comparison.tables import Table, column_name, cost_table, paired_table, score_table
from rankmatch_keras.texts import shown


def to_markdown(comparison: Comparison) -> str:
    """Format all tables, with what they were measured on.

    Args:
        comparison: the runs.

    Returns:
        str with a final newline.
    """
    parts = [
        "# Comparison",
        f"Mean IoU in %, mean ± sample standard deviation over seeds ({', '.join(map(str, comparison.seeds))}); the "
        "number of seeds in parentheses if some are missing. Columns: labeled images. The best mean is bold.",
    ]
    if comparison.labels_with_gap:
        parts.append(
            "Gap closed: what a method gains over supervised with as many labels, in % of what all labels would gain."
        )
    for measure in MEASURES:
        title = _marked(comparison.describe(measure))
        scores = score_table(comparison, measure)
        parts += [f"## {title[0].upper()}{title[1:]}", _rows(scores), *scores.notes]
    parts += ["## Paired over seeds", _tests(comparison), "## Cost", _costs(comparison)]
    if comparison.failed:
        failures = [
            f"- {_marked(one.label)}, {column_name(comparison, one.labels)}, seed {one.seed}: {_marked(one.error)}"
            for one in comparison.failed
        ]
        parts += ["## Without a score", "\n".join(failures)]
    return "\n\n".join(parts) + "\n"


def _tests(comparison):
    if len(comparison.methods) < 2:
        return "One method: nothing to test."
    table = paired_table(comparison)
    return "\n\n".join([*table.notes, _rows(table)]) if table else "No two methods have a seed in common."


def _costs(comparison):
    table = cost_table(comparison)
    return "\n\n".join([*table.notes, _rows(table)]) if table else "No finished run."


def _rows(table: Table) -> str:
    lines = [list(table.header), ["---"] * len(table.header), *([_cell(cell) for cell in row] for row in table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell):
    text = _marked(cell.text) if cell.name else cell.text
    return f"{f'**{text}**' if cell.best else text} {cell.note}".strip()


def _marked(text):
    return shown(text, "markdown")
