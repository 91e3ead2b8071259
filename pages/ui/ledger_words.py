"""What each line of the ledger is called, what it is compared with, and why there may be nothing to compare."""

from dataclasses import dataclass

from queries.ledger import LedgerLine, Verdict


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a line.

    Attributes:
        title: What is added up.
        against: The other stored source. Empty: there is none.
        meaning: What the rows are, and why they may differ.
        if_absent: Why there may be nothing to compare.
    """

    title: str
    against: str = ""
    meaning: str = ""
    if_absent: str = "nothing of this kind here"


MARKS: dict[Verdict, str] = {
    "agrees": "✓ agree",
    "differs": "✗ differs",
    "unknown": "not known",
    "filtered": "not comparable",
    "absent": "not comparable",
    "counted": "counted",
}
_FILTERED = "knows whole sessions only: take dates, agents and models off, and choose the range all"

CHECKS = (
    *("cost_slices", "cost_sessions", "cost_exchanges", "cost_steps", "cost_opencode"),
    *("tokens_slices", "tokens_sessions", "tokens_steps", "tokens_opencode", "copies", "list_slices", "list_requests"),
)
# From the recorded cost to the list price, each with what it does on the way.
BRIDGE = {
    "recorded": "",
    "recorded_unpriced": "less: ",
    "list_free": "plus: ",
    "list_unrecorded": "plus: ",
    "reasoning_twice": "less: ",
    "list_recorded": "less: ",
    "list_slices": "is: ",
}
LEFT_OUT = (
    *("copies_cost", "unrecorded", "usage_missing", "unpriced", "timeless", "unreadable"),
    *("reasoning_inside", "reasoning_apart", "mismatch", "deleted"),
)

_REPORTS = "the small table that reports add up, per quarter of an hour, agent and model"
_STEPS = "their steps, as each step recorded it"
_STEPLESS = "no answer here recorded steps"
_OPENCODE = "OpenCode's own sums, in its session rows"
_UNSUMMED = "no session here stores sums: JSON trees and some older databases have none"
_UNKNOWN_COST, _UNKNOWN_PRICE = "no cost is recorded in either source", "no list price is known in either source"
_COPIED = "OpenCode counts what a fork copied again, so both sides hold it; what OpenCode deleted is in neither."

WORDS: dict[str, Words] = {
    "cost_slices": Words(
        "Recorded cost", _REPORTS, "The headline of Costs, against what it was added up from: one row per quarter."
    ),
    "cost_sessions": Words(
        "Recorded cost", "the totals of the sessions, as the Timeline shows them", "A session each."
    ),
    "cost_exchanges": Words("Recorded cost", "the exchanges, as Errors charges them", "A session each."),
    "cost_steps": Words(
        "Recorded cost of answers with steps",
        _STEPS,
        "An answer each. OpenCode writes the cost of every step, and that of the answer, apart.",
        _STEPLESS,
    ),
    "cost_opencode": Words(
        "Recorded cost, fork copies included",
        _OPENCODE,
        f"A session each that has a cost in either: OpenCode's sum is 0 where it knows of none. {_COPIED}",
        f"no cost is recorded here, or {_UNSUMMED}",
    ),
    "tokens_slices": Words("Tokens", _REPORTS, "Every token once: one row per quarter."),
    "tokens_sessions": Words("Tokens", "the totals of the sessions", "A session each; every token once."),
    "tokens_steps": Words(
        "Tokens of answers with steps",
        _STEPS,
        "An answer and a counter each: the five counters as recorded, so reasoning may be in two of them.",
        _STEPLESS,
    ),
    "tokens_opencode": Words(
        "Tokens, fork copies included", _OPENCODE, f"A session and a counter each, as recorded. {_COPIED}", _UNSUMMED
    ),
    "copies": Words(
        "Tokens of fork copies, left out elsewhere", _REPORTS, "Every token once: one row per quarter.", "no fork here"
    ),
    "list_slices": Words("List price", _REPORTS, "One row per quarter.", "nothing here used a model"),
    "list_requests": Words(
        "List price",
        "every request times the price that held for it, told anew",
        "An answer each.",
        "nothing here used a model",
    ),
    "recorded": Words("Recorded cost", meaning="An answer each, as OpenCode recorded it."),
    "recorded_unpriced": Words("recorded cost of models without a known list price", meaning="An answer each."),
    "list_free": Words(
        "list price of what was recorded as free, as on a subscription",
        meaning="An answer each: its list price. Recorded is 0.",
    ),
    "list_unrecorded": Words(
        "list price of what has no recorded cost", meaning="An answer each: its list price. Nothing is recorded."
    ),
    "reasoning_twice": Words(
        "reasoning that the client charged twice",
        meaning="An answer each. OpenCode 1.1 counts reasoning in the output and charges for it once more: its tokens "
        "times the price of output. Only where that explains the difference to the last digit.",
    ),
    "list_recorded": Words(
        "other prices than these",
        "the list price, and reasoning charged twice",
        "An answer each that has both: its recorded cost, against what the list makes of its tokens. A difference "
        "means that OpenCode knew another price: set your own in the settings.",
        "no answer here has both a recorded cost and a list price",
    ),
    "copies_cost": Words(
        "Fork copies", meaning="Left out everywhere: counted once, in the session that they were copied from."
    ),
    "reasoning_inside": Words(
        "Reasoning tokens inside output", meaning="The client counts them in its output; no total counts them again."
    ),
    "reasoning_apart": Words(
        "Reasoning tokens beside output", meaning="The client counts them apart; totals add them to the output."
    ),
    "unrecorded": Words(
        "Answers without a recorded cost", meaning="Their tokens are in the totals, their cost is not: unknown, not 0."
    ),
    "usage_missing": Words(
        "Answers without recorded usage",
        meaning="The provider sent none: they count 0 tokens, and their cost is unknown.",
    ),
    "mismatch": Words(
        "Answers whose recorded total fits no way of counting",
        meaning="Neither with reasoning inside the output nor beside it; they count with it beside.",
    ),
    "unpriced": Words(
        "Tokens of models without a known list price", meaning="In tokens and recorded cost, but in no list price."
    ),
    "deleted": Words(
        "Deleted in OpenCode", meaning="Counted all the same: money spent stays spent. Their texts are gone."
    ),
    "timeless": Words("Answers of unknown time", meaning="A period leaves them out; the range all counts them."),
    "unreadable": Words(
        "Documents that could not be read, or only in part",
        meaning="Whatever the filters: nobody knows what an unreadable document would count for.",
    ),
}


def reason(line: LedgerLine) -> str:
    """Say why a line compares nothing. Empty: it does, or is not meant to."""
    match line.verdict:
        case "filtered":
            return f"{WORDS[line.key].against}: {_FILTERED}"
        case "absent":
            return WORDS[line.key].if_absent
        case "unknown":
            return _UNKNOWN_PRICE if line.key.startswith("list") else _UNKNOWN_COST
        case _:
            return ""
