"""axe-core in a page: whether everybody can use it (WCAG 2.2, levels A and AA)."""

from __future__ import annotations

from functools import cache

from playwright.sync_api import Page

from tests.integration.clients import NODE_DIR

_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

_RUN = """async (tags) => {
  const { violations } = await axe.run(document, { runOnly: tags, resultTypes: ["violations"] });
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target}: ${failureSummary}`));
}"""


@cache
def _script() -> str:
    return (NODE_DIR / "node_modules/axe-core/axe.min.js").read_text()


def violations(page: Page) -> list[str]:
    """What axe-core objects to in the page as it is now."""
    if not page.evaluate("() => Boolean(window.axe)"):
        page.evaluate(f"() => {{ {_script()} }}")
    found: list[str] = page.evaluate(_RUN, _TAGS)
    return found
