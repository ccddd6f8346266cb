"""What mkdocs does beyond its settings: pages from outside of docs/ come along, with working links."""

import json
from pathlib import Path

from mkdocs.structure.files import File

CHECKOUT = Path(__file__).parents[1]
NOTEBOOK = "quickstart.ipynb"
# A link in the repository, and the same in the site, where data/ is a folder of docs/.
LINKS = {"](../data/": "](data/", "](../docs/": "](../", f"{NOTEBOOK})": "quickstart.md)"}


def on_files(files, config):
    """Add the pages of the public data sets, the changelog, and the notebook as a page."""
    for page in [*sorted((CHECKOUT / "data").glob("**/README.md")), CHECKOUT / "CHANGELOG.md"]:
        files.append(File.generated(config, page.relative_to(CHECKOUT).as_posix(), abs_src_path=str(page)))
    cells = json.loads((CHECKOUT / "docs" / NOTEBOOK).read_text(encoding="utf-8"))["cells"]
    files.append(File.generated(config, "quickstart.md", content="\n\n".join(map(_markdown, cells))))
    return files


def on_page_markdown(markdown, page, config, files):
    """Mend the links that differ."""
    for repository, site in LINKS.items():
        markdown = markdown.replace(repository, site)
    return markdown


def _markdown(cell):
    """Return a cell of a notebook as Markdown, with what it printed and drew."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    return "\n\n".join([f"```python\n{source}\n```", *map(_output, cell["outputs"])])


def _output(output):
    if output["output_type"] == "stream":
        return f"```text\n{''.join(output['text']).rstrip()}\n```"
    return f"![What the cell shows](data:image/jpeg;base64,{output['data']['image/jpeg'].strip()})"
