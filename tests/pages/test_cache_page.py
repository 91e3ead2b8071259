"""The Cache page: headline, both breakdowns, collapses and rents with their ways to the timeline, nothing at all."""

import pytest
from streamlit.testing.v1.element_tree import Block

from tests.builders import Doc, session, user
from tests.pages.conftest import OpenApp, headline, texts
from tests.priced import output, prices, request

__all__ = ["prices"]
pytestmark = pytest.mark.usefixtures("prices")

DOCS: tuple[Doc, ...] = (
    session(),
    user(),
    request(1, write=1_000_000),
    output("prt_1", 4_000, 1),
    request(2, read=1_000_000, write=1_000),
    request(3, read=1_001_000),
    request(4, write=1_001_000, agent="plan"),
)


def test_cache_headline_is_at_list_prices(open_app: OpenApp) -> None:
    """2,001,000 read, 2,002,000 written; the whole prefix was lost once; 1,000 tokens were read again once."""
    app = open_app(*DOCS, page="cache", range="all")

    assert not app.exception
    assert headline(app) == {
        "Read from cache": "50.0%",
        "Saved by caching (list, USD)": "$4.00",
        "Collapses cost (list, USD)": "$4.00",
        "Context rent (estimate, list, USD)": "$0.0010",
    }


def test_cache_collapses_and_rents_are_listed(open_app: OpenApp) -> None:
    """With the likely cause; the rent says that it is an estimate, and of what."""
    app = open_app(*DOCS, page="cache", range="all")

    found = texts(app)
    causes, collapsed = (table.value for table in app.dataframe if "Bill" in table.value)
    tools, outputs = (table.value for table in app.dataframe if "Rent" in table.value)
    assert causes["Likely cause"].tolist() == ["agent switch"]
    assert collapsed["Change"].tolist() == ["build → plan"]
    assert tools["Tool"].tolist() == ["bash"]
    assert outputs[["Works on", "Tokens", "Reads"]].to_numpy().tolist() == [["git", 1_000, 1]]
    assert "Estimate, at list prices: of $2.0010 for cache reads, $0.0010 re-read tool outputs" in found
    assert "the remainder, $2.0000, re-read prompts and answers" in found


def test_cache_by_agent_follows_the_address(open_app: OpenApp) -> None:
    """`?cache_by=agent` can be linked."""
    app = open_app(*DOCS, page="cache", range="all", cache_by="agent")

    table = next(table.value for table in app.dataframe if "Agent" in table.value)
    assert table["Agent"].tolist() == ["build", "plan"]
    assert "**Hit share per day, by agent**" in texts(app)


def test_cache_unpriced_model_shows_dashes_and_its_tokens(open_app: OpenApp) -> None:
    """Unknown is not 0."""
    app = open_app(session(), user(), request(1, read=5_000, modelID="gremlin"), page="cache", range="all")

    assert not app.exception
    assert headline(app)["Saved by caching (list, USD)"] == "—"
    assert "5.00K cached tokens of models without a known list price" in texts(app)
    assert "No request found its prefix gone." in texts(app)
    assert "No tool output was read from a cache again." in texts(app)


def test_cache_rents_without_a_price_are_told_in_tokens(open_app: OpenApp) -> None:
    """A sentence for a person, not one with dashes in the place of amounts."""
    docs = (
        session(),
        user(),
        request(1, write=1_000_000, modelID="gremlin"),
        output("prt_1", 4_000, 1),
        request(2, read=1_000_000, write=1_000, modelID="gremlin"),
        request(3, read=1_001_000, modelID="gremlin"),
    )

    app = open_app(*docs, page="cache", range="all")

    assert (
        "No list price is known of these. Estimate: of 2.00M tokens read from caches, 1.00K were tool outputs, the "
        "others prompts and answers."
    ) in texts(app)
    assert "of —" not in texts(app)


def test_cache_hostile_names_stay_text(open_app: OpenApp) -> None:
    """Agents, models and titles come from elsewhere."""
    app = open_app(
        session(title="![x](http://example.invalid/x.png)"),
        user(),
        request(1, write=9_000, agent="<script>alert(1)</script>"),
        request(2, write=9_000, agent="=1+1", modelID="![x](http://example.invalid)"),
        page="cache",
        range="all",
    )

    assert not app.exception
    assert not any("![x]" in element.value for element in app.markdown)


def test_cache_nothing_sent_is_said(open_app: OpenApp) -> None:
    """No request, no empty tables."""
    app = open_app(session(), user(), request(1), page="cache", range="all")

    assert not app.exception
    assert "No requests here" in texts(app)
    assert headline(app) == {}


def test_cache_exports_that_stand_together_are_told_apart(open_app: OpenApp) -> None:
    """By their labels: what is slanted is only heard."""
    app = open_app(*DOCS, page="cache", range="all")

    labels = [str(node.proto.popover.label) for node in app.main if isinstance(node, Block) and node.type == "popover"]
    assert [label for label in labels if label.startswith("Export") and "*" not in label] == [
        "Export Collapses by likely cause",
        "Export Collapses of the cached prefix",
        "Export Rent by tool",
        "Export Rent by output",
        "Export Rent by request",
    ]
