"""Indexer: is the index up to date?"""

from pages.ui import frame

frame.ensure()
frame.heading("Indexer", "", follows=True)
