"""The one telling line of what was reported of a failure, in SQL.

It is the first one; of a program that ended with an exit code the last one, for its output is kept from the end, where
the client may have added a note in tags.
"""

# Of rows with `is_call`, `name` and `error_data`. A program ended with an exit code.
HAS_EXIT = "is_call AND name <> 'invalid' AND error_data->>'$.status' = 'completed'"
REPORT = """
    CASE WHEN is_call THEN error_data->>'$.message'
         ELSE coalesce(error_data->>'$.data.message', error_data->>'$.message') END
"""

# Without what only colours a terminal: a program often ends with a line that holds nothing else.
_PLAIN = r"regexp_replace(report, '\x1b\[[0-9;:?]*[@-~]', '', 'g')"

# As much as is shown, and as much as is read where what differs from one report to the next is replaced first: cut
# before that, a line with a longer path in front would end elsewhere, and one cause look like two.
SHOWN_CHARACTERS = 300
_READ_CHARACTERS = 2_000

# Of rows with the two above, as `has_exit` and `report`. NULL: nothing was reported.
WHOLE_LINE = rf"""
    nullif(left(trim(CASE WHEN has_exit
        THEN regexp_extract(trim(regexp_replace({_PLAIN}, '</?\w+>', ' ', 'g'), E' \t\r\n'), '[^\r\n]*$')
        ELSE regexp_extract({_PLAIN}, '\S[^\r\n]*') END), {_READ_CHARACTERS}), '')
"""
LINE = f"left({WHOLE_LINE}, {SHOWN_CHARACTERS})"
