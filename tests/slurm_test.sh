#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# examples/slurm on one machine: a controller and two node daemons on loopback, emulated devices, 40
# shapes over four tasks of which one is killed and goes on; the merged database is that of one
# process. Arguments: nvfp4-tune, the repository, a folder to work in. 77: skipped.
set -euo pipefail
tune=$1 source=$2 folder=$3
export NVFP4_CACHE=$folder/cache
pids=()

skip() { echo "skipped: $1"; exit 77; }
fail() {
  echo "failed: $1"
  tail -n 20 "$folder"/*.log "$folder"/*.out 2>/dev/null || true
  exit 1
}
stop() { [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true; wait; }
trap stop EXIT

for program in slurmctld slurmd sbatch scontrol squeue; do
  PATH=$PATH:/usr/sbin command -v $program >/dev/null || skip "no $program (Debian: slurm-wlm)"
done
PATH=$PATH:/usr/sbin
rm -rf "$folder"
mkdir -p "$folder/state"
cd "$folder"

# Three ports that nobody listens at.
port=$((20000 + $$ % 10000))
while (echo >/dev/tcp/127.0.0.1/$port || echo >/dev/tcp/127.0.0.1/$((port + 1)) ||
  echo >/dev/tcp/127.0.0.1/$((port + 2))) 2>/dev/null; do
  port=$((port + 3))
done
export SLURM_CONF=$folder/slurm.conf
cat >"$SLURM_CONF" <<CONF
ClusterName=nvfp4
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
NodeName=n1 NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=1
NodeName=n2 NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=1
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=10 State=UP
CONF
slurmctld -D >slurmctld.out 2>&1 & pids+=($!)
for node in n1 n2; do slurmd -D -N $node >slurmd-$node.out 2>&1 & pids+=($!); done
for ((i = 0; ; ++i)); do
  [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = 2 ] && break
  [ $i -lt 100 ] || { tail -n 5 ./*.out; skip "slurm does not start here"; }
  sleep 0.1
done

# Both configs are tried at each shape, whichever comes first.
options=(--device emulated:h100 --M 16 --jobs 1)
for config in block_n=16,block_m=8 block_n=32; do
  options+=(--config "family=mma,act=bf16,$config,pdl=1")
done
for n in 16 32 48 64 80 96 112 128 144 160; do
  for k in 64 80 96 128; do options+=(--shape $n,$k); done
done
export NVFP4_TUNE=$tune NVFP4_SHARDS=$folder/shards
read -r array merge <<<"$("$source/examples/slurm/submit.sh" 4 merged.db "${options[@]}")"

# The second share loses its program in the middle.
victim=$folder/shards/2-of-4.db
for ((i = 0; ; ++i)); do
  pid=$(pgrep -f -- "--shard 2/4 --db $victim" || true)
  "$tune" "${options[@]}" --plan --format json --shard 2/4 --db "$victim" >plan.json 2>plan.log ||
    fail "plan: $(cat plan.log)"
  known=$(sed -n 's/^  "known": \([0-9]*\),$/\1/p' plan.json)
  [ -n "$pid" ] && [ "${known:-0}" -ge 4 ] && break
  [ $i -lt 300 ] || fail "the second share never came to a winner"
  sleep 0.05
done
kill -KILL "$pid"

for ((i = 0; ; ++i)); do
  [ -z "$(squeue -h -j "$array,$merge" 2>/dev/null)" ] && break
  [ $i -lt 600 ] || fail "the jobs do not end: $(squeue)"
  sleep 0.1
done
[ -e merged.db ] || fail "there is no merged database"
# Two configs under two policies at each shape: nothing was measured twice.
grep -q ", 160 rows, .* and 80 winners added" nvfp4-merge-"$merge".log || fail "other rows than 160"
grep -q "share 2 of 4 goes on later" nvfp4-tune-"${array}"_2.log || fail "no task was requeued"

"$tune" "${options[@]}" --format json --db alone.db >alone.json 2>alone.log || fail "one process"
"$tune" "${options[@]}" --format json --db merged.db >merged.json 2>merged.log || fail "merged"
grep -c '"answer": "database"' merged.json | grep -qx 80 ||
  fail "the merged database lacks winners"
without_answer() { sed 's/"answer": "[a-z ]*"//' "$1"; }
diff <(without_answer alone.json) <(without_answer merged.json) || fail "winners differ"
echo "40 shapes in four shares, one killed and requeued: the winners of one process"
