#!/usr/bin/env bash
# End the cluster that `up.sh DIR` started: its jobs, its daemons, its links. The logs stay in DIR/log.
set -uo pipefail
D=$(realpath -m "${1:?usage: down.sh DIR}")

# stop PIDFILE: ask, wait for up to 10 s, insist.
stop() {
  [ -f "$1" ] || return 0
  local pid
  pid=$(cat "$1")
  kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 50); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.2
  done
  kill -KILL "$pid" 2>/dev/null || true
}

if [ "$(readlink /etc/slurm/slurm.conf)" = "$D/slurm.conf" ]; then
  timeout 20 scancel --user root 2>/dev/null || true
  for _ in $(seq 50); do
    # Its job steps must be gone before slurmd is.
    [ -z "$(timeout 5 squeue --noheader --states=RUNNING,COMPLETING,PENDING 2>/dev/null)" ] && break
    sleep 0.2
  done
fi
for name in slurmd slurmctld slurmdbd; do stop "$D/run/$name.pid"; done
stop "$D/run/my/pid"
if [ -f "$D/run/own-munge" ]; then
  stop /run/munge/munged.pid
  rm -f "$D/run/own-munge"
fi
for conf in slurm.conf slurmdbd.conf; do
  [ "$(readlink /etc/slurm/$conf)" != "$D/$conf" ] || rm -f /etc/slurm/$conf
done
