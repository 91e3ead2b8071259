"""Prices that are different by now: messages are priced anew, and what is derived of them follows."""

import logging
from collections.abc import Sequence

import duckdb

from indexer import prices
from indexer.database import Database
from indexer.price_sources import ModelKey, Price, PriceSources

log = logging.getLogger(__name__)


def bring_up_to_date(database: Database) -> bool:
    """Price everything anew whose prices are different by now: in the settings, OpenCode's own files, or this program.

    Nothing is published meanwhile, and what a kill leaves undone is done by the next start.

    Args:
        database: The index, outside of a transaction.

    Returns:
        Whether anything changed.

    Raises:
        SettingsInvalid: The settings file cannot be used.
    """
    database.load_price_sources()
    different = _different(database.con, database.price_sources)
    if not different:
        return False
    with database.transaction() as con:
        sessions = _replace(con, different)
    database.hot.forget()
    database.fill()
    models = len({(price.vendor, price.model_id) for price in different})
    log.info("list prices of %d models are new or different: %d sessions priced anew", models, sessions)
    return True


def _different(con: duckdb.DuckDBPyConnection, sources: PriceSources) -> list[Price]:
    """Return all prices of the models whose prices are not those of the index."""
    held: dict[ModelKey, set[Price]] = {}
    for row in con.execute(f"SELECT {', '.join(prices.COLUMNS)} FROM prices").fetchall():
        held.setdefault((row[0], row[1]), set()).add(Price(*row))
    models = {*held, *con.execute("SELECT vendor, model_id FROM models").fetchall()}
    different = []
    for model in sorted(models):
        before = held.get(model, set())
        if not before or not sources.is_settled(model, before):
            wanted = sources.prices_of(model)
            different += wanted if {*wanted} != before else []
    return different


def _replace(con: duckdb.DuckDBPyConnection, wanted: Sequence[Price]) -> int:
    """Put other prices of some models in place, and price their messages anew, inside a transaction.

    The slices of the sessions that this changes are removed: whoever derives what lacks them (`derive.underived`)
    brings everything up to date, also after a kill in between.

    Args:
        con: The index, inside a transaction.
        wanted: All prices of these models.

    Returns:
        How many sessions have to be derived anew.
    """
    con.execute("CREATE OR REPLACE TEMP TABLE repriced (vendor VARCHAR, model_id VARCHAR)")
    con.executemany("INSERT INTO repriced VALUES (?, ?)", sorted({(each.vendor, each.model_id) for each in wanted}))
    con.execute("DELETE FROM prices WHERE (vendor, model_id) IN (FROM repriced)")
    prices.insert(con, wanted)
    changed = prices.reprice(con, "(provider_id, model_id) IN (FROM repriced)")
    con.execute("DROP TABLE repriced")
    con.execute("DELETE FROM usage_slices WHERE session_id IN (SELECT unnest($ids::VARCHAR[]))", {"ids": [*changed]})
    return len(changed)
