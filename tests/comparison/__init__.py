"""How fast and how right we are beside `agentsview` and `ccusage`: `python -m tests.comparison --help`."""
