import dataclasses
import html.parser
import re

import pytest

from tfcompress.recipe import Budget
from tfcompress.report import render_page
from tfcompress.report.page import step_path

VOID = {"meta", "link", "path", "br", "img"}


class Balance(html.parser.HTMLParser):
    """Collects tags and checks that they close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.links = [], set(), []

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_network(result):
    page = render_page(result)
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert parser.links == ["data:,"]
    assert "script" not in parser.seen
    assert not re.search(r"(https?:)?//\w", page)
    assert "prefers-color-scheme: dark" in page


def test_the_figures_are_on_the_page(result):
    page = render_page(result)
    for text in ("15.0× smaller", "98.20 %", "0.30 ± 0.20 points", "1.25× faster", "✓ passed", "88.1 KB", "5.9 KB"):
        assert text in page
    for text in ("70 % zeros, 4 bits", "TfcConv2D", "the recipe exempts it", "num_bits: 4", "A processor", "1.23 %"):
        assert text in page
    assert page.count("<svg") == 2


def test_names_are_escaped(result):
    page = render_page(result)
    assert "dense&lt;b&gt;/kernel" in page
    assert "dense<b>" not in page


def test_what_is_broken_is_said(result):
    broken = dataclasses.replace(
        result, audit_passed=False, audit_failures=("conv/kernel lost its zeros",), budget=Budget(size_bytes=100)
    )
    page = render_page(broken)
    for text in ("✗ broken", "conv/kernel lost its zeros", "size_bytes must be at most 100"):
        assert text in page


def test_a_slower_file_is_called_slower(result):
    slow = dataclasses.replace(result, compressed=dataclasses.replace(result.compressed, speedup=0.5))
    assert "2.00× slower" in render_page(slow)


@pytest.mark.parametrize(
    ("counts", "path"),
    [((), "M0 10V10Z"), ((0, 0), "M0 10V10.00H2.00V10.00H4.00V10Z"), ((1, 2), "M0 10V5.00H2.00V0.00H4.00V10Z")],
)
def test_step_path(counts, path):
    assert step_path(counts, 4, 10) == path
