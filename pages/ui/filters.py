"""The filter bar: one for all pages, kept in the URL."""

from collections.abc import Sequence
from datetime import date

import streamlit as st

from pages.ui import data, display
from queries import health, period
from queries.period import Scope

DEFAULT_RANGE = "30d"
# Names in the URL: a contract.
KEYS = ("range", "from", "to", "agent", "model", "project", "q")
_RANGE_BEFORE = "range_before"  # the range that dates took the place of
_REFUSED = "filters_refused"
# Streamlit makes a step of Back of every single value that code sets, as by a click on a row; one set by hand is none.
# A filter is no step either way. And of a link with a range and dates, Streamlit leaves the range, which does not hold.
# On the way to another page it makes two steps: one without what is the first page's own, as `by`, then the other page.
# The second takes the place of the first, unless something was done in between: then the first is a step of its own.
_ADDRESS_JS = """
let ours = null, stripped = null;
for (const deed of ["click", "keydown"]) window.addEventListener(deed, () => { stripped = null; }, true);
export default function ({ data }) {
  const said = new URL(window.location.href);
  for (const name of data.absent) said.searchParams.delete(name);
  if (said.href !== window.location.href) window.history.replaceState(window.history.state, "", said);
  if (window.history.pushState === ours) return;
  const push = window.history.pushState;
  const beside = ({ pathname, searchParams }) =>
    JSON.stringify([pathname, [...searchParams].filter(([name]) => !data.filters.includes(name)).sort()]);
  ours = function (state, title, address) {
    const here = new URL(window.location.href), there = new URL(address ?? here, here);
    const isFilter = beside(there) === beside(here);
    const isSamePage = there.pathname === here.pathname;
    const isSecond = !isSamePage && here.href === stripped;
    if (!isFilter) stripped = isSamePage ? there.href : null;
    return (isFilter || isSecond ? this.replaceState : push).call(this, state, title, address);
  };
  window.history.pushState = ours;
}
"""
_address = st.components.v2.component("filter_address", js=_ADDRESS_JS)


def bar(page: st.Page, *, is_shown: bool) -> None:
    """Draw the filter bar of a page. Its values are read with `scope`.

    Args:
        page: The page.
        is_shown: Whether it is to be seen. It is there on every page: of a bound widget that is not drawn, Streamlit
            takes the value out of the address once the page has come, which is one more step for Back; where one leaves
            before it did, it takes it out of that of the next page.
    """
    names = data.load(health.names)
    _translate_projects(page, names)
    key = "filters" if is_shown else "filters_unseen"
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=key):
        _time("all" if data.status().is_sample else DEFAULT_RANGE)
        choice("Agents", "agent", names.agents)
        choice("Models", "model", names.models)
        choice("Projects", "project", _project_options(names))
        st.text_input(
            "Search titles, prompts, answers",
            key="q",
            type="search",
            live="300ms",
            placeholder="Search titles, prompts, answers",
            label_visibility="collapsed",
            bind="query-params",
            width=220,
        )
        if _is_set():
            st.button("Clear", key="clear_filters", icon=":material/filter_alt_off:", type="tertiary", on_click=clear)
    if is_shown and (refused := st.session_state.pop(_REFUSED)):
        st.caption(
            f"The address asks for {display.md(', '.join(refused))}, which is left out: a range is one of "
            f"{', '.join(period.PRESETS)}, a date from {period.FIRST_DAY} to {period.LAST_DAY}."
        )
    with st.container(key="filter_address"):
        _address(data={"filters": KEYS, "absent": ["range"] if any(_dates()) else []}, key="filter_address_bridge")


def _time(default: str) -> None:
    """Draw the choice of a range, or of dates: one of the two.

    Args:
        default: The range where neither is chosen.
    """
    asked = {key: st.query_params.get(key) for key in ("range", "from", "to") if key not in st.session_state}
    place = st.container(width="content")
    # Not in a popover: what is in a closed one is not on the page, and falls out of the address on the way to another.
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", width="content", key="dates"):
        _date("From", "from")
        st.caption("to", width="content")
        _date("To, included", "to")
    has_dates, known = any(_dates()), st.session_state.get("range", default)
    if has_dates and known:
        st.session_state[_RANGE_BEFORE], st.session_state["range"] = known, None
    elif not has_dates and not known:
        st.session_state["range"] = st.session_state.get(_RANGE_BEFORE, default)
    place.segmented_control(
        "Range",
        period.PRESETS,
        default=None if has_dates else default,
        required=True,
        key="range",
        bind="query-params",
        label_visibility="collapsed",
        on_change=_take_off_dates,
    )
    refused = [f"{key}={value}" for key, value in asked.items() if value and value != str(st.session_state[key])]
    st.session_state.setdefault(_REFUSED, []).extend(refused)
    if has_dates and st.session_state["range"]:
        st.rerun()  # a link names both; of a first run it counts more than what was set here


def _date(label: str, key: str) -> None:
    """Draw the choice of a date.

    Args:
        label: What it is; for those who do not see the page.
        key: Its name in the URL.
    """
    st.date_input(
        label,
        None,
        # Streamlit's own first day is ten years ago, and it drops what is not in between without a word
        min_value=period.FIRST_DAY,
        max_value=period.LAST_DAY,
        key=key,
        bind="query-params",
        format="YYYY-MM-DD",
        label_visibility="collapsed",
        width=142,
    )


