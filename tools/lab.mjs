/**
 * `npm run lab`: the outer half. Makes the checkout ready, then runs dist/src/lab/main.js as the first process of fresh
 * namespaces (network, mount, process; and user, for an ordinary user). Everything the lab makes (network namespaces,
 * interfaces, daemons, sockets) lives in there and goes with it: the kernel takes down a process namespace with its
 * first process, however that one ends. The inner half ends when this one does, in three ways that do not depend on
 * each other: its stdin closes, `unshare` dies with us (--pdeathsig) and takes its child along (--kill-child).
 */
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { Complaint, prepare, root, searchPath } from './prepare.mjs';

const usage = `usage: npm run lab -- [OPTION]...

Runs evbd for real: a station and a switch in two network namespaces, VEPA
guests, and the proof with guest traffic. Leaves nothing behind. Needs no root.

  --guests N    how many guests, 2 to 16 (default 2)
  --json        one JSON document, nothing else on standard output
  --pcap FILE   write every frame on the wire between station and switch to FILE
  --keep        leave it running at the end, and say how to enter it; the next
                lab of this checkout ends it, or --end
  --end         end a lab that was left running
  --help        this text

For programs: npm run --silent lab -- --json (without --silent npm adds lines).

Exit status: 0 when every step held, 1 when one did not, 2 for a wrong option.
`;

const fail = (message, code) => {
  process.stderr.write(`evbd lab: ${message}\n`);
  process.exit(code);
};

function readArguments() {
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        guests: { type: 'string', default: '2' },
        json: { type: 'boolean' },
        pcap: { type: 'string' },
        keep: { type: 'boolean' },
        end: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }));
  } catch (error) {
    fail(`${error.message.split('. ')[0]}; see npm run lab -- --help`, 2);
  }
  const guests = /^\d+$/.test(values.guests) ? Number(values.guests) : Number.NaN;
  if (!(guests >= 2 && guests <= 16)) {
    fail(`--guests ${values.guests}: give a number from 2 to 16`, 2);
  }
  return { ...values, guests, pcap: values.pcap === undefined ? undefined : capture(values.pcap) };
}

/** The absolute path of the capture file; what is wrong with it is said in the words of evbctl trace. */
function capture(name) {
  const file = path.resolve(process.env.INIT_CWD ?? '.', name);
  const isDirectory = (place) => fs.statSync(place, { throwIfNoEntry: false })?.isDirectory() === true;
  if (name === '') fail('--pcap: name a file', 2);
  if (isDirectory(file)) fail(`--pcap ${name}: is a directory, name a file in it`, 2);
  if (!isDirectory(path.dirname(file)))
    fail(`--pcap ${name}: the directory ${path.dirname(file)} does not exist`, 2);
  if (name.endsWith('/')) fail(`--pcap ${name}: names a directory, which does not exist`, 2);
  return file;
}

// --------------------------------------------------------------------------- labs whose outer half is no longer there

/**
 * Every process of a lab carries this variable: which checkout, and which outer half (process id and start time, so
 * that a reused id is told apart). Nothing needs to be written down anywhere, so nothing can be left of it.
 */
const markName = 'EVBD_LAB';

function startTime(pid) {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

const ownMark = `${process.pid} ${startTime(process.pid)} ${root}`;

/** Outermost processes of labs of this checkout whose outer half has gone: kept ones, or left by a SIGKILL. */
function orphanedLabs() {
  const found = [];
  for (const name of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    try {
      const status = fs.readFileSync(`/proc/${name}/status`, 'utf8');
      if (Number(/^Uid:\t(\d+)/m.exec(status)?.[1]) !== process.getuid()) continue;
      const environment = fs.readFileSync(`/proc/${name}/environ`, 'utf8').split('\0');
      const mark = environment.find((entry) => entry.startsWith(`${markName}=`))?.slice(markName.length + 1);
      if (mark === undefined) continue;
      const [owner, started, ...checkout] = mark.split(' ');
      if (checkout.join(' ') !== root || startTime(owner) === started) continue;
      found.push({ pid: Number(name), parent: Number(/^PPid:\t(\d+)/m.exec(status)?.[1]) });
    } catch {
      // ended meanwhile, or not ours to look at
    }
  }
  const pids = new Set(found.map(({ pid }) => pid));
  return { all: [...pids], outermost: found.filter(({ parent }) => !pids.has(parent)).map(({ pid }) => pid) };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Ends them and waits until they are gone; resolves with how many there were. */
async function endOrphanedLabs() {
  const { all, outermost } = orphanedLabs();
  for (const pid of all) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // gone with its first process
    }
  }
  const deadline = Date.now() + 5000;
  while (orphanedLabs().all.length > 0) {
    if (Date.now() > deadline)
      throw new Complaint(`an earlier lab does not end: see ps -fp ${all.join(',')}`);
    await pause(20);
  }
  return outermost.length;
}

// ---------------------------------------------------------------------------------------------------------- namespaces

const env = { ...process.env, PATH: searchPath().join(':') };
const asRoot = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
const asUser = ['--user', '--map-root-user', ...asRoot];

