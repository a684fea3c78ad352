#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One night: measure what the library runs, add the run to the history, compare it with the run
# before. For cron or a CI job on an otherwise idle GPU:
#
#   nightly.sh history.db summary.md [options of bench, e.g. --suite decode]
#
# Without options, a tenth of the stored winners of this card is measured, every token count among
# them, the same ones each night. The summary is Markdown. Exit code: 0 nothing got slower, 5 something
# did, 4 a kernel gave wrong results, else why there is no answer (nvfp4-tune --help). NVFP4_TUNE names
# the program if it is not on the PATH.
set -u
tune=${NVFP4_TUNE:-nvfp4-tune}
db=${1:?usage: nightly.sh history.db summary.md [options of bench]}
summary=${2:?usage: nightly.sh history.db summary.md [options of bench]}
shift 2
[ $# -gt 0 ] || set -- --winners --sample 10%

"$tune" bench "$@" --record --db "$db" --format md >"$summary.part"
measured=$?
case $measured in
  0 | 1 | 4) ;; # rows were recorded, with notes on those that came to no time
  *)
    rm -f "$summary.part"
    exit $measured
    ;;
esac
"$tune" compare latest~1 latest --db "$db" --fail-on-regression --format md >"$summary.new"
compared=$?
[ $compared -ne 2 ] || compared=0 # the first run of this card: there is none to compare it with
{ cat "$summary.new" && printf '\n## All of the run\n\n' && cat "$summary.part"; } >"$summary.whole" &&
  mv "$summary.whole" "$summary"
rm -f "$summary.new" "$summary.part"
[ $measured -eq 0 ] || exit $measured
exit $compared
