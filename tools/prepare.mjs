/**
 * What `npm run lab` and `npm test` do first, so that both work from a fresh clone: tell what is missing on this
 * machine before anything is done, then install the dependencies and build what is not there or out of date.
 * No dependencies: this runs before `npm ci`. Says nothing when there is nothing to do.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(fs.realpathSync(path.dirname(fileURLToPath(import.meta.url))), '..');

/** What is shown to people as it is, without a stack. */
export class Complaint extends Error {}

/** An ordinary user's PATH on Debian lacks the folders in which `ip` and its like live. */
export function searchPath() {
  const given = (process.env.PATH ?? '').split(':').filter(Boolean);
  return [...new Set([...given, '/usr/sbin', '/sbin', '/usr/bin', '/bin'])];
}

export function findProgram(name) {
  for (const folder of searchPath()) {
    const file = path.join(folder, name);
    try {
      fs.accessSync(file, fs.constants.X_OK);
      if (fs.statSync(file).isFile()) return file;
    } catch {
      // not here
    }
  }
  return undefined;
}

function osRelease() {
  try {
    const lines = fs.readFileSync('/etc/os-release', 'utf8').split('\n');
    return Object.fromEntries(
      lines.flatMap((line) => {
        const match = /^([A-Z_]+)=(?:"(.*)"|(.*))$/.exec(line);
        return match ? [[match[1], match[2] ?? match[3]]] : [];
      }),
    );
  } catch {
    return {};
  }
}

/** Debian 12 and Ubuntu 23 moved the daemon into a package of its own, which starts no system bus. */
function debianDbusPackage(release) {
  const version = Number.parseFloat(release.VERSION_ID ?? '99');
  return release.ID === 'debian'
    ? version >= 12
      ? 'dbus-daemon'
      : 'dbus'
    : version >= 23
      ? 'dbus-daemon'
      : 'dbus';
}

const labPrograms = [
  {
    program: 'ip',
    what: 'ip (iproute2)',
    apt: 'iproute2',
    dnf: 'iproute',
    pacman: 'iproute2',
    zypper: 'iproute2',
    apk: 'iproute2',
  },
  {
    program: 'bridge',
    what: 'bridge (iproute2)',
    apt: 'iproute2',
    dnf: 'iproute',
    pacman: 'iproute2',
    zypper: 'iproute2',
    apk: 'iproute2',
  },
  {
    program: 'dbus-daemon',
    what: 'dbus-daemon',
    apt: debianDbusPackage,
    dnf: 'dbus-daemon',
    pacman: 'dbus',
    zypper: 'dbus-1',
    apk: 'dbus',
  },
  ...['unshare', 'setpriv', 'nsenter', 'flock'].map((program) => ({
    program,
    what: `${program} (util-linux)`,
    apt: 'util-linux',
    dnf: 'util-linux',
    pacman: 'util-linux',
    zypper: 'util-linux',
    apk: program === 'unshare' || program === 'nsenter' ? 'util-linux-misc' : program,
  })),
  {
    program: 'mount',
    what: 'mount',
    apt: 'mount',
    dnf: 'util-linux',
    pacman: 'util-linux',
    zypper: 'util-linux',
    apk: 'mount',
  },
];

const buildPrograms = [
  {
    program: 'cc',
    what: 'a C compiler',
    apt: 'g++',
    dnf: 'gcc-c++',
    pacman: 'gcc',
    zypper: 'gcc-c++',
    apk: 'g++',
  },
  {
    program: 'g++',
    what: 'g++ (node-gyp links with it)',
    apt: 'g++',
    dnf: 'gcc-c++',
    pacman: 'gcc',
    zypper: 'gcc-c++',
    apk: 'g++',
  },
  { program: 'make', what: 'make', apt: 'make', dnf: 'make', pacman: 'make', zypper: 'make', apk: 'make' },
  {
    program: 'python3',
    what: 'python3 (node-gyp is written in it)',
    apt: 'python3',
    dnf: 'python3',
    pacman: 'python',
    zypper: 'python3',
    apk: 'python3',
  },
];

/** Of the virtual machine, which is for Debian. */
const machinePrograms = [
  { program: 'qemu-system-x86_64', what: 'qemu-system-x86_64', apt: 'qemu-system-x86' },
  { program: 'ping', what: 'ping', apt: 'iputils-ping' },
];

const installers = [
  {
    ids: ['debian', 'ubuntu'],
    key: 'apt',
    command: 'apt-get update && apt-get install -y --no-install-recommends',
  },
  { ids: ['fedora', 'rhel', 'centos'], key: 'dnf', command: 'dnf install -y' },
  { ids: ['arch'], key: 'pacman', command: 'pacman -S --needed' },
  { ids: ['suse', 'opensuse', 'sles'], key: 'zypper', command: 'zypper install' },
  { ids: ['alpine'], key: 'apk', command: 'apk add' },
];

