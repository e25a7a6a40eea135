#!/usr/bin/env bash
# Start a whole SLURM cluster of one node on this machine: `up.sh DIR [dbd]`, as root; `down.sh DIR` ends it.
# Needs Debian's slurm-wlm and munge; with `dbd` also slurmdbd and mariadb-server. No systemd, cgroups or container.
# Everything but a link at /etc/slurm (and munge's socket) lives in DIR.
set -euo pipefail
D=$(realpath -m "${1:?usage: up.sh DIR [dbd]}")
DBD=${2:-}
HOST=$(hostname -s)
# A node says that it has this much, whatever the machine has: the workflow's requests are far above a test's needs.
CPUS=${CLUSTER_CPUS:-2}
MEMORY=${CLUSTER_MEMORY_MB:-20000}

fail() { echo "up.sh: $*" >&2; exit 1; }
# wait_for WHAT SECONDS COMMAND...: every wait has an end.
wait_for() {
  local what=$1 seconds=$2
  shift 2
  for _ in $(seq $((seconds * 5))); do
    if "$@" >/dev/null 2>&1; then return 0; fi
    sleep 0.2
  done
  tail -n 5 "$D"/log/* >&2 || true
  fail "$what did not come up in $seconds s; the logs are in $D/log"
}

[ "$(id -u)" = 0 ] || fail "root is needed"
for conf in slurm.conf slurmdbd.conf; do
  # A machine's own cluster stays as it is. The link is needed: the job-step plugin strips SLURM_CONF.
  if [ -e /etc/slurm/$conf ] || [ -L /etc/slurm/$conf ]; then
    [ "$(readlink /etc/slurm/$conf)" = "$D/$conf" ] || fail "/etc/slurm/$conf is there already: another cluster?"
  fi
done
mkdir -p "$D"/{state,spool,log,run} /etc/slurm
install -d -o munge -g munge -m 0755 /run/munge /var/log/munge /var/lib/munge
if ! munge -n >/dev/null 2>&1; then
  runuser -u munge -- munged
  touch "$D/run/own-munge"
  wait_for munged 20 munge -n
fi

STORAGE=accounting_storage/none
[ -z "$DBD" ] || STORAGE=accounting_storage/slurmdbd
cat >"$D/slurm.conf" <<CONF
ClusterName=t
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool
SlurmctldPidFile=$D/run/slurmctld.pid
SlurmdPidFile=$D/run/slurmd.pid
SlurmctldLogFile=$D/log/slurmctld
SlurmdLogFile=$D/log/slurmd
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
JobCompType=jobcomp/filetxt
JobCompLoc=$D/log/jobs.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=5
MinJobAge=3600
ReturnToService=2
JobRequeue=0
AccountingStorageType=$STORAGE
AccountingStorageHost=127.0.0.1
AccountingStoragePort=16819
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$CPUS RealMemory=$MEMORY State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=UNLIMITED State=UP
CONF
ln -sfn "$D/slurm.conf" /etc/slurm/slurm.conf

if [ -n "$DBD" ]; then
  SQL=$D/run/my/socket
  mkdir -p "$D/mysql" "$D/run/my"
  # As root, like the other daemons: user mysql cannot go into another's temporary folder (mode 0700). Without the
  # machine's settings, which may name plugins that are not there.
  [ -d "$D/mysql/mysql" ] || mariadb-install-db --no-defaults --user=root --datadir="$D/mysql" \
    --auth-root-authentication-method=socket --skip-test-db >"$D/log/mariadb-install" 2>&1 ||
    { tail -n 5 "$D/log/mariadb-install" >&2; fail "no database could be made"; }
  mariadbd --no-defaults --user=root --datadir="$D/mysql" --socket="$SQL" --pid-file="$D/run/my/pid" --bind-address=127.0.0.1 \
    --port=13306 --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 >"$D/log/mariadb" 2>&1 &
  wait_for mariadbd 60 mariadb-admin --no-defaults -S "$SQL" ping
  mariadb --no-defaults -S "$SQL" -e "CREATE DATABASE IF NOT EXISTS acct;
    CREATE USER IF NOT EXISTS s@'127.0.0.1' IDENTIFIED BY 'x'; CREATE USER IF NOT EXISTS s@localhost IDENTIFIED BY 'x';
    GRANT ALL ON acct.* TO s@'127.0.0.1'; GRANT ALL ON acct.* TO s@localhost"
  cat >"$D/slurmdbd.conf" <<CONF
AuthType=auth/munge
DbdHost=$HOST
DbdAddr=127.0.0.1
DbdPort=16819
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=13306
StorageUser=s
StoragePass=x
StorageLoc=acct
LogFile=$D/log/slurmdbd
PidFile=$D/run/slurmdbd.pid
CONF
  chmod 600 "$D/slurmdbd.conf"
  ln -sfn "$D/slurmdbd.conf" /etc/slurm/slurmdbd.conf
  slurmdbd
  wait_for slurmdbd 60 sacctmgr -ni list cluster
  # What is there already is no fault.
  sacctmgr -ni add cluster t || true
  sacctmgr -ni add account test Cluster=t || true
  sacctmgr -ni add user root Account=test || true
fi

slurmctld -c
slurmd -N "$HOST"
is_idle() { [ "$(sinfo -ho %T)" = idle ]; }
wait_for "the node" 60 is_idle
sinfo
