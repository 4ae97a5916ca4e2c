/**
 * What the virtual machine boots: Debian's kernel, the modules that its tests may ask for, and an initramfs that makes the
 * host's own root file system the guest's. Nothing is installed for it: two packages are fetched and taken apart.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { Complaint } from '../prepare.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const recipe = ['image.mjs', 'init.sh', 'guest.sh'].map((name) => path.join(here, name));

const META_PACKAGE = 'linux-image-amd64';
/** Folders of the kernel package below lib/modules/VERSION/kernel. */
const WANTED = ['net', 'fs/9p', 'fs/fscache', 'fs/netfs', 'fs/overlayfs', 'lib', 'crypto', 'arch/x86/crypto'];
const WANTED_DRIVERS = ['net', 'virtio', 'char/hw_random', 'char/virtio_console.ko'];
/** What it takes to reach the host's files; the kernel asks for all others by itself. */
const BOOT_MODULES = ['virtio_pci', 'virtio_mmio', 'virtio_console', '9pnet_virtio', '9p', 'overlay'];
/** Milliseconds after which an image of another recipe, or what is left of a build, goes. */
const UNUSED = 14 * 24 * 3600 * 1000;
const ABANDONED = 3600 * 1000;

const run = promisify(execFile);

function cacheFolder() {
  const cache = process.env.XDG_CACHE_HOME;
  return path.join(cache?.startsWith('/') ? cache : path.join(os.homedir(), '.cache'), 'evbd');
}

/**
 * The folder of the image: `vmlinuz`, `initramfs`, `modules`, `bin`, `guest.sh`, `kernel` (its version). Built where there is
 * none of this recipe, or `anew`. An interrupted build leaves nothing.
 */
export async function image({ anew, say, signal }) {
  const hash = createHash('sha256');
  for (const file of recipe) hash.update(fs.readFileSync(file));
  const name = `vm-${hash.digest('hex').slice(0, 16)}`;
  const cache = cacheFolder();
  const folder = path.join(cache, name);
  const isThere = fs.existsSync(folder);
  if (isThere && !anew) {
    fs.utimesSync(folder, new Date(), new Date());
    return folder;
  }
  const begun = performance.now();
  fs.mkdirSync(cache, { recursive: true });
  tidy(cache, name);
  const making = fs.mkdtempSync(path.join(cache, 'making-vm-'));
  try {
    say(`building the image (${META_PACKAGE}, busybox)`);
    await build(making, say, signal);
    put(making, folder, anew);
  } finally {
    fs.rmSync(making, { recursive: true, force: true });
  }
  say(`  done in ${((performance.now() - begun) / 1000).toFixed(1)} s: ${folder}`);
  return folder;
}

/** Whoever is first with an image of this recipe has it. One made `anew` takes the place of what there is, also under a machine. */
function put(made, folder, anew) {
  const old = `${made}-old`;
  try {
    if (anew && fs.existsSync(folder)) fs.renameSync(folder, old);
    fs.renameSync(made, folder);
  } catch (error) {
    if (!['ENOTEMPTY', 'EEXIST'].includes(error.code)) throw error;
  } finally {
    fs.rmSync(old, { recursive: true, force: true });
  }
}

