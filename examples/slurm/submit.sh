#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Tunes on N GPUs of a SLURM cluster and merges what they found:
#   submit.sh N DATABASE NVFP4-TUNE'S OPTIONS...
#   submit.sh 8 h100.db --model gemma-4-31b --tp 1,2,4 --effort quick
# Options of sbatch for the tasks (--partition, --gres=gpu:1, --time) go into SBATCH_OPTIONS.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -ge 3 ] || { sed -n '3,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
count=$1 database=$(realpath -m "$2")
shift 2
read -r -a options <<<"${SBATCH_OPTIONS:-}"
array=$(sbatch --parsable "${options[@]}" --array="1-$count" "$here/tune.sbatch" "$@")
# afterok: a share that failed must not be missed; resubmit it, and the merge follows by hand.
merge=$(sbatch --parsable --dependency="afterok:$array" --kill-on-invalid-dep=yes \
  "$here/merge.sbatch" "$database")
echo "$array $merge"
