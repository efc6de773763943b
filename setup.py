"""The long description for package indexes: the README, with links that work there.

All else is in setup.cfg. An index shows the README alone, so a link to `docs/` leads nowhere.
"""

import configparser
import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
LINK = r"(!?)\[([^]]*)\]\((?![a-z]+:|#)([^)\s]+)\)"
NOTE = "The files that this page names are in the source distribution.\n"


def source(settings_file: Path) -> "str | None":
    """The address of the repository: of Source in setup.cfg. `None`: it has none."""
    settings = configparser.ConfigParser()
    settings.read(settings_file)
    found = re.search(r"^Source = (\S+)$", settings["metadata"]["project_urls"], re.MULTILINE)
    return found and found[1]


def absolute(text: str, repository: str) -> str:
    """Markdown with each relative link to a file made absolute; an image's to the file itself."""

    def link(found: re.Match) -> str:
        image, label, target = found.groups()
        kind = "raw" if image else "blob"
        return f"{image}[{label}]({repository}/{kind}/main/{target})"

    return re.sub(LINK, link, text)


def unlinked(text: str) -> str:
    """Markdown without relative links and images; a link's text names the file it led to."""

    def name(found: re.Match) -> str:
        image, label, target = found.groups()
        path = target.partition("#")[0]
        if image:
            return ""
        # The table of what it does links its "yes".
        return label if label == "yes" else f"{label} (`{path}`)"

    return re.sub(r"\n{3,}", "\n\n", re.sub(LINK, name, text)) + f"\n{NOTE}"


def long_description() -> str:
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    repository = source(HERE / "setup.cfg")
    return absolute(readme, repository) if repository else unlinked(readme)


if __name__ == "__main__":
    setup(
        long_description=long_description(),
        long_description_content_type="text/markdown",
    )
