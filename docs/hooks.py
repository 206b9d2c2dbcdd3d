"""Hook of MkDocs: pages may link to files of the repository outside ``docs/``, as on GitHub, and these come along."""

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DOCS = Path(__file__).parent
ROOT = DOCS.parent
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")
"""The path of a relative link or picture, without its anchor."""
LIST = re.compile(r"^([^\s|>#-].*\n)(?=- )", re.M)
"""A line of text with a list right below it: a list to GitHub, to Python-Markdown a part of the paragraph."""


def place(path: Path) -> str:
    """Return where a file of the repository stands in the site: pages at the top, all else as in the repository."""
    return path.relative_to(DOCS if path.is_relative_to(DOCS) else ROOT).as_posix()


def targets(page: Path) -> list[Path]:
    """Return the files that a page links to."""
    found = LINK.findall(page.read_text(encoding="utf-8"))
    return [path for path in (Path(os.path.normpath(page.parent / link)) for link in found) if path.is_file()]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to, and what the reports among it link to in turn."""
    pages = [Path(str(file.abs_src_path)) for file in files.documentation_pages()]
    while pages:
        for path in targets(pages.pop()):
            if path.is_relative_to(ROOT) and files.get_file_from_path(place(path)) is None:
                files.append(File.generated(config, place(path), abs_src_path=str(path)))
                pages += [path] if path.suffix == ".md" else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at where their files stand in the site, and let lists of reports be lists."""
    source = Path(str(page.file.abs_src_path))

    def moved(link: re.Match[str]) -> str:
        path = Path(os.path.normpath(source.parent / link[1]))
        return os.path.relpath(place(path), Path(page.file.src_uri).parent) if path.is_file() else link[1]

    markdown = LINK.sub(moved, markdown)
    return markdown if source.is_relative_to(DOCS) else LIST.sub(r"\1\n", markdown)
