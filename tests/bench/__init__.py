"""Speed of the whole program as ratios measured in one run, on generated storage of each size. See `__main__.py`."""
