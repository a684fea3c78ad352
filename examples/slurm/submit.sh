#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Tunes on N GPUs of a SLURM cluster and merges what they found:
#   submit.sh N DATABASE OPTIONS OF NVFP4-TUNE...
#   submit.sh 8 h100.db --model gemma-4-31b --tp 1,2,4 --effort quick
# Options of sbatch for the tasks, such as --partition and --gres=gpu:1, go into SBATCH_OPTIONS.
# Prints the numbers of the array and of the merge.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -ge 3 ] || { sed -n '3,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
count=$1
database=$(realpath -m "$2")
shift 2
read -r -a options <<<"${SBATCH_OPTIONS:-}"
array=$(sbatch --parsable "${options[@]}" --array="1-$count" "$here/tune.sbatch" "$@")
# A share that failed for good must not be missed: there is no merge then.
merge=$(sbatch --parsable --dependency="afterok:$array" --kill-on-invalid-dep=yes \
  "$here/merge.sbatch" "$database")
echo "$array $merge"
