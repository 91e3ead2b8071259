"""Stress of following OpenCode in real time: kills, hand-overs, readers, real clients, idling. See `__main__.py`."""
