/**
 * The set-up: network namespaces `station`, `switch` and one per guest, the wire between the two, a bridge and VEPA
 * guests; and programs run within them. We are the first process of a process namespace of our own (tools/lab.mjs):
 * nothing here is ever taken down, all of it goes with us.
 */

import { type ChildProcessWithoutNullStreams, execFile, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Everything the lab writes is below this folder, on a tmpfs that only we and our children see. */
export const folder = '/run/evbd-lab';

/** The root of the project, from dist/src/lab. */
export const project = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

/** Compiled programs of the project by their place below src/. */
export const program = (name: string): string => path.join(project, 'dist/src', name);

export interface Guest {
  name: string;
  mac: string;
  address: string;
}

export const stationMac = '02:e1:b0:00:00:01';
export const switchMac = '02:e1:b0:00:00:02';

export function guestsOf(count: number): Guest[] {
  return Array.from({ length: count }, (_, i) => ({
    name: `guest${i + 1}`,
    mac: `52:54:00:e1:b0:${(i + 1).toString(16).padStart(2, '0')}`,
    address: `10.82.0.${i + 1}`,
  }));
}

/** What did not work as it must for the demonstration to mean anything; the message is for people. */
export class LabError extends Error {
  /** Lines that help to see why: output of a program, the end of a log. */
  readonly details: readonly string[];

  constructor(message: string, details: readonly string[] = []) {
    super(message);
    this.details = details;
  }
}

/**
 * An empty folder of our own in place of one of the machine's, as `/run`. What this process needs of the machine's (a
 * checkout or a Node that lives there) is put back at its place: the open folder still leads to it when the tmpfs lies
 * above.
 */
export function cover(place: string): void {
  const needed = new Set(
    [process.execPath, project, process.cwd()]
      .map((file) => fs.realpathSync(file))
      .filter((file) => file.startsWith(`${place}/`))
      .map((file) => file.slice(place.length + 1).split('/')[0]!),
  );
  const held = [...needed].map((name) => ({ name, fd: fs.openSync(`${place}/${name}`, 'r') }));
  mount(['-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', place]);
  for (const { name, fd } of held) {
    fs.mkdirSync(`${place}/${name}`);
    mount(['--no-canonicalize', '--rbind', '/proc/self/fd/3', `${place}/${name}`], fd);
    fs.closeSync(fd);
  }
}

function mount(args: string[], fd?: number): void {
  const { status, stderr } = spawnSync('mount', args, {
    stdio: ['ignore', 'ignore', 'pipe', fd ?? 'ignore'],
    encoding: 'utf8',
  });
  if (status !== 0) throw new LabError(`mount ${args.join(' ')}: ${stderr.trim()}`);
}

/** The command line that runs another one in a namespace. */
const within = (namespace: string, command: readonly string[]): string[] => [
  'nsenter',
  `--net=/run/netns/${namespace}`,
  ...command,
];

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end; its exit code is the caller's to judge. */
export function run(namespace: string, command: readonly string[], input?: string): Promise<Outcome> {
  const [file, ...args] = within(namespace, command);
  return new Promise((resolve, reject) => {
    const child = execFile(file!, args, { maxBuffer: 1 << 26, timeout: 30_000 }, (error, stdout, stderr) => {
      if (error && typeof error.code !== 'number' && !error.signal) reject(error);
      else resolve({ code: error ? (typeof error.code === 'number' ? error.code : 128) : 0, stdout, stderr });
    });
    child.stdin?.on('error', () => {});
    child.stdin?.end(input ?? '');
  });
}

/** A child that is spoken to over its stdin and stdout. */
export function start(namespace: string, command: readonly string[]): ChildProcessWithoutNullStreams {
  const [file, ...args] = within(namespace, command);
  return spawn(file!, args);
}

/** A program that runs in the background; its output goes to a file. */
export class Service {
  readonly name: string;
  readonly log: string;
  readonly #child;
  readonly ended: Promise<string>;
  #how: string | undefined;

  constructor(name: string, namespace: string, command: readonly string[], log: string) {
    this.name = name;
    this.log = log;
    const out = fs.openSync(log, 'a');
    const [file, ...args] = within(namespace, command);
    this.#child = spawn(file!, args, { stdio: ['ignore', out, out] });
    fs.closeSync(out);
    this.ended = new Promise((resolve) => {
      this.#child.on('error', (error) => resolve(error.message));
      this.#child.on('exit', (code, signal) => resolve(signal ? `ended by ${signal}` : `exit ${code}`));
    });
    this.ended.then((how) => {
      this.#how = how;
    });
  }

  /** How it ended; undefined while it runs. */
  get how(): string | undefined {
    return this.#how;
  }

  /** Asks it to end and says how it did. */
  async stop(ms: number): Promise<string> {
    this.#child.kill('SIGTERM');
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<string>((resolve) => {
      timer = setTimeout(() => {
        this.#child.kill('SIGKILL');
        resolve(`not ended ${ms} ms after SIGTERM`);
      }, ms);
    });
    const how = await Promise.race([this.ended, late]);
    clearTimeout(timer);
    return how;
  }

  /** The end of its log, for people: pino's JSON lines become `level message key=value …`. */
  tail(lines: number): string[] {
    const text = fs.existsSync(this.log) ? fs.readFileSync(this.log, 'utf8').trim() : '';
    return text === '' ? [] : text.split('\n').slice(-lines).map(readable);
  }
}

const levels: Record<number, string> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
};

