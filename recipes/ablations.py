"""The article's ablations, Tables 4 to 8, on any data: the rows are written here, `rankmatch compare` does the rest.

Example:
  python recipes/ablations.py --table 5 recipes/camvid.py --data path/to/camvid --labels 23 --seeds 3 --out runs/table5
  python recipes/ablations.py --table 8 recipes/lucchi.py --data path/to/lucchi --labels 10 --seeds 1 --out runs/table8

All other flags are those of `rankmatch compare` and of the named recipe. The article's numbers, for PASCAL VOC with 92
labeled images, stand in docs/reproduce.md.
"""

import click

from rankmatch_keras.cli import compare, run
from rankmatch_keras.environment import require_environment

TABLES = {
    # What comes on top of the pixel consistency: contrast, correlation, and the ranking of the correlations.
    4: ("unimatch", "contrastive", "rankmatch[correlation=kl]", "rankmatch"),
    # How agents are chosen.
    5: ("rankmatch[agents=all]", "rankmatch[agents=random]", "rankmatch[agents=top_n]", "rankmatch[agents=orthogonal]"),
    # How correlations are compared.
    6: ("rankmatch[correlation=l2]", "rankmatch[correlation=ce]", "rankmatch[correlation=kl]", "rankmatch"),
    # How many agents.
    7: tuple(f"rankmatch[num_agents={number}]" for number in (64, 128, 256, 512)),
    # The weight of the rank loss.
    8: tuple(f"rankmatch[rank_weight={weight}]" for weight in (0.05, 0.1, 0.2, 0.5)),
}


@click.command(context_settings={"ignore_unknown_options": True}, help=f"\b\n{__doc__}")
@click.option("--table", type=click.Choice([str(number) for number in TABLES]), required=True)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="RECIPE [FLAGS]")
def main(table, words):
    """Compare the rows of a table."""
    require_environment()
    compare.main([*words, "--methods", ",".join(TABLES[int(table)])], standalone_mode=False)


if __name__ == "__main__":
    run(main)
