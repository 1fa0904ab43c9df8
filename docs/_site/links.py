"""A hook of mkdocs: pages outside docs/ join the site, and links between them and docs/ lead to the right place.

In the repository, links are relative to the file that holds them, so they work on GitHub. In the site, docs/ is the
root and the other files keep their folder: weights/README.md becomes weights/README.html.
"""

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "examples/README.md",
    *sorted(f"weights/{page.name}" for page in (ROOT / "weights").glob("*.md")),
)
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/, and the files that any page links to."""
    pages = [Path(file.abs_src_path or "") for file in files.documentation_pages()] + [ROOT / page for page in PAGES]
    links = [(page, link) for page in pages for link in _links(page.read_text())]
    linked = {target for page, link in links if (target := _target(page, link))}
    for path in sorted({ROOT / page for page in PAGES} | linked):
        name = _in_site(path)
        if path.is_file() and files.get_file_from_path(name) is None:
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with its links relative to its place in the site. A folder's link leads to its page."""
    source = Path(page.file.abs_src_path or "")
    folder = PurePosixPath(page.file.src_uri).parent

    def moved(link: re.Match[str]) -> str:
        target = _target(source, link[2])
        if target is None:
            return link[0]
        if target.is_dir() and (target / "README.md").is_file():
            target /= "README.md"
        return f"{link[1]}{os.path.relpath(_in_site(target), folder)}{link[3]}"

    return "".join(part if CODE.fullmatch(part) else LINK.sub(moved, part) for part in CODE.split(markdown))


def _links(markdown: str) -> list[str]:
    return [link for _, link, _ in LINK.findall(CODE.sub("", markdown))]


def _target(page: Path, link: str) -> Path | None:
    """Return the file of the repository that a page's link names; None where there is no such file."""
    path = Path(os.path.normpath(page.parent / link))
    return path if path.exists() and path.is_relative_to(ROOT) else None


def _in_site(path: Path) -> str:
    docs = ROOT / "docs"
    return path.relative_to(docs if path.is_relative_to(docs) else ROOT).as_posix()
