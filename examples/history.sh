#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The published runs of an H100 and an H200 as one history, oldest first; no GPU needed:
#
#   history.sh history.db && nvfp4-tune dashboard --db history.db --out site
#
# What a history of one's own looks like after a few nights (nightly.sh). The first three runs of the
# H100 and the first of the H200 hold medians only, no samples: differences from them are ambiguous.
# NVFP4_TUNE names the program if it is not on the PATH.
set -eu
tune=${NVFP4_TUNE:-nvfp4-tune}
db=${1:?usage: history.sh history.db}
if [ -e "$db" ]; then
  echo "history.sh: $db exists" >&2
  exit 1
fi
runs=$(dirname "$0")/../tuning_db/bench
for run in history/h100-sxm5-ef79b95 history/h100-sxm5-35119ac history/h100-sxm5-8c0a50c \
  history/h100-sxm5-32e8dfd history/h100-sxm5-95ac78c history/h100-sxm5-6ffe3bd h100-sxm5 \
  history/h200-sxm-8c0a50c history/h200-sxm-decode-e2d54de history/h200-sxm-95ac78c \
  history/h200-sxm-e2d54de; do
  "$tune" bench --from "$runs/$run.json" --record --db "$db" >/dev/null
done