def scope() -> Scope:
    """Return what the filter bar says."""
    tz = data.zone()
    first, last = _dates()
    if first or last:
        chosen = period.days(first, last, tz)
    else:
        name = st.session_state.get("range") or DEFAULT_RANGE
        chosen = period.preset(str(name), tz, data.now())
    ids = {display.project(project): project.project_id for project in data.load(health.names).projects}
    return Scope(
        tz=tz,
        period=chosen,
        agents=_chosen("agent"),
        models=_chosen("model"),
        projects=tuple(ids.get(label, label) for label in _chosen("project")),
        text=str(st.session_state.get("q") or "").strip(),
        first_weekday=data.settings().first_weekday_number,
    )


def range_words(now: Scope) -> str:
    """Write the chosen period in words."""
    if st.session_state.get("range") == "24h":
        return "last 24 hours"
    return display.span(now.period, now.tz)


def choose(key: str, values: Sequence[str]) -> None:
    """Set a filter, from a callback: a widget's value cannot be set after it was drawn."""
    st.session_state[key] = list(values)


def choose_days(first: date, last: date) -> None:
    """Set the dates, from a callback."""
    st.session_state["from"], st.session_state["to"] = first, last


def clear() -> None:
    """Take all filters off but the range, from a callback. Dates are one, too."""
    st.session_state["agent"] = st.session_state["model"] = st.session_state["project"] = []
    st.session_state["q"] = ""
    _take_off_dates()


def show_all() -> None:
    """Look at all time, from a callback."""
    st.session_state["range"] = "all"
    _take_off_dates()


def nothing_matches(what: str) -> None:
    """Say that the filters leave nothing, why, and offer the one thing that helps."""
    names, now = data.load(health.names), scope()
    known = {
        "agent": set(names.agents),
        "model": set(names.models),
        "project": set(_project_options(names)),
    }
    unknown = [(key, name) for key in known for name in _chosen(key) if name not in known[key]]
    with st.container(border=True, key="nothing_matches"):
        st.subheader(f"No {what} here")
        for key, name in unknown:
            st.text(f"No data for {key} {name}")
        if unknown:
            st.button(
                "Remove this filter" if len(unknown) == 1 else "Remove these filters",
                key="remove_unknown",
                on_click=_remove,
                args=(unknown,),
            )
        elif _is_set():
            st.text(f"Nothing matches these filters together ({range_words(now)}).")
            st.button("Clear filters", key="clear_here", icon=":material/filter_alt_off:", on_click=clear)
        else:
            st.text(f"Nothing was recorded in this range: {range_words(now)}.")
            st.button("Show all time", key="show_all", icon=":material/history:", on_click=show_all)


def choice(label: str, key: str, known: Sequence[str]) -> None:
    """Draw one multiple choice. Values of the URL that are not known stay: they show that there is no data.

    Args:
        label: What is chosen.
        key: Its name in the URL.
        known: What the data knows.
    """
    asked = [*st.query_params.get_all(key), *st.session_state.get(key, [])]
    st.multiselect(
        label,
        list(dict.fromkeys([*known, *asked])),
        key=key,
        bind="query-params",
        placeholder=f"All {label.lower()}",
        label_visibility="collapsed",
        width=160,
        wrap=False,
        select_all=False,
    )


def warn_unknown() -> None:
    """Name the filter values that the data does not know, where other values still match something."""
    names = data.load(health.names)
    known = {*names.agents, *names.models, *_project_options(names)}
    for key in ("agent", "model", "project"):
        for name in _chosen(key):
            if name not in known:
                st.caption(f"No data for {key} {display.md(name)}")


def _dates() -> tuple[date | None, date | None]:
    """Return the chosen dates, as far as they are known yet."""
    return st.session_state.get("from"), st.session_state.get("to")


def _take_off_dates() -> None:
    """Take the dates off, from a callback."""
    st.session_state["from"] = st.session_state["to"] = None


def _remove(unknown: Sequence[tuple[str, str]]) -> None:
    """Take values off their filters, from a callback."""
    for key, name in unknown:
        st.session_state[key] = [value for value in st.session_state[key] if value != name]


def _translate_projects(page: st.Page, names: health.Names) -> None:
    """Follow links that name a project by its id, or by a name it no longer has: the address gets its name of today.

    Goes there before the filter is drawn, which would drop a value it does not offer and show everything.
    """
    labels = {project.project_id: display.project(project) for project in names.projects}
    short = {project_id[:8]: label for project_id, label in labels.items()}
    asked = st.query_params.get_all("project")
    meant = [labels.get(value) or short.get(value.rsplit(" · ", 1)[-1]) or value for value in asked]
    if meant != asked and "project" not in st.session_state:
        others = {name: st.query_params.get_all(name) for name in st.query_params if name != "project"}
        st.switch_page(page, query_params={**others, "project": meant})


def _project_options(names: health.Names) -> list[str]:
    """Return the options of the project filter."""
    return [display.project(project) for project in names.projects]


def _chosen(key: str) -> tuple[str, ...]:
    """Return the values of a multiple choice."""
    return tuple(st.session_state.get(key) or ())


def _is_set() -> bool:
    """Tell whether any filter beside the range is set."""
    return any(st.session_state.get(key) for key in KEYS if key != "range")
