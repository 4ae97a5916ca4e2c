/**
 * `npm run test:vm`: the tests of test/vm, in a virtual machine with Debian's kernel. The guest's root file system is this
 * machine's own, read only, with a layer in memory above it: the same Node.js, the same programs, the same checkout.
 * What the tests print is what this prints, and their exit status is its own.
 */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { Complaint, findProgram, prepare, root, searchPath } from './prepare.mjs';
import { image } from './vm/image.mjs';

const usage = `usage: npm run test:vm -- [OPTION]... [ARGUMENT OF VITEST]...

Runs the tests of test/vm in a virtual machine (QEMU) with Debian's kernel, for
what other kernels may lack: ipvlan, VLAN devices and VLAN-aware bridges, netem,
dummy, bonding. Needs no root. The guest sees this machine's files, and changes
none of them.

  --run COMMAND    run this in the guest instead of the tests (sh -c)
  --emulate        without KVM, also where there is one
  --deadline S     seconds until it is ended (default 1800)
  --rebuild        build the image anew, with the newest kernel that apt knows
  --help           this text

Exit status: that of the tests, or of COMMAND; 1 when the machine fails, 2 for a
wrong option.
`;

/** Milliseconds within which a guest on KVM says that it is up; one that cannot, never does. */
const KVM_PATIENCE = 30_000;

const note = (line) => process.stderr.write(`evbd vm: ${line}\n`);

function readArguments() {
  const options = {
    run: { type: 'string' },
    emulate: { type: 'boolean' },
    deadline: { type: 'string', default: '1800' },
    rebuild: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  };
  // What is not ours is vitest's.
  const { values, tokens } = parseArgs({ options, strict: false, tokens: true });
  const own = new Set(
    tokens.filter(({ kind, name }) => kind === 'option' && name in options).map(({ index }) => index),
  );
  const vitest = [];
  const given = process.argv.slice(2);
  for (let i = 0; i < given.length; i++) {
    const token = tokens.find(({ index }) => index === i);
    if (!own.has(i)) vitest.push(given[i]);
    else if (options[token.name].type === 'string' && token.inlineValue !== true) i++;
  }
  const deadline = Number(values.deadline);
  if (!(deadline > 0) || values.run === true) {
    note(
      `${values.run === true ? '--run: name a command' : '--deadline: give seconds'}; see npm run test:vm -- --help`,
    );
    process.exit(2);
  }
  return { ...values, deadline: deadline * 1000, vitest };
}

// ----------------------------------------------------------------------------------------------------------- the guest

const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

/** What the guest runs; the environment is what tests look at, and nothing else of ours. */
function jobScript({ run, vitest }) {
  const environment = {
    PATH: [path.dirname(process.execPath), ...searchPath()].join(':'),
    HOME: '/root',
    LANG: 'C.UTF-8',
    EVBD_VM: '1',
    CI: 'true',
    ...(process.env.EVBD_SEED === undefined ? {} : { EVBD_SEED: process.env.EVBD_SEED }),
    ...(process.stdout.isTTY ? { FORCE_COLOR: '1' } : {}),
  };
  const tests = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/vm/vitest.config.ts', ...vitest];
  const command = run === undefined ? [process.execPath, ...tests] : ['/bin/sh', '-c', run];
  return [
    `cd ${quoted(root)} || exit 1`,
    ...Object.entries(environment).map(([name, value]) => `export ${name}=${quoted(value)}`),
    `exec ${command.map(quoted).join(' ')}`,
    '',
  ].join('\n');
}

/** QEMU takes a comma in a value as two. */
const escaped = (text) => text.replaceAll(',', ',,');

function machine({ folder, job, kvm }) {
  const share = (tag, place) => [
    ...['-fsdev', `local,id=${tag},path=${escaped(place)},security_model=none,readonly=on,multidevs=remap`],
    ...['-device', `virtio-9p-pci,fsdev=${tag},mount_tag=${tag}`],
  ];
  const port = (name, backend) => [
    ...['-chardev', `${backend},id=${name}`],
    ...['-device', `virtserialport,chardev=${name},name=${name}`],
  ];
  return [
    ...['-accel', kvm ? 'kvm' : 'tcg,thread=multi', '-cpu', kvm ? 'host' : 'max'],
    ...['-smp', '2', '-m', '2048', '-display', 'none', '-nodefaults', '-no-user-config', '-no-reboot'],
    ...['-kernel', path.join(folder, 'vmlinuz'), '-initrd', path.join(folder, 'initramfs')],
    ...['-append', 'console=ttyS0 quiet panic=-1 oops=panic mitigations=off random.trust_cpu=on'],
    ...['-serial', `file:${path.join(job, 'console')}`],
    ...['-device', 'virtio-rng-pci', '-device', 'virtio-serial-pci'],
    ...port('out', 'stdio,signal=off'),
    ...port('status', `file,path=${escaped(path.join(job, 'status'))}`),
    ...share('root', '/'),
    ...share('image', folder),
    ...share('job', path.join(job, 'in')),
  ];
}

