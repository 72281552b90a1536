#!/usr/bin/env bash
# Checks what `make install` puts where: the binary, the man pages, the completions, and that man and the shells take
# them. Called by all.sh. Rule: nothing outside of a temporary DESTDIR is touched.
set -euo pipefail
cd "$(dirname "$0")/.."
dest=$(mktemp -d)
trap 'rm -rf "$dest"' EXIT
fail() { echo "install.sh: $*" >&2 && exit 1; }

make --no-print-directory install DESTDIR="$dest" PREFIX=/usr
share=$dest/usr/share
[ -x "$dest/usr/bin/nucleus" ] || fail 'no binary'
"$dest/usr/bin/nucleus" --version >/dev/null

verbs=$("$dest/usr/bin/nucleus" help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
[ "$(wc -w <<<"$verbs")" -gt 15 ] || fail "too few verbs: $verbs"
for page in nucleus $(for verb in $verbs; do [ "$verb" = help ] || echo "nucleus-$verb"; done); do
    file=$share/man/man8/$page.8
    [ -s "$file" ] || fail "no page $page"
    if command -v man >/dev/null; then
        text=$(MANWIDTH=120 LC_ALL=C man --warnings -l "$file" 2>"$dest/warnings" | col -b)
        [ ! -s "$dest/warnings" ] || fail "$page: $(cat "$dest/warnings")"
        for part in NAME SYNOPSIS DESCRIPTION; do
            grep -q "^$part" <<<"$text" || fail "$page: no $part: $text"
        done
        [ "$page" = nucleus ] || grep -q "nucleus ${page#nucleus-}" <<<"$text" || fail "$page: how is it called?"
        grep -q 'Examples' <<<"$text" || fail "$page: no examples"
    fi
done
if ! command -v man >/dev/null; then echo 'SKIP: no man here'; fi

bash -n "$share/bash-completion/completions/nucleus"
# What bash offers after `nucleus che`, and after `nucleus exec --pid`.
# shellcheck disable=SC1091 # it is what is tested
offered=$(
    source "$share/bash-completion/completions/nucleus"
    for words in 'nucleus che' 'nucleus exec --pid'; do
        read -ra COMP_WORDS <<<"$words"
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _nucleus nucleus "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        echo "${COMPREPLY[@]}"
    done
)
[ "$offered" = 'check checkpoint
--pid-file --pidfd-socket' ] || fail "bash offers: $offered"
for shell in zsh fish; do
    case $shell in zsh) file=$share/zsh/site-functions/_nucleus ;; fish) file=$share/fish/vendor_completions.d/nucleus.fish ;; esac
    grep -q checkpoint "$file" || fail "no completions for $shell"
    if command -v $shell >/dev/null; then $shell -n "$file"; else echo "SKIP: no $shell here"; fi
done
[ -z "$(find "$dest" -type f ! -path "$dest/usr/*" ! -name warnings)" ] || fail "files outside of PREFIX: $(find "$dest" -type f)"
