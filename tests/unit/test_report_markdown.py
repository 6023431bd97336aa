"""Markdown as a renderer reads it."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pytest_triton.report import markdown

RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
WORDS = st.text(st.characters(exclude_categories=("C",)), min_size=1).filter(lambda words: words.split())


def told(rendered: str) -> str:
    """The text of a piece of HTML, white space as in one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", rendered)).split())


@given(WORDS)
@example("a_b_c *d* `e` [f](g) <h> | ~~i~~ \\")
@example("- no list")
@example("1. no list")
@example("12) no list")
@example("# no heading")
@example("=== no heading")
@example("&amp; &#35;")
def test_text_stays_text(words: str) -> None:
    rendered = RENDERER.render(markdown.text(words))
    assert re.fullmatch(r"<p>[^<]*</p>\n", rendered), rendered
    assert told(rendered) == " ".join(words.split())


@given(WORDS, WORDS)
@example("a|b", "`c` ``d``")
@example("a\\|b", "\\")
@example("test_x[a|b-`c`]", "|")
def test_a_cell_keeps_to_itself(first: str, second: str) -> None:
    lines = markdown.table(("x", "y"), [(markdown.code(first), markdown.text(second))])
    rendered = RENDERER.render("\n".join(lines))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", rendered, re.DOTALL)
    assert len(cells) == 2, rendered
    assert cells[0].startswith("<code>")
    # A code span loses nothing but a backslash before a bar, which a table cannot tell from an escape.
    assert told(cells[0]).replace("\\|", "|") == " ".join(first.split()).replace("\\|", "|")
    assert told(cells[1]) == " ".join(second.split())


@pytest.mark.parametrize("content", ["plain", "```\nnested\n```", "````` five", "--- a\n+++ b\n@@ -1 +1 @@\n-x\n+y"])
def test_code_holds_whatever_it_holds(content: str) -> None:
    rendered = RENDERER.render("\n".join(markdown.fence(content, "diff")))
    assert rendered.startswith('<pre><code class="language-diff">')
    assert html.unescape(re.sub(r"<[^>]+>", "", rendered)).rstrip("\n") == content


def test_what_is_folded_is_markdown_again() -> None:
    rendered = RENDERER.render("\n".join(markdown.details("<b>more</b>", ["- one", "- two"])))
    assert "<summary><b>more</b></summary>" in rendered
    assert rendered.count("<li>") == 2
    assert rendered.rstrip().endswith("</details>")
