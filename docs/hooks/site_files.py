"""MkDocs hooks: the files of the repository that make up the site.

The site has the layout of the repository, with `docs/` lifted to the top. So
links that work on GitHub work in the site.
"""

import posixpath
from typing import Any

from markdown_links import relative_links
from markdown_links import replace_links
from mkdocs.structure.files import File
from public_names import REPOSITORY
from reference import example_pages
from reference import reference_pages

DOCS = "docs/"
PAGES_OUTSIDE_DOCS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
)


def on_config(config: Any) -> Any:
    """Add to the navigation what is found in the repository."""
    sections = {
        title: pages for each in config.nav for title, pages in each.items()
    }
    named = {page for pages in sections.values() for page in pages}
    sections["Guides"].extend(
        path.name
        for path in sorted((REPOSITORY / DOCS).glob("*.md"))
        if path.name not in named
    )
    config.nav += [
        {"API reference": list(reference_pages())},
        {"Examples": list(example_pages())},
    ]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add pages from outside of `docs/`, generated pages and linked files."""
    for path, text in {**reference_pages(), **example_pages()}.items():
        files.append(File.generated(config, path, content=text))
    guides = [f"{DOCS}{file.src_uri}" for file in files.documentation_pages()]
    present = {path for path in guides if (REPOSITORY / path).exists()}
    wanted = set(PAGES_OUTSIDE_DOCS)
    for page in sorted(present | wanted):
        text = (REPOSITORY / page).read_text(encoding="utf-8")
        wanted.update(_target(page, link) for link in relative_links(text))
    for path in sorted(wanted):
        source = REPOSITORY / path
        uri = _site_uri(path)
        if source.is_file() and files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point the links of a page to where the site has their targets."""
    uri = page.file.src_uri
    source = uri if (REPOSITORY / uri).exists() else f"{DOCS}{uri}"
    if not (REPOSITORY / source).exists():
        return markdown

    def replace(link: str) -> str:
        target, hash_sign, anchor = link.partition("#")
        if target:
            target = _site_uri(_target(source, link))
            target = posixpath.relpath(target, posixpath.dirname(uri) or ".")
        return f"{target}{hash_sign}{anchor}"

    return replace_links(markdown, replace)


def _target(page: str, link: str) -> str:
    """Return the path in the repository that a page's link points to."""
    folder = posixpath.dirname(page)
    path = posixpath.normpath(posixpath.join(folder, link.partition("#")[0]))
    return path if link.partition("#")[0] else page


def _site_uri(path: str) -> str:
    """Return where the site has a file of the repository."""
    if path.startswith("examples/") and path.endswith(".py"):
        return path.removesuffix(".py") + ".md"
    return path.removeprefix(DOCS)
