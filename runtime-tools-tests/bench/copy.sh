#!/usr/bin/env bash
# copy.sh FILE COPY: written by one call, so that the copy lies in the page cache in pieces as large as they get, whatever
# state FILE is in. A program that lies there in single pages, as after a link or a reboot, takes a tenth longer to start.
# COPY may be FILE. Called by the Makefile and by the scripts beside it.
set -eu
dd if="$1" of="$2.new" bs=64M status=none
chmod 755 "$2.new"
mv "$2.new" "$2"
