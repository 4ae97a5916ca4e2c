/**
 * The world in which interrupt.test.ts interrupts labs: run as `world.mjs SEED INSTANTS [and-killed]` in namespaces of its own
 * (network, mount, process), so that whatever a lab leaves behind can be told apart from what other programs on the
 * machine do. The checkout is read-only in here. Writes one JSON document a line: what was done, what was left.
 */

import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import process from 'node:process';
import { cover, project } from '../../dist/src/lab/namespaces.js';

const [seed, instants] = process.argv.slice(2, 4).map(Number);
const alsoKilled = process.argv[4] === 'and-killed';
const tell = (document) => process.stdout.write(`${JSON.stringify(document)}\n`);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** mulberry32 */
let state = seed >>> 0;
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), state | 1);
  t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const choose = (...list) => list[Math.floor(random() * list.length)];

cover('/run');
cover('/tmp');
const must = (...command) => {
  const { status, stderr } = spawnSync(command[0], command.slice(1), { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command.join(' ')}: ${stderr}`);
};
must('mount', '--rbind', project, project);
must('mount', '-o', 'remount,bind,ro', project);
process.chdir('/');
const home = '/tmp/home';
fs.mkdirSync(home);

/** Everything that a lab could leave: processes, namespaces, interfaces, mounts, files. */
function everything() {
  const processes = fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid && name !== '1')
    .flatMap((name) => {
      try {
        const stat = fs.readFileSync(`/proc/${name}/stat`, 'utf8');
        if (stat.slice(stat.lastIndexOf(')') + 2)[0] === 'Z') return [];
        return [`process ${name} ${fs.readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ')}`];
      } catch {
        return [];
      }
    });
  const below = (folder) =>
    fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
      const file = `${folder}/${entry.name}`;
      // npm's own files, and the checkout or Node where they live here
      if (file === home || `${project}/`.startsWith(`${file}/`) || process.execPath.startsWith(`${file}/`))
        return [];
      return [`file ${file}`, ...(entry.isDirectory() ? below(file) : [])];
    });
  const lines = (text) => text.trim().split('\n');
  return [
    ...processes,
    ...below('/run'),
    ...below('/tmp'),
    ...below('/dev/shm'),
    ...lines(fs.readFileSync('/proc/net/dev', 'utf8'))
      .slice(2)
      .map((line) => `interface ${line.split(':')[0].trim()}`),
    ...lines(fs.readFileSync('/proc/self/mountinfo', 'utf8')).map((line) => `mount ${line}`),
  ];
}

const npm = ['npm', 'run', '--silent', 'lab', '--'];
const options = { cwd: project, env: { ...process.env, HOME: home, npm_config_update_notifier: 'false' } };

function start(args) {
  const child = spawn(npm[0], [...npm.slice(1), ...args], {
    ...options,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const run = { child, stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text) => {
    run.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    run.stderr += text;
  });
  run.exit = new Promise((resolve) => child.on('exit', (code, signal) => resolve(signal ?? code)));
  return run;
}

const before = new Set(everything());
const left = () => everything().filter((line) => !before.has(line));

/** Milliseconds until nothing is left; what is left after 10 s. */
async function clean() {
  const started = performance.now();
  for (;;) {
    const remains = left();
    const ms = Math.round(performance.now() - started);
    if (remains.length === 0 || ms > 10_000) return { cleanMs: ms, left: remains };
    await pause(10);
  }
}

/** What /proc tells of a process; empty when it has ended in the meantime. */
function ofProcess(file) {
  try {
    return fs.readFileSync(`/proc/${file}`, 'utf8');
  } catch {
    return '';
  }
}

const descendants = (pid) =>
  ofProcess(`${pid}/task/${pid}/children`)
    .trim()
    .split(' ')
    .filter(Boolean)
    .flatMap((child) => [Number(child), ...descendants(child)]);

const whole = start([]);
const wholeStarted = performance.now();
const wholeExit = await whole.exit;
const wholeMs = Math.round(performance.now() - wholeStarted);
tell({
  what: 'whole',
  ms: wholeMs,
  exit: wholeExit,
  ...(await clean()),
  output: whole.stdout.slice(-2000) + whole.stderr,
});

for (let number = 1; number <= instants; number++) {
  const ms = Math.round(random() * wholeMs);
  const signal = choose('SIGINT', 'SIGTERM', 'SIGHUP');
  const to = choose('npm', 'group');
  const run = start(choose([], ['--json'], ['--keep']));
  await Promise.race([pause(ms), run.exit]);
  try {
    process.kill(to === 'npm' ? run.child.pid : -run.child.pid, signal);
  } catch {
    // it was faster this time
  }
  const exit = await Promise.race([run.exit, pause(10_000).then(() => 'still running')]);
  // A lab that was to be kept, and was not interrupted in time, is to be ended by the command for that.
  const kept = run.stdout.includes('left running');
  if (kept) spawnSync('npm', ['run', '--silent', 'lab', '--', '--end'], options);
  tell({ what: 'interrupted', number, ms, signal, to, exit, kept, ...(await clean()), stderr: run.stderr });
}

async function killed() {
  for (const target of ['lab.mjs', 'unshare', 'main.js', 'group']) {
    const isTarget = (pid) => ofProcess(`${pid}/cmdline`).split('\0').slice(0, 2).join(' ').includes(target);
    let run;
    let pid;
    // It may be between two of its programs just now, or have been faster this time: then it is started again.
    for (let share = 0.3 + 0.5 * random(); pid === undefined; share /= 2) {
      run = start([]);
      const ended = run.exit.then(() => true);
      let over = await Promise.race([ended, pause(wholeMs * share).then(() => false)]);
      if (target === 'group' && !over) pid = -run.child.pid;
      while (!over && pid === undefined) {
        pid = descendants(run.child.pid).find(isTarget);
        if (pid === undefined) over = await Promise.race([ended, pause(2).then(() => false)]);
      }
    }
    process.kill(pid, 'SIGKILL');
    tell({ what: 'killed', target, exit: await run.exit, ...(await clean()), stderr: run.stderr });
  }
}

/** A lab that was kept and whose outer half is gone: the next run ends it, and holds by itself. */
async function keptThenNext() {
  const kept = start(['--keep']);
  const exit = await kept.exit;
  const leftRunning = left().filter((line) => line.startsWith('process')).length;
  const next = start([]);
  const nextExit = await next.exit;
  tell({ what: 'kept', exit, leftRunning, nextExit, output: next.stdout, ...(await clean()) });
}

if (alsoKilled) {
  await killed();
  await keptThenNext();
}
