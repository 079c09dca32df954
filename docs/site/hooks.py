"""What the site needs beside the pages of docs/: notebooks, files of the repository that pages link to, MathML."""

from __future__ import annotations

import html
import os
import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

import nbformat
from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"README.md": "index.md", **{same: same for same in ("CHANGELOG.md", "data/reference/README.md")}}
"""Files of the repository that are pages of the site: where they are, and where they go."""
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")
FENCE = re.compile(r"(^```.*?^```)", flags=re.MULTILINE | re.DOTALL)
MATH = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', flags=re.DOTALL)


def place_of(source: str) -> str | None:
    """Where a file of the repository is in the site; None for what is not there, such as a folder."""
    if source in PAGES:
        return PAGES[source]
    if source.startswith("docs/"):
        return re.sub(r"\.ipynb$", ".md", source.removeprefix("docs/"))
    # A page of its own would be made of other Markdown.
    return source if (ROOT / source).is_file() and not source.endswith(".md") else None


def linked(text: str, source: str) -> tuple[str, set[str]]:
    """The Markdown of a file with its links as the site has them, and the files outside docs/ that they lead to.

    Parameters
    ----------
    text : str
    source : str
        the file, from the root of the repository
    """
    here, wanted = place_of(source) or source, set()

    def change(found: re.Match[str]) -> str:
        image, words, target, anchor = found[1], found[2], found[3], found[4] or ""
        if not target or "://" in target or target.startswith("mailto:"):
            return found[0]
        there = normpath(str(PurePosixPath(source).parent / target))
        place = place_of(there)
        if place is None:
            return words
        if not there.startswith("docs/") and there not in PAGES:
            wanted.add(there)
        return f"{image}[{words}]({relpath(place, PurePosixPath(here).parent)}{anchor})"

    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(change, part) for part in parts), wanted


def on_files(files: Files, config: Any) -> Files:
    """Bring in README, changelog, notebooks and what pages link to."""
    wanted: set[str] = set()
    for source, place in PAGES.items():
        text, more = linked((ROOT / source).read_text(encoding="utf-8"), source)
        files.append(File.generated(config, place, content=text))
        wanted |= more
    for page in (ROOT / "docs").glob("*.md"):
        wanted |= linked(page.read_text(encoding="utf-8"), f"docs/{page.name}")[1]
    for source in sorted(wanted):
        files.append(File.generated(config, source, abs_src_path=str(ROOT / source)))
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        for place, content in rendered(notebook).items():
            files.append(File.generated(config, f"notebooks/{place}", content=content))
    return files


def rendered(path: Path) -> dict[str, str | bytes]:
    """A notebook as Markdown and its figures: executed, since outputs are not in the repository.

    Parameters
    ----------
    path : Path

    Returns
    -------
    files : dict
        name -> content; links are those of the notebook, as in the repository
    """
    notebook = nbformat.read(path, as_version=4)
    if os.environ.get("SPINLOOM_DOCS_EXECUTE", "true") != "false":
        NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if is_result(output)]
    shown = {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
    text, resources = MarkdownExporter().from_notebook_node(notebook, resources=shown)
    return {f"{path.stem}.md": text, **resources["outputs"]}


def is_result(output: Any) -> bool:
    """Whether an output is worth a place on a page: what was printed, figures and values, but no progress."""
    if output.output_type == "stream":
        return output.name == "stdout"
    output.data.pop("text/html", None)  # of xarray, with styles of its own
    return output.output_type == "execute_result" or "image/png" in output.data


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of the pages of docs/, as they are in the repository, as the site has them."""
    source = page.file.src_uri
    if source in PAGES.values():
        return markdown
    text = linked(markdown, f"docs/{source}")[0]
    if not source.startswith("notebooks/"):
        return text
    title, _, rest = text.lstrip().partition("\n")
    return f"{title}\n\n[This page as a notebook]({PurePosixPath(source).stem}.ipynb)\n{rest}"


def on_page_content(html: str, **_: Any) -> str:
    """Equations as MathML, which a browser shows without a script."""
    return MATH.sub(equation, html)


def equation(found: re.Match[str]) -> str:
    """One equation, inline or on lines of its own."""
    return convert(html.unescape(found[2]).strip(), display="block" if found[1] == "div" else "inline")