const readNumber = (file) => {
  try {
    return Number(fs.readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
};

/** The flags of `unshare` that work for this user on this machine. */
function namespaceFlags() {
  const tried = process.getuid() === 0 ? [asRoot, asUser] : [asUser];
  let last;
  for (const flags of tried) {
    // Mounting is what a restricted user namespace still refuses.
    last = spawnSync('unshare', [...flags, 'mount', '-t', 'tmpfs', 'tmpfs', '/run'], {
      env,
      encoding: 'utf8',
    });
    if (last.status === 0) return flags;
  }
  if (process.getuid() === 0) {
    throw new Complaint(
      `root may not make namespaces here (${last.stderr.trim().split('\n')[0]}): ` +
        'in a container, start it with --privileged or with --cap-add SYS_ADMIN,NET_ADMIN and seccomp unconfined',
    );
  }
  const setting = [
    ['kernel.apparmor_restrict_unprivileged_userns', 0],
    ['kernel.unprivileged_userns_clone', 1],
    ['user.max_user_namespaces', 10000],
  ].find(([name, needed]) => {
    const value = readNumber(`/proc/sys/${name.replaceAll('.', '/')}`);
    return value !== undefined && (needed === 0 ? value !== 0 : value === 0);
  });
  const mend = setting
    ? `${setting[0]} forbids it: sudo sysctl ${setting[0]}=${setting[1]}, or run the lab as root`
    : 'run the lab as root, or allow user namespaces';
  throw new Complaint(
    `ordinary users may not make user namespaces here (${last.stderr.trim().split('\n')[0]}); ${mend}`,
  );
}

/** The first process inside: the child of `unshare`. Undefined before there is one. */
function firstInside(pid) {
  try {
    const children = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    if (children) return Number(children.split(' ')[0]);
  } catch {
    // a kernel without that file: unshare takes its child along
  }
  return undefined;
}

// ----------------------------------------------------------------------------------------------------------------- run

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
const interrupted = new AbortController();
let how; // the signal that ended us
let stopInside = () => {};

function interrupt(name) {
  if (interrupted.signal.aborted) return; // npm passes on what the terminal has sent us already
  how = name;
  interrupted.abort();
  stopInside();
}
for (const name of signals) process.on(name, () => interrupt(name));
// Whoever read our output has gone (`| head`, a closed terminal).
process.stdout.on('error', () => interrupt('SIGPIPE'));
process.stderr.on('error', () => {});

const options = readArguments();
const note = (line) => (options.json ? process.stderr : process.stdout).write(`evbd lab: ${line}\n`);

async function runInside(flags) {
  let pcap;
  if (options.pcap !== undefined) {
    try {
      pcap = fs.openSync(options.pcap, 'w');
    } catch (error) {
      throw new Complaint(
        `--pcap ${options.pcap}: ${error.message.replace(/^\w+: /, '').replace(/, open .*/, '')}`,
      );
    }
  }
  interrupted.signal.throwIfAborted();
  const inside = [
    ...['unshare', ...flags, process.execPath, path.join(root, 'dist/src/lab/main.js')],
    ...['--guests', String(options.guests)],
    ...(options.json ? ['--json'] : []),
    ...(options.keep ? ['--keep'] : []),
    ...(pcap === undefined ? [] : ['--pcap-fd', '4']),
    ...(process.stdout.isTTY ? ['--terminal'] : []),
  ];
  // A kept lab outlives us, so it must not die with us; until it is kept its stdin is what ties it to us.
  const command = options.keep ? inside : ['setpriv', '--pdeathsig', 'KILL', ...inside];
  const child = spawn(command[0], command.slice(1), {
    cwd: root,
    env: { ...env, [markName]: ownMark },
    // A session of its own: what a terminal sends to all reaches us only, and we end it in order.
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe', 'pipe', pcap ?? 'ignore'],
  });
  child.stdin.on('error', () => {});
  child.stdout.pipe(process.stdout, { end: false });
  child.stderr.pipe(process.stderr, { end: false });
  stopInside = () => {
    child.stdin.end();
    setTimeout(() => {
      const first = firstInside(child.pid);
      for (const pid of first === undefined ? [child.pid] : [first]) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // it has just ended
        }
      }
    }, 1500).unref();
    setTimeout(() => child.kill('SIGKILL'), 3000).unref();
  };
  return await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal }));
    // The inner half says so on this pipe when everything is up and is to be left running.
    child.stdio[3].once('data', () => resolve({ kept: firstInside(child.pid) ?? child.pid }));
  });
}

async function main() {
  if (options.help) {
    process.stdout.write(usage);
    return 0;
  }
  const ended = await endOrphanedLabs();
  if (options.end) {
    note(ended > 0 ? 'ended, nothing is left' : 'no lab was left running');
    return 0;
  }
  if (ended > 0) note('an earlier lab was still there (kept, or killed before it could tidy up): ended it');

  let flags;
  await prepare({
    wants: 'lab',
    say: note,
    signal: interrupted.signal,
    alsoCheck() {
      flags = namespaceFlags();
    },
  });
  const { code, signal, kept } = await runInside(flags);
  interrupted.signal.throwIfAborted();
  if (kept !== undefined) {
    const user = flags === asRoot ? '' : '--user --preserve-credentials ';
    // Without --wd it would begin in /, where there is nothing to try.
    const enter = `nsenter -t ${kept} ${user}--net --mount --pid --wd`;
    note(`left running; enter it:\n  ${enter}\nend it:\n  npm run lab -- --end`);
    return 0;
  }
  if (signal) throw new Complaint(`the lab was ended from outside (${signal})`);
  return code;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (interrupted.signal.aborted) {
    if (how !== 'SIGPIPE') note(`interrupted by ${how}: torn down, nothing is left`);
    process.exitCode = 128 + os.constants.signals[how];
  } else if (error instanceof Complaint) {
    process.stderr.write(`evbd lab: ${error.message}\n`);
    process.exitCode = 1;
  } else {
    throw error;
  }
}
// A kept lab still holds our pipes.
process.exit();