const read = (file) => {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return '';
  }
};

/** Runs the machine to its end; resolves with the job's exit status, undefined where it came to none. */
async function boot({ folder, job, kvm, signal }) {
  signal.throwIfAborted();
  for (const name of ['console', 'status']) fs.rmSync(path.join(job, name), { force: true });
  const qemu = ['--pdeathsig', 'KILL', 'qemu-system-x86_64', ...machine({ folder, job, kvm })];
  const child = spawn('setpriv', qemu, {
    env: { ...process.env, PATH: searchPath().join(':') },
    // What a terminal sends to all reaches us only.
    detached: true,
    // The port that the output comes through is connected only while the input is open.
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child.stdin.on('error', () => {});
  let complaint = '';
  child.stdout.pipe(process.stdout, { end: false });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    complaint += text;
  });
  const end = () => child.kill('SIGKILL');
  signal.addEventListener('abort', end, { once: true });
  const isUp = () => /^up /.test(read(path.join(job, 'status')));
  const patience = kvm ? setTimeout(() => isUp() || end(), KVM_PATIENCE) : undefined;
  await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  clearTimeout(patience);
  signal.removeEventListener('abort', end);
  const ended = /^ended (\d+)$/m.exec(read(path.join(job, 'status')))?.[1];
  return { status: ended === undefined ? undefined : Number(ended), wasUp: isUp(), complaint };
}

function canUseKvm() {
  try {
    fs.accessSync('/dev/kvm', fs.constants.R_OK | fs.constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** With KVM where a guest comes up on it, else emulated. */
async function runJob({ folder, job, emulate, signal }) {
  let kvm = !emulate && canUseKvm();
  let outcome = await boot({ folder, job, kvm, signal });
  if (kvm && !outcome.wasUp && !signal.aborted) {
    note('KVM does not run this kernel here: emulating');
    kvm = false;
    outcome = await boot({ folder, job, kvm, signal });
  }
  if (outcome.status !== undefined && !signal.aborted) return outcome.status;
  if (signal.reason === 'interrupted') return 1;
  const why = signal.aborted ? `it was not done within its deadline (${signal.reason})` : 'it came to no end';
  const console_ = read(path.join(job, 'console')).replaceAll('\r', '').split('\n').slice(-60).join('\n');
  note(`${outcome.complaint}the guest's console:\n${console_}`);
  throw new Complaint(`the virtual machine failed: ${why}; its console is above`);
}

// ----------------------------------------------------------------------------------------------------------------- run

const options = readArguments();
const stop = new AbortController();
let how;
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.on(name, () => {
    how ??= name;
    stop.abort('interrupted');
  });
process.stdout.on('error', () => stop.abort('interrupted'));

async function main() {
  if (options.help) {
    process.stdout.write(usage);
    return 0;
  }
  if (process.arch !== 'x64' || !findProgram('apt-get') || !findProgram('dpkg-deb'))
    throw new Complaint(
      'the virtual machine boots a package of Debian for x86-64: run this on such a machine',
    );
  await prepare({ wants: 'vm', say: note, signal: stop.signal });
  const folder = await image({ anew: options.rebuild, say: note, signal: stop.signal });
  const job = fs.mkdtempSync(path.join(os.tmpdir(), 'evbd-vm-'));
  const timer = setTimeout(() => stop.abort(`${options.deadline / 1000} s`), options.deadline);
  try {
    fs.mkdirSync(path.join(job, 'in'));
    fs.writeFileSync(path.join(job, 'in', 'run'), jobScript(options));
    const begun = performance.now();
    const status = await runJob({ folder, job, emulate: options.emulate, signal: stop.signal });
    if (stop.signal.aborted) return status;
    note(
      `Linux ${read(path.join(folder, 'kernel')).trim()}, ${((performance.now() - begun) / 1000).toFixed(0)} s`,
    );
    return status;
  } finally {
    clearTimeout(timer);
    fs.rmSync(job, { recursive: true, force: true });
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof Complaint) && how === undefined) throw error;
  if (how === undefined) note(error.message);
  process.exitCode = 1;
}
if (how !== undefined) {
  note(`interrupted by ${how}: nothing is left`);
  process.exitCode = 128 + os.constants.signals[how];
}
process.exit();