function readable(line: string): string {
  try {
    const { level, time, msg, pid: _pid, hostname: _host, name: _name, ...rest } = JSON.parse(line);
    const clock = typeof time === 'number' ? new Date(time).toISOString().slice(11, 23) : (time ?? '');
    const more = Object.entries(rest).map(
      ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
    );
    return [clock, levels[level] ?? level, msg, ...more].join(' ');
  } catch {
    return line;
  }
}

/** `ip` in the namespace we were started in; throws with what it said. */
async function ip(...args: string[]): Promise<string> {
  return await new Promise((resolve, reject) => {
    execFile('ip', args, (error, stdout, stderr) => {
      if (!error) resolve(stdout);
      else {
        const why = stderr.trim().replaceAll('\n', '; ');
        const mend = /not supported|Unknown device type/.test(why)
          ? ' (does this kernel have veth, bridge and macvlan? modprobe -a veth bridge macvlan)'
          : '';
        reject(new LabError(`ip ${args.join(' ')}: ${why}${mend}`));
      }
    });
  });
}

/** Makes it all. Quiet interfaces: without IPv6 the guests send nothing but what the demonstration asks them to. */
export async function build(guests: readonly Guest[]): Promise<void> {
  const makeNamespace = async (name: string) => {
    await ip('netns', 'add', name);
    const quiet =
      'for d in default all; do echo 1 >/proc/sys/net/ipv6/conf/$d/disable_ipv6; done 2>&-; ip link set lo up';
    await run(name, ['sh', '-c', quiet]);
  };
  for (const name of ['station', 'switch', ...guests.map((guest) => guest.name)]) await makeNamespace(name);
  const ends = [
    'name',
    'eth1',
    'address',
    stationMac,
    'type',
    'veth',
    'peer',
    'name',
    'swp1',
    'address',
    switchMac,
  ];
  await ip('-n', 'station', 'link', 'add', ...ends, 'netns', 'switch');
  await ip('-n', 'switch', 'link', 'add', 'br0', 'type', 'bridge', 'stp_state', '0', 'mcast_snooping', '0');
  await ip('-n', 'switch', 'link', 'set', 'swp1', 'master', 'br0', 'up');
  await ip('-n', 'switch', 'link', 'set', 'br0', 'up');
  await ip('-n', 'station', 'link', 'set', 'eth1', 'up');
  for (const { name, mac, address } of guests) {
    const made = [
      'link',
      'eth1',
      'name',
      'eth0',
      'netns',
      name,
      'address',
      mac,
      'type',
      'macvlan',
      'mode',
      'vepa',
    ];
    await ip('-n', 'station', 'link', 'add', ...made);
    await ip('-n', name, 'address', 'add', `${address}/24`, 'dev', 'eth0');
    await ip('-n', name, 'link', 'set', 'eth0', 'up');
    // Ask again for an unanswered address after 50 ms instead of 1 s.
    await ip('-n', name, 'ntable', 'change', 'name', 'arp_cache', 'dev', 'eth0', 'retrans', '50');
  }
}

export async function interfaceIndex(namespace: string, name: string): Promise<number> {
  return JSON.parse(await ip('-n', namespace, '-j', 'link', 'show', 'dev', name))[0].ifindex;
}

/** The kernel's own word on whether the switch's port reflects: hairpin_mode of swp1. */
export async function hairpinMode(): Promise<boolean> {
  const [link] = JSON.parse(await ip('-n', 'switch', '-d', '-j', 'link', 'show', 'dev', 'swp1'));
  return link.linkinfo.info_slave_data.hairpin;
}
