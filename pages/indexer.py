"""Indexer: is the index up to date?"""

from pages.ui import frame, indexing

frame.ensure()

indexing.heading()
indexing.live()
