#!/bin/busybox sh
# First process of the guest, in the initramfs: the host's root file system, with a layer in memory for what is written.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod "/modules/$module" || echo "evbd vm: cannot load $module"; done

nine() { # tag, mount point
  mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose "$1" "$2"
}
mkdir /lower /layer /host
nine root /lower || exit 1
mount -t tmpfs layer /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work root /host || exit 1
for place in proc sys dev; do
  mkdir -p /host/$place
  mount --move /$place /host/$place
done
mkdir -p /host/run /host/dev/pts /host/dev/shm "/host/lib/modules/$(uname -r)"
mount -t devpts devpts /host/dev/pts
mount -t tmpfs shm /host/dev/shm
mount -t tmpfs run /host/run
mkdir -p /host/run/evbd-vm/image /host/run/evbd-vm/job /host/run/lock
nine image /host/run/evbd-vm/image || exit 1
nine job /host/run/evbd-vm/job || exit 1
exec switch_root /host /run/evbd-vm/image/bin/busybox sh /run/evbd-vm/image/guest.sh
