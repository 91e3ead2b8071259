"""Why another tool's totals are not ours: every difference, added up by its cause, message by message."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from tests.comparison.usage import COUNTERS, Counted, Message, Usage, add

COPIES = "copies that forks made of requests are counted again"
ONE_STEP = "of a message with several steps, one step is counted"
REASONING_TWICE = "reasoning that output holds already is added once more"
NO_REASONING = "reasoning beside output is not counted"
NEGATIVE = "counts below zero are read as zero"
LIST_PRICES = "requests recorded as free get a list price"
OWN_PRICES = "recorded costs are not read: its own list prices count, 0 where it has none"
NO_MESSAGES = "sessions without messages that could carry tokens are left out"
UNEXPLAINED = "UNEXPLAINED"

_ROUNDING_USD = Decimal("1e-6")  # others add up floating point numbers


@dataclass(slots=True)
class Difference:
    """How much of the way from our totals to another tool's one cause makes.

    Attributes:
        messages: How many it holds for.
        tokens: Theirs minus ours, by counter.
        cost_usd: Theirs minus ours.
        sessions: How many sessions of ours they do not list for it.
    """

    messages: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    cost_usd: Decimal = Decimal(0)
    sessions: int = 0


Differences = dict[str, Difference]


def explain(messages: Sequence[Message], theirs: Counted) -> Differences:
    """Find the cause of every difference in tokens.

    Args:
        messages: All of ours.
        theirs: What the other tool counted.

    Returns:
        By cause, `UNEXPLAINED` among them; their totals minus ours are the sum of all.
    """
    found: Differences = {}
    for message in messages:
        usage = theirs.usages.get(message.message_id)
        causes = set()
        if usage is None and (message.usage.total or theirs.printed.messages is not None):
            causes.add(_absence(message, theirs))
        for cause, counter, tokens in _way(message, usage, theirs):
            causes.add(cause)
            found.setdefault(cause, Difference()).tokens[counter] += tokens
        for cause in causes:
            found.setdefault(cause, Difference()).messages += 1
    _add_remainder(found, messages, theirs)
    return found


def explain_sessions(
    session_ids: frozenset[str], messages: Iterable[Message], theirs: Counted, found: Differences
) -> None:
    """Add why sessions are missing from their list: because of their messages, or as they have none.

    Args:
        session_ids: All sessions of ours.
        messages: All of ours.
        theirs: What the other tool counted.
        found: What `explain` found; is added to.
    """
    causes: dict[str, set[str]] = {}
    for message in messages:
        is_theirs = message.message_id in theirs.usages
        unknown = UNEXPLAINED if is_theirs or message.usage.total else NO_MESSAGES
        cause = unknown if is_theirs else theirs.absent.get(message.message_id, unknown)
        causes.setdefault(message.session_id, set()).add(cause)
    for session_id in session_ids ^ theirs.session_ids:
        # one that only they list is as unexplained as one of which they count a message
        why = causes.get(session_id, {NO_MESSAGES}) if session_id in session_ids else {UNEXPLAINED}
        cause = UNEXPLAINED if UNEXPLAINED in why else min(why)
        found.setdefault(cause, Difference()).sessions += 1


def unproven(by_rule: dict[str, Usage], printed: dict[str, Usage]) -> list[str]:
    """List the sessions for which a tool's report does not say what its supposed rule gives."""
    return sorted(each for each in by_rule.keys() | printed.keys() if by_rule.get(each) != printed.get(each))


