# shellcheck shell=bash
# The files that README.md and docs/engines.md show, for the tests that run with them. Sourced by lib.sh, and in the virtual
# machine by guest/engines; `documents` is the list of the documents.

# documented_file PATH: the fenced block that follows the line <!-- file: PATH --> in one of them.
documented_file() {
    # shellcheck disable=SC2154 # documents: see above
    awk -v mark="<!-- file: $1 -->" '$0 == mark { on = 1; next } on && /^```/ { if (n++) exit; next } on && n' \
        "${documents[@]}" | grep . || { echo "no document shows $1" >&2; return 1; }
}
