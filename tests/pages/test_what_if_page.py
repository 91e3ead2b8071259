"""The What if page: models that have a price for some of the requests only."""

from pathlib import Path

import pytest

from tests.builders import assistant, session, tokens, user
from tests.pages.conftest import OpenApp, headline

PRICES = """
[[prices.models]]
provider = "acme"
model = "nova"
input = 1
output = 1

[[prices.models]]
provider = "acme"
model = "late"
from = 2026-01-02
input = 0.1
output = 0.1
"""


def test_what_if_model_with_a_price_for_some_requests_is_not_the_cheapest(
    open_app: OpenApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it would have cost before it had a price is not known, and a part of the requests is no saving."""
    file = tmp_path / "settings.toml"
    file.write_text(PRICES)
    monkeypatch.setenv("ANALYTICS_CONFIG", str(file))
    usage = tokens(1_000_000, 0, total=1_000_000)
    docs = [session(), user(), assistant(usage=usage)]
    docs.append(assistant("msg_3a", created=1_767_400_000_000, completed=None, usage=usage))

    app = open_app(*docs, page="what_if", range="all", compare=["acme/nova", "acme/late"])

    (table,) = app.dataframe
    assert not app.exception
    assert headline(app)["Cheapest: acme/nova"] == "$2.00"
    assert table.value["Model"].tolist() == ["acme/late", "acme/nova"]
    assert table.value["Cost"].tolist() == [0.1, 2.0]
    assert table.value["Difference"].isna().tolist() == [True, False]
