# First process of the guest, in its root file system: runs the job and hands out what it says and how it ended.
bin=/run/evbd-vm/image/bin
job=/run/evbd-vm/job
export PATH=$bin
mount --bind "/run/evbd-vm/image/modules" "/lib/modules/$(uname -r)"
echo "$bin/modprobe" >/proc/sys/kernel/modprobe
ip link set lo up

port() { # name of a port to the host
  for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = "$1" ] && echo "/dev/${port##*/}"
  done
}
status=$(port status)
echo "up $(uname -r)" >"$status"

# A port is opened once: all that is said goes through one process.
mkfifo /run/evbd-vm/out
cat /run/evbd-vm/out >"$(port out)" &
reader=$!
setsid sh "$job/run" >/run/evbd-vm/out 2>&1 </dev/null
result=$?
# What the job has left running may hold the pipe.
left=30
while kill -0 $reader 2>/dev/null && [ $left -gt 0 ]; do
  sleep 0.1
  left=$((left - 1))
done
echo "ended $result" >"$status"
reboot -f
