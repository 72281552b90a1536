#!/usr/bin/env bash
# What each verb costs beside crun, in instructions and not in time: icount.sh [record]. A guest whose clocks count
# instructions (run.sh --icount), the kernel's own included, runs guest/icount with the release build RUNTIME. A verb that
# needs a tenth more than icount.txt says, of anything, fails; memory is judged only for a binary that the recorded compiler
# and linker have built. Called by test.sh and by `make guard`.
# `record` writes icount.txt: lower figures are how a gain is kept; higher ones need a reason in the commit's message.
# Rules: lines "ok NAME", "not ok NAME" and "skip NAME: why" as guest/tests prints them, and "# " before what is for people. A debug build
# is refused.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TABLE=$HERE/icount.txt
ROUNDS=${ICOUNT_ROUNDS:-15}
MARGIN=10 # percent; processor time and faults stay within 5 from one run to the next
BESIDE=300000 # instructions that an interrupt's work may add to the time until the end
: "${RUNTIME:?icount.sh: RUNTIME names the release build}"
if readelf -S "$RUNTIME" | grep -q '\.symtab'; then
    echo 'not ok what the verbs cost'
    echo "# RUNTIME ($RUNTIME) is not stripped, so it is no release build"
    exit 1
fi
# Which functions lie together, and so how much of the program comes into memory, is the compiler's and the linker's work.
builders() {
    readelf -p .comment "$RUNTIME" | sed -n 's/.*\(rustc\) version \([0-9]*\.[0-9]*\).*/\1 \2/p; s/.*Linker:.*\(LLD\) \([0-9]*\).*/\1 \2/p' \
        | sort | paste -sd, | sed 's/,/, /g; s/^/# built by /'
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/share"
tiny() { gcc -x c -O1 -static -nostdlib -s -o "$work/share/$1" -; }
tiny true <<<'void _start(void) { __asm__ volatile("syscall" : : "a"(60), "D"(0)); }'
tiny pause <<<'void _start(void) { for (;;) __asm__ volatile("syscall" : : "a"(34) : "rcx", "r11", "memory"); }'
gcc -O1 -Wall -Werror -static -s -o "$work/share/cost" "$HERE/guest/cost.c"
cp "$HERE/guest/icount" "$work/share/"
cp "$RUNTIME" "$work/share/nucleus"
"$HERE/run.sh" --icount --share "$work/share" --timeout "${VM_TIMEOUT:-900}" -- /share/icount "$ROUNDS" >"$work/figures"

# The figures of each verb: ours, and our processor time in percent of crun's.
awk '
    $1 == "kernel" || $1 == "crun" { print "# " $1, $2 }
    $1 == "fork" { print "# fork, exec and wait of a static program:", $2, "instructions" }
    sub(/^crun:/, "") { for (i = 2; i <= 5; i++) crun[$1, i] = $i }
    sub(/^nucleus:/, "") {
        printf "%-8s %12d %12d %8.1f %8d %10d\n", $1, $2, $3, 100 * $3 / crun[$1, 3], $4, $5
        printf "# %s (and of crun): %d (%d) instructions, %d (%d) page faults, %d (%d) KiB\n", \
            $1, $2, crun[$1, 2], $4, crun[$1, 4], $5, crun[$1, 5]
    }' "$work/figures" >"$work/lines"
grep '^#' "$work/lines"
grep -v '^#' "$work/lines" >"$work/now"
if [ "${1:-}" = record ]; then
    {
        echo "# What each verb costs in the guest of icount.sh, medians of $ROUNDS. Written by \`make guard RECORD=1\`, see docs/performance.md."
        grep -E '^# (kernel|crun) [0-9]' "$work/lines"
        builders
        echo "# verb      elapsed    processor  of-crun%   faults  kilobytes"
        cat "$work/now"
    } >"$TABLE"
fi
# Another kernel or crun of Debian moves the absolute figures, and nothing that we have done.
same=yes
for what in kernel crun; do
    line=$(grep -E "^# $what [0-9]" "$work/lines")
    grep -qxF -- "$line" "$TABLE" || { same=no && echo "# recorded with another $what; instructions are compared with crun's only"; }
done
built=yes
builders | grep -qxFf - "$TABLE" || {
    built=no
    echo "skip the page faults and the memory of the verbs: $(builders | cut -c 3-), recorded: $(sed -n 's/^# built by //p' "$TABLE")"
}
awk -v same=$same -v built=$built -v margin=$MARGIN -v beside=$BESIDE '
    function judge(what, now, then, slack) {
        if (now > then * (1 + margin / 100) + slack) bad = bad sprintf("# %s: %s, recorded %s, %.0f %% more\n", what, now, then, 100 * now / then - 100)
        else if (now < then * (1 - margin / 100) - slack) better = better (better ? ", " : " ") what
    }
    /^#/ { next }
    NR == FNR { for (i = 2; i <= NF; i++) then[$1, i] = $i; verbs++; next }
    {
        bad = better = ""
        if (same == "yes") { judge("instructions until the end", $2, then[$1, 2], beside); judge("instructions of its own", $3, then[$1, 3]) }
        judge("percent of the instructions of crun", $4, then[$1, 4])
        if (built == "yes") { judge("page faults", $5, then[$1, 5]); judge("KiB at most", $6, then[$1, 6]) }
        printf "%s cost of %s: %.0f %% of the instructions of crun\n%s", bad ? "not ok" : "ok", $1, $4, bad
        if (better) print "# " $1 ": less than recorded:" better "; `make guard RECORD=1` keeps the gain"
        failed += bad != ""; seen++
    }
    END { if (!verbs || seen != verbs) { print "not ok the figures of all verbs\n# " seen + 0 " of " verbs + 0; failed++ } exit failed > 0 }' \
    "$TABLE" "$work/now"
