"""The What if page, without a browser."""

from collections.abc import Callable
from pathlib import Path

from pages.ui import comparing
from tests.pages.conftest import OpenApp


def test_choose_models_of_the_beginning_were_used_and_have_a_price(
    open_app: OpenApp, priced_path: Callable[[str], Path]
) -> None:
    """A model that was asked in vain has nothing without a price, but no price either."""
    app = open_app(priced_path("sqlite"), page="what_if", range="all")

    chosen = app.multiselect(key="compare").value
    assert "acme/nova-large" in chosen
    assert not {"keyless/ghost-1", "sluggish/snail-1"} & set(chosen)
    assert len(chosen) <= comparing.USED_FIRST


def test_choose_no_price_known_waits_for_a_choice(open_app: OpenApp, real_path: Callable[[str], Path]) -> None:
    """There is nothing to compare then."""
    app = open_app(real_path("sqlite"), page="what_if", range="all")

    assert app.multiselect(key="compare").value == []
    assert [info.value for info in app.info] == ["Choose models to compare with."]