/** The programs that are not there, and the one command that brings them (undefined on a system we do not know). */
function missingPrograms(wanted) {
  const missing = wanted.filter(({ program }) => findProgram(program) === undefined);
  if (missing.length === 0) return undefined;
  const release = osRelease();
  const like = [release.ID, ...(release.ID_LIKE ?? '').split(' ')];
  const installer = installers.find(({ ids }) => ids.some((id) => like.includes(id)));
  let command;
  if (installer) {
    const packages = missing.map((entry) => {
      const name = entry[installer.key];
      return typeof name === 'function' ? name(release) : name;
    });
    const line = `${installer.command} ${[...new Set(packages)].join(' ')}`;
    const rights = process.getuid() === 0 ? '' : 'sudo ';
    command = line.replace(/(^|&& )/g, `$1${rights}`);
  }
  return { names: missing.map(({ what }) => what), command, apt: installer?.key === 'apt' };
}

function checkNode() {
  if (process.platform !== 'linux') {
    throw new Complaint(
      `evbd works on Linux's bridges and sockets; this is ${process.platform}: use a Linux machine`,
    );
  }
  if (Number.parseInt(process.versions.node, 10) < 20) {
    throw new Complaint(
      `Node.js ${process.versions.node} is too old, evbd needs 20 or later: install one from nodejs.org or the distribution`,
    );
  }
}

// ---------------------------------------------------------------------------------------------------- what is stale

function* filesBelow(folder, wanted) {
  for (const entry of fs
    .readdirSync(folder, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) {
      if (entry.name !== 'build' && entry.name !== 'node_modules') yield* filesBelow(file, wanted);
    } else if (wanted(entry.name)) {
      yield file;
    }
  }
}

const exists = (file) => fs.existsSync(file);
const modified = (file) => fs.statSync(file).mtimeMs;

function digest(files) {
  const hash = createHash('sha256').update(`${process.platform} ${process.arch}\n`);
  for (const file of files) {
    hash.update(`${path.relative(root, file)}\n`).update(fs.readFileSync(file));
  }
  return hash.digest('hex');
}

/**
 * One thing to be made: `stamp` holds the digest of `sources` as they were when it was made. Without a stamp (somebody
 * made it by hand) the times of the files decide, so that a checkout that is built already is never built again.
 */
function isStale({ stamp, sources, product }) {
  if (!exists(product)) return true;
  try {
    if (fs.readFileSync(stamp, 'utf8').trim() === digest(sources)) return false;
  } catch {
    // no stamp
  }
  const made = modified(product);
  return sources.some((file) => modified(file) > made);
}

const at = (...names) => path.join(root, ...names);

function parts() {
  const code = [
    ...filesBelow(at('protocols'), (n) => n.endsWith('.ts')),
    ...filesBelow(at('src'), (n) => n.endsWith('.ts')),
  ];
  const addon = at('src', 'raw-socket');
  const native = exists(addon) ? [...filesBelow(addon, (name) => /\.([ch]|cc|gypi?)$/.test(name))] : [];
  const release = at('src', 'raw-socket', 'build', 'Release');
  const product = exists(release)
    ? fs.readdirSync(release).find((name) => name.endsWith('.node'))
    : undefined;
  return [
    {
      title: 'installing the dependencies (npm ci)',
      command: ['npm', 'ci', '--include=dev', '--no-audit', '--no-fund'],
      folder: at('node_modules'),
      stamp: at('node_modules', '.evbd-stamp'),
      sources: [at('package-lock.json')],
      // npm writes its own list last: while it is not there the installation was not finished.
      product: at('node_modules', '.package-lock.json'),
    },
    {
      title: 'compiling the socket addon (npm run build:addon)',
      command: ['npm', 'run', 'build:addon'],
      folder: at('src', 'raw-socket', 'build'),
      stamp: at('src', 'raw-socket', 'build', '.evbd-stamp'),
      sources: native,
      product: product ? path.join(release, product) : path.join(release, 'none'),
      native: true,
    },
    {
      title: 'compiling the TypeScript (npm run build:ts)',
      command: ['npm', 'run', 'build:ts'],
      folder: at('dist'),
      stamp: at('dist', '.evbd-stamp'),
      sources: [...code, at('tsconfig.json')],
      product: at('dist', 'src', 'lab', 'main.js'),
    },
  ];
}

const staleParts = () => parts().filter((part) => part.sources.length > 0 && isStale(part));

