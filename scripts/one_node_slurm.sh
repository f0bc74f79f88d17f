#!/usr/bin/env bash
# A Slurm of one node on this machine, only on the loopback interface: to try hydra/launcher=submitit_slurm without a cluster.
#
#   apt-get install --no-install-recommends slurm-wlm munge      (Debian; 22.05 was tried)
#   scripts/one_node_slurm.sh start      as root; waits until a job has run
#   scripts/one_node_slurm.sh stop       ends what this script started
#
# Everything lies in one directory ($SLURM_DIR, by default /var/tmp/one-node-slurm), /etc is left alone but for munge's key where there is
# none. Commands of Slurm find the node by SLURM_CONF, which `start` prints:
#
#   export SLURM_CONF=/var/tmp/one-node-slurm/slurm.conf
#   tapemeasure sweep --multirun hydra/launcher=submitit_slurm grid.n=1,2,4
#
# There is no accounting: submitit warns ("Bypassing sacct error"), and a job that was killed is known to be gone only when its
# time is over, so give jobs a time (hydra.launcher.timeout_min). Not for anything but trying: one user, no limits, no protection.
set -euo pipefail

DIR=${SLURM_DIR:-/var/tmp/one-node-slurm}
export SLURM_CONF=$DIR/slurm.conf

die() { echo "error: $*" >&2; exit 1; }

ended() { # waits until the process of a pid file is gone
    for _ in $(seq 50); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.1; done
    return 1
}

stop() {
    for name in slurmd slurmctld munged; do
        if [ -s "$DIR/$name.pid" ]; then
            pid=$(cat "$DIR/$name.pid")
            kill "$pid" 2>/dev/null || true
            ended "$pid" || echo "$name ($pid) does not end" >&2
            rm -f "$DIR/$name.pid"
        fi
    done
}

start() {
    [ "$(id -u)" = 0 ] || die "munged and slurmd are started as root; run this as root"
    for command in munged slurmctld slurmd sbatch; do
        command -v $command >/dev/null || die "$command is not installed; apt-get install --no-install-recommends slurm-wlm munge"
    done
    stop
    mkdir -p "$DIR"/{state,spool,log}

    [ -s /etc/munge/munge.key ] || mungekey --create
    chown munge: /etc/munge/munge.key
    install -d -o munge -g munge -m 755 /run/munge
    install -d -o munge -g munge "$DIR/munge"
    runuser -u munge -- munged --force --socket=/run/munge/munge.socket.2 --pid-file="$DIR/munge/munged.pid" \
        --log-file="$DIR/munge/munged.log" --seed-file="$DIR/munge/munged.seed"
    cp "$DIR/munge/munged.pid" "$DIR/munged.pid"

    local memory
    memory=$(awk '/MemTotal/ { print int($2 / 1024 * 0.9) }' /proc/meminfo)
    cat >"$SLURM_CONF" <<CONF
ClusterName=one-node
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MpiDefault=none
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool
SlurmctldPidFile=$DIR/slurmctld.pid
SlurmdPidFile=$DIR/slurmd.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd.log
NodeName=localhost NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    slurmctld -c -f "$SLURM_CONF"
    slurmd -N localhost -f "$SLURM_CONF"
    for _ in $(seq 60); do
        if timeout 10 srun --time=1 true 2>/dev/null; then
            echo "export SLURM_CONF=$SLURM_CONF"
            return 0
        fi
        sleep 1
    done
    sinfo || true
    die "no job ran within a minute; see $DIR/log"
}

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    *) die "expected start or stop" ;;
esac