def explain_cost(messages: Sequence[Message], theirs: Counted, found: Differences) -> None:
    """Add the cause of every difference in cost.

    Args:
        messages: All of ours.
        theirs: What the other tool counted.
        found: What `explain` found; is added to.
    """
    ours = sum((each.cost_usd or Decimal(0) for each in messages if not each.is_fork_copy), Decimal(0))
    missing = theirs.printed.cost_usd - ours
    if not theirs.reads_cost:
        parts = [(OWN_PRICES, missing)]
    else:
        parts = list(_cost_parts(messages, theirs))
        parts.append((UNEXPLAINED, missing - sum(cost for _, cost in parts)))
    costs: dict[str, Decimal] = {}
    for cause, cost in parts:
        if cause != UNEXPLAINED or abs(cost) > _ROUNDING_USD:  # nor may two of these cancel out
            costs[cause] = costs.get(cause, Decimal(0)) + (abs(cost) if cause == UNEXPLAINED else cost)
    for cause, cost in costs.items():
        if abs(cost) > _ROUNDING_USD:
            found.setdefault(cause, Difference()).cost_usd += cost


def _absence(message: Message, theirs: Counted) -> str:
    """Tell why they do not have a message."""
    return theirs.absent.get(message.message_id, UNEXPLAINED)


def _way(message: Message, theirs: Usage | None, counted: Counted) -> Iterator[tuple[str, str, int]]:
    """Yield the way from our count of a message to theirs: cause, counter and tokens, nothing where it is none."""
    for counter in COUNTERS:
        ours = 0 if message.is_fork_copy else getattr(message.usage, counter)
        if theirs is None:
            way = [(_absence(message, counted), -ours)]
        elif message.is_fork_copy:
            way = [(COPIES, getattr(theirs, counter))]
        else:
            step, inside = _step_of(message, theirs)
            base = getattr(step, counter)
            way = [(ONE_STEP, base - ours), _rest(counter, base, getattr(theirs, counter), inside, counted)]
        yield from ((cause, counter, tokens) for cause, tokens in way if tokens)


def _step_of(message: Message, theirs: Usage) -> tuple[Usage, int]:
    """Find the step that they count, and the reasoning inside its output; all of the message if it is none."""
    for step, inside in zip(message.steps, message.reasoning_in_output, strict=True):
        if all(getattr(step.without_negatives(), name) == getattr(theirs, name) for name in COUNTERS[:4]):
            return step, inside
    return message.usage, sum(message.reasoning_in_output)


def _rest(counter: str, base: int, theirs: int, inside: int, counted: Counted) -> tuple[str, int]:
    """Tell why they count a step otherwise."""
    if theirs == max(0, base):
        return NEGATIVE, theirs - base
    if counter == "reasoning" and not counted.counts_reasoning and not theirs:
        return NO_REASONING, -base
    if counter == "reasoning" and theirs == base + inside:
        return REASONING_TWICE, inside
    return UNEXPLAINED, theirs - base


def _add_remainder(found: Differences, messages: Iterable[Message], theirs: Counted) -> None:
    """Add what the messages do not explain: a report must be the sum of its messages."""
    ours = add([each.usage for each in messages if not each.is_fork_copy])
    for counter in COUNTERS:
        explained = sum(each.tokens[counter] for each in found.values())
        rest = getattr(theirs.printed.usage, counter) - getattr(ours, counter) - explained
        if rest:
            found.setdefault(UNEXPLAINED, Difference()).tokens[counter] += rest


def _cost_parts(messages: Sequence[Message], theirs: Counted) -> Iterator[tuple[str, Decimal]]:
    """Yield the way from our cost to theirs, for a tool that takes a recorded cost where it is not zero."""
    by_model: dict[str, Decimal] = {}
    free_models = set()
    for message in messages:
        ours = Decimal(0) if message.is_fork_copy else message.cost_usd or Decimal(0)
        cost = theirs.recorded_usd.get(message.message_id, Decimal(0))
        if message.message_id not in theirs.usages:
            yield _absence(message, theirs), -ours
        else:
            yield COPIES if message.is_fork_copy else UNEXPLAINED, cost - ours
        model = message.model_id or "unknown"
        by_model[model] = by_model.get(model, Decimal(0)) + cost
        if message.message_id in theirs.usages and not cost:
            free_models.add(model)
    for model, cost in theirs.printed.cost_by_model.items():
        yield LIST_PRICES if model in free_models else UNEXPLAINED, cost - by_model.get(model, Decimal(0))