function canWrite(folder) {
  let place = folder;
  while (!exists(place)) place = path.dirname(place);
  try {
    fs.accessSync(place, fs.constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

// ------------------------------------------------------------------------------------------------------- doing it

/** A command in a process group of its own, so that all of it can be ended; resolves with its exit code. */
async function runGroup(command, { signal, onLine, env = process.env }) {
  signal?.throwIfAborted();
  const child = spawn(command[0], command.slice(1), {
    cwd: root,
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const kill = (how) => {
    try {
      return process.kill(-child.pid, how);
    } catch {
      return false; // nobody is left
    }
  };
  const end = () => kill('SIGTERM');
  signal?.addEventListener('abort', end, { once: true });
  let errors = '';
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) onLine(line);
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    errors += text;
  });
  const code = await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status, ended) => resolve(status ?? `ended by ${ended}`));
  });
  signal?.removeEventListener('abort', end);
  if (signal?.aborted) {
    const deadline = Date.now() + 2000;
    while (kill(0)) {
      if (Date.now() > deadline) kill('SIGKILL');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw signal.reason;
  }
  return { code, errors };
}

/**
 * Makes the machine and the checkout ready. `wants`: which programs beside those of a needed build; `say`: takes a line
 * for people; `signal`: ends whatever runs. Throws a Complaint when it cannot be done.
 */
export async function prepare({ wants, say, signal, alsoCheck = () => undefined }) {
  checkNode();
  const stale = staleParts();
  const programs = [
    ...labPrograms,
    ...(wants === 'vm' ? machinePrograms : []),
    ...(stale.some((part) => part.native) ? buildPrograms : []),
  ];
  const missing = missingPrograms(programs);
  const blocked = stale.filter((part) => !canWrite(part.folder));
  if (blocked.length > 0) {
    const what = blocked.map((part) => path.relative(root, part.folder)).join(', ');
    throw new Complaint(
      `${what} in ${root} ${blocked.length > 1 ? 'are' : 'is'} missing or out of date and not yours to write: ` +
        'have the owner run `npm ci && npm run build` there, or clone into a folder of your own',
    );
  }
  if (missing) {
    say(`missing on this machine: ${missing.names.join(', ')}`);
    const mend = missing.command ?? 'install them with the package manager of this system';
    if (!missing.apt || process.getuid() !== 0) throw new Complaint(`what brings it: ${mend}`);
    say(`installing: ${mend}`);
    // Not ended by a signal half-way: a half configured package is worse than a moment of waiting.
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    const { code, errors } = await runGroup(['sh', '-c', `${mend} >&2`], { onLine() {}, env });
    signal?.throwIfAborted();
    if (code !== 0)
      throw new Complaint(`${errors}\nthe installation failed (exit ${code}): run it by hand: ${mend}`);
    const still = missingPrograms(programs);
    if (still) throw new Complaint(`still missing: ${still.names.join(', ')}; install them by hand`);
  }
  alsoCheck();
  if (stale.length === 0) return;
  // One at a time: two runs in one fresh clone must not install over each other. The lock is on a file of the
  // checkout itself, so nothing is left of it; the one who waited looks again at what there still is to do.
  const waiting = setTimeout(() => say('another run is preparing this checkout: waiting for it'), 2000);
  const command = [
    'setpriv',
    '--pdeathsig',
    'TERM',
    'flock',
    '--no-fork',
    at('package.json'),
    process.execPath,
  ];
  const env = { ...process.env, PATH: searchPath().join(':') };
  const { code, errors } = await runGroup([...command, fileURLToPath(import.meta.url)], {
    signal,
    env,
    onLine(line) {
      clearTimeout(waiting);
      say(line);
    },
  }).finally(() => clearTimeout(waiting));
  if (code !== 0) throw new Complaint(errors.trimEnd() || `preparing the checkout failed (${code})`);
}

/** Runs a step; resolves with how it ended and what it said. */
function runStep(command, env) {
  return new Promise((resolve) => {
    const child = spawn(command[0], command.slice(1), { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
      });
    }
    child.on('error', (error) => resolve({ ok: false, how: error.message, output }));
    child.on('close', (code, ended) =>
      resolve({ ok: code === 0, how: ended ?? `exit ${code}`, output: output.trim() }),
    );
  });
}

/** The part that runs under the lock, as the first of its process group. */
async function makeStaleParts() {
  // npm takes its time when it is asked to end; what it leaves half done, the next run does again.
  process.on('SIGTERM', () => process.kill(0, 'SIGKILL'));
  // node-gyp would download the headers of this Node; where they are installed beside it there is no need to.
  const prefix = path.resolve(fs.realpathSync(process.execPath), '../..');
  const env = { ...process.env };
  if (exists(path.join(prefix, 'include/node/node_api.h'))) env.npm_config_nodedir ??= prefix;
  for (const part of staleParts()) {
    const started = performance.now();
    process.stdout.write(`${part.title}\n`);
    const { ok, how, output } = await runStep(part.command, env);
    if (!ok) {
      process.stderr.write(`${output}\n${part.title}: failed, ${how}; the output is above\n`);
      process.exit(1);
    }
    fs.writeFileSync(part.stamp, `${digest(part.sources)}\n`);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    process.stdout.write(`  done in ${seconds} s\n`);
  }
}

if (process.argv[1] && fs.realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  await makeStaleParts();
