"""The pages of the documentation, and the blocks of code in them."""

import re

FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
# A language (none: the shell) and the code; a comment before the fence says why nothing runs it.
BLOCK = re.compile(r"(?:<!-- not run: ([^\n]+) -->\n+)?^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def pages(checkout):
    """Return the Markdown pages by path, without what tools wrote into docs/rank-loss-study."""
    own = [path for path in checkout.glob("docs/**/*.md") if path.parent.name != "rank-loss-study"]
    paths = [checkout / "README.md", *own, *checkout.glob("data/**/README.md")]
    return {path: path.read_text(encoding="utf-8") for path in sorted(paths)}


def blocks(text, *languages):
    """Yield the code of the blocks in some languages, each with the reason for not running it, if any."""
    for reason, language, code in BLOCK.findall(text):
        if language in languages:
            yield code, reason
