"""Stub."""

UNKNOWN = "unknown"


def classify(error_data: object, tool_name: str | None = None) -> str:
    """Stub."""
    return UNKNOWN
