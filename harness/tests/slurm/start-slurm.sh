#!/usr/bin/env bash
# A private Slurm of two nodes (or NODES) on this machine, for the tests: start-slurm.sh DIR [NODES], as root, with Debian's
# slurm-wlm and munge. Then SLURM_CONF=DIR/slurm.conf makes it the one that sbatch speaks to. `DIR/stop.sh` ends what was
# started, by process id. `kill -9 $(cat DIR/run/n2.pid)` loses node n2, whose jobs go back to the queue.
set -euo pipefail
dir=$(mkdir -p "$1" && realpath "$1")
nodes=${2:-2}
host=$(hostname -s)
mkdir -p "$dir"/{state,log,run}

for program in slurmctld slurmd sbatch munge; do
    command -v "$program" >/dev/null || { echo "$program is not installed (Debian: slurm-wlm, munge)" >&2; exit 1; }
done
# One munged serves all clusters of the machine: of tests that start at once, the first starts it and the others wait.
start_munged() {
    munge -n >/dev/null 2>&1 && return
    if ! [ -e /etc/munge/munge.key ]; then
        head -c 128 /dev/urandom >/etc/munge/munge.key
        chown munge: /etc/munge/munge.key
        chmod 400 /etc/munge/munge.key
    fi
    mkdir -p /run/munge
    chown munge: /run/munge
    # The daemon must not inherit the lock.
    su -s /bin/sh munge -c '/usr/sbin/munged --force' 9>&-
}
{
    flock 9
    start_munged
} 9>/run/divkd-munge.lock

# Ports that nobody listens on, and that no other test asks for at this moment: the process id spreads them, below those
# that the system gives to clients.
next=$((20000 + $$ % 1500 * 8))
free_port() {
    while (echo >"/dev/tcp/127.0.0.1/$next") 2>/dev/null; do next=$((next + 1)); done
    port=$next
    next=$((next + 1))
}

{
    free_port
    cat <<CONF
ClusterName=private
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# How long a job that goes back to the queue must wait there.
AuthInfo=cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldPidFile=$dir/run/ctld.pid
SlurmdPidFile=$dir/run/%n.pid
SlurmctldLogFile=$dir/log/ctld.log
SlurmdLogFile=$dir/log/%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
JobRequeue=1
ReturnToService=2
# A node that does not answer is given up after this, and a job is killed this long after its limit.
SlurmdTimeout=10
KillWait=5
MaxArraySize=${MAX_ARRAY_SIZE:-1001}
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=2
CONF
    for i in $(seq 1 "$nodes"); do
        free_port
        echo "NodeName=n$i NodeHostname=$host NodeAddr=127.0.0.1 Port=$port CPUs=1 RealMemory=1000 State=UNKNOWN"
    done
    echo "PartitionName=main Nodes=n[1-$nodes] Default=YES MaxTime=INFINITE State=UP"
} >"$dir/slurm.conf"
printf '#!/bin/sh\nfor f in %s/run/*.pid; do kill "$(cat "$f")" 2>/dev/null; done\n' "$dir" >"$dir/stop.sh"
chmod +x "$dir/stop.sh"

export SLURM_CONF=$dir/slurm.conf
slurmctld -c -f "$SLURM_CONF"
for i in $(seq 1 "$nodes"); do
    mkdir -p "$dir/spool-n$i"
    slurmd -N "n$i" -f "$SLURM_CONF"
done
for _ in $(seq 1 300); do
    [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = "$nodes" ] && exit 0
    sleep 0.1
done
echo "Slurm did not come up:" >&2
tail -n 5 "$dir"/log/*.log >&2
exit 1
