"""What a tab received: tables are drawn on a canvas, so their cells are read from the messages that carry them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import pyarrow as pa
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

Column = list[object]


@dataclass
class Received:
    """The messages from the server to one tab.

    Attributes:
        tables: Newest frame of each table, by the end of its element's id, which is the table's key.
    """

    tables: dict[str, dict[str, Column]] = field(default_factory=dict)
    _kept: dict[str, ForwardMsg] = field(default_factory=dict)

    def note(self, payload: bytes | str) -> None:
        """Take one websocket frame."""
        if isinstance(payload, str):
            return
        message = ForwardMsg.FromString(payload)
        if message.WhichOneof("type") == "ref_hash":  # a large message that the browser already has
            message = self._kept[message.ref_hash]
        elif message.hash:
            self._kept[message.hash] = message
        element = message.delta.new_element
        if element.WhichOneof("type") == "dataframe":
            with pa.ipc.open_stream(element.dataframe.arrow_data.data) as stream:
                self.tables[element.dataframe.id] = stream.read_all().to_pydict()

    def newest(self, prefix: str) -> dict[str, Column]:
        """Return the table that was received last among those whose key begins with a prefix.

        Raises:
            KeyError: There was none.
        """
        for element_id in reversed(self.tables):
            if f"-{prefix}_" in element_id:
                return self.tables[element_id]
        raise KeyError(prefix)

    def has(self, prefix: str) -> bool:
        """Tell whether a table whose key begins with a prefix was received."""
        return any(f"-{prefix}_" in element_id for element_id in self.tables)

    def forget(self) -> None:
        """Forget all tables, before an action whose result is awaited."""
        self.tables.clear()


def exact_sum(amounts: Sequence[object]) -> Decimal:
    """Add amounts exactly; missing ones count as nothing.

    Args:
        amounts: Floats that came from decimals of at most 12 places and 15 digits: their shortest text is the decimal.
    """
    return sum((Decimal(str(amount)) for amount in amounts if amount is not None and amount == amount), Decimal(0))