function tidy(cache, current) {
  for (const name of fs.readdirSync(cache)) {
    const limit = name.startsWith('making-vm-') ? ABANDONED : name.startsWith('vm-') ? UNUSED : undefined;
    const place = path.join(cache, name);
    const age = Date.now() - (fs.statSync(place, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (limit !== undefined && name !== current && age > limit)
      fs.rmSync(place, { recursive: true, force: true });
  }
}

async function build(folder, say, signal) {
  const at = (...names) => path.join(folder, ...names);
  const packages = at('packages');
  fs.mkdirSync(packages);
  const options = { cwd: folder, signal, maxBuffer: 1 << 26 };
  const kernelPackage = await fetched(packages, say, signal);
  const file = (name) =>
    path.join(
      packages,
      fs.readdirSync(packages).find((it) => it.startsWith(`${name}_`)),
    );

  const kernel = kernelPackage.replace('linux-image-', '');
  const folders = [...WANTED, ...WANTED_DRIVERS.map((name) => `drivers/${name}`)];
  const paths = [...folders.map((name) => `kernel/${name}`), 'modules.builtin', 'modules.order'];
  await unpack(
    file(kernelPackage),
    at('x'),
    [`./boot/vmlinuz-${kernel}`, ...paths.map((name) => `./lib/modules/${kernel}/${name}`)],
    options,
  );
  await unpack(file('busybox-static'), at('x'), ['./bin/busybox'], options);
  fs.rmSync(packages, { recursive: true });

  const busybox = at('x/bin/busybox');
  await run(busybox, ['depmod', '-b', at('x'), kernel], options);
  fs.renameSync(at('x/boot', `vmlinuz-${kernel}`), at('vmlinuz'));
  fs.renameSync(at('x/lib/modules', kernel), at('modules'));
  fs.mkdirSync(at('bin'));
  fs.renameSync(busybox, at('bin/busybox'));
  const { stdout: applets } = await run(at('bin/busybox'), ['--list'], options);
  for (const applet of applets.split('\n').filter((name) => name !== '' && name !== 'busybox'))
    fs.symlinkSync('busybox', at('bin', applet));
  fs.rmSync(at('x'), { recursive: true });
  fs.copyFileSync(path.join(here, 'guest.sh'), at('guest.sh'));
  fs.writeFileSync(at('kernel'), `${kernel}\n`);
  fs.writeFileSync(at('initramfs'), initramfs(at('modules'), at('bin/busybox')));
}

/** Brings both packages into the folder; resolves with the name of the kernel's. What apt knows may be too old, or nothing. */
async function fetched(folder, say, signal) {
  const options = { cwd: folder, signal };
  const fetch = async () => {
    const { stdout } = await run('apt-cache', ['depends', '--important', META_PACKAGE], options);
    const kernelPackage = /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
    if (kernelPackage === undefined) throw new Error(`apt knows no ${META_PACKAGE}`);
    await run('apt-get', ['download', '-q', kernelPackage, 'busybox-static'], options);
    return kernelPackage;
  };
  try {
    return await fetch();
  } catch (error) {
    signal?.throwIfAborted();
    const why = String(error.stderr || error.message).trim();
    const mend = 'apt-get update';
    if (process.getuid() !== 0)
      throw new Complaint(`${why}\nthe packages of the image cannot be fetched; what may help: sudo ${mend}`);
    say(`  ${why.split('\n').at(-1)}: ${mend}`);
  }
  try {
    await run('apt-get', ['update', '-q'], options);
    return await fetch();
  } catch (error) {
    signal?.throwIfAborted();
    const why = String(error.stderr || error.message).trim();
    throw new Complaint(`${why}\nthe packages of the image cannot be fetched: it is for Debian`);
  }
}

async function unpack(archive, target, paths, options) {
  fs.mkdirSync(target, { recursive: true });
  const list = path.join(options.cwd, 'list');
  fs.writeFileSync(list, paths.join('\n'));
  const script = 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --no-same-owner -T "$3"';
  await run('bash', ['-o', 'pipefail', '-c', script, 'bash', archive, target, list], options);
}

/** Modules in the order in which they can be loaded. */
function withDependencies(modules, names) {
  const needed = new Map();
  for (const line of fs.readFileSync(path.join(modules, 'modules.dep'), 'utf8').split('\n')) {
    const [file, rest = ''] = line.split(':');
    needed.set(file, rest.split(' ').filter(Boolean));
  }
  const order = new Set();
  const add = (file) => {
    for (const other of needed.get(file) ?? []) add(other);
    order.add(file);
  };
  for (const name of names) {
    const file = [...needed.keys()].find((it) => path.basename(it).split('.')[0] === name);
    if (file !== undefined) add(file);
  }
  return [...order];
}

function initramfs(modules, busybox) {
  const files = withDependencies(modules, BOOT_MODULES);
  const entries = [
    ...['bin', 'dev', 'proc', 'sys', 'modules'].map((name) => ({ name, mode: 0o040755 })),
    { name: 'bin/busybox', mode: 0o100755, data: fs.readFileSync(busybox) },
    { name: 'init', mode: 0o100755, data: fs.readFileSync(path.join(here, 'init.sh')) },
    {
      name: 'modules/order',
      mode: 0o100644,
      data: Buffer.from(files.map((file) => path.basename(file)).join('\n')),
    },
    ...files.map((file) => ({
      name: `modules/${path.basename(file)}`,
      mode: 0o100644,
      data: fs.readFileSync(path.join(modules, file)),
    })),
  ];
  return zlib.gzipSync(cpio(entries), { level: 1 });
}

/** An archive as the kernel reads it (cpio, "newc"). */
function cpio(entries) {
  const padded = (buffer) => Buffer.concat([buffer, Buffer.alloc((4 - (buffer.length % 4)) % 4)]);
  const parts = [...entries, { name: 'TRAILER!!!', mode: 0 }].map(
    ({ name, mode, data = Buffer.alloc(0) }, i) => {
      // inode, mode, uid, gid, links, time, size, device (two), special device (two), length of the name, checksum
      const numbers = [i + 1, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length + 1, 0];
      const header = numbers.map((n) => n.toString(16).padStart(8, '0')).join('');
      return Buffer.concat([padded(Buffer.from(`070701${header}${name}\0`)), padded(data)]);
    },
  );
  return Buffer.concat(parts);
}
