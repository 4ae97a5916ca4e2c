/**
 * Network namespaces of a test's own, in a network and mount namespace that ends with the test: nothing of it can be seen from
 * outside, nothing can be left behind. As an ordinary user in a user namespace.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

const PROJECT = new URL('../..', import.meta.url).pathname;
const TILL_WE_END = ['setpriv', '--pdeathsig', 'KILL'];

export interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

export class World {
  readonly folder = mkdtempSync(join(tmpdir(), 'evbd-world-'));
  readonly #holder: ChildProcess;
  readonly #enter: string[];
  readonly #children: ChildProcess[] = [];

  private constructor(holder: ChildProcess, asUser: boolean) {
    this.#holder = holder;
    const user = asUser ? ['--user', '--preserve-credentials'] : [];
    this.#enter = ['nsenter', `--target=${holder.pid}`, ...user, '--net', '--mount', '--'];
  }

  static async create(...namespaces: string[]): Promise<World> {
    const asUser = process.getuid?.() !== 0;
    const user = asUser ? ['--user', '--map-root-user'] : [];
    const prepare = 'mount -t tmpfs tmpfs /run && mkdir /run/netns && echo ready && exec cat';
    const holder = spawn(
      TILL_WE_END[0]!,
      [...TILL_WE_END.slice(1), 'unshare', ...user, '--net', '--mount', 'sh', '-c', prepare],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    await once(holder.stdout!, 'data');
    const world = new World(holder, asUser);
    for (const namespace of namespaces) {
      world.must('ip', 'netns', 'add', namespace);
      world.in(namespace, 'ip', 'link', 'set', 'lo', 'up');
    }
    return world;
  }

  /** Namespaces `sta` and `br`, joined by `eth1` and `swp1`. */
  static async joined(): Promise<World> {
    const world = await World.create('sta', 'br');
    const peer = ['type', 'veth', 'peer', 'name', 'swp1', 'netns', 'br'];
    world.must('ip', 'link', 'add', 'eth1', 'netns', 'sta', ...peer);
    world.in('br', 'ip', 'link', 'set', 'swp1', 'up');
    world.in('sta', 'ip', 'link', 'set', 'eth1', 'up');
    return world;
  }

  /** The same, with `swp1` as a port of the Linux bridge `br0`. */
  static async wired(): Promise<World> {
    const world = await World.joined();
    world.in('br', 'ip', 'link', 'add', 'br0', 'type', 'bridge');
    world.in('br', 'ip', 'link', 'set', 'swp1', 'master', 'br0');
    world.in('br', 'ip', 'link', 'set', 'br0', 'up');
    return world;
  }

  /** A command outside of the named namespaces; throws unless it succeeds. */
  must(...command: string[]): string {
    const { status, stdout, stderr } = this.#run(command);
    if (status !== 0) throw new Error(`${command.join(' ')}: ${stderr}`);
    return stdout;
  }

  /** A command in a namespace; throws unless it succeeds. */
  in(namespace: string, ...command: string[]): string {
    return this.must('ip', 'netns', 'exec', namespace, ...command);
  }

  /** Runs to its end, however that is. */
  async run(namespace: string, ...command: string[]): Promise<Outcome> {
    const child = this.start(namespace, command);
    const outcome: Outcome = { status: null, stdout: '', stderr: '' };
    child.stdout!.on('data', (data) => (outcome.stdout += data));
    child.stderr!.on('data', (data) => (outcome.stderr += data));
    [outcome.status] = await once(child, 'close');
    return outcome;
  }

  /** Goes on until it is ended, at the latest with the world. */
  start(
    namespace: string,
    command: readonly string[],
    environment: NodeJS.ProcessEnv = {},
    stdin: 'ignore' | 'pipe' = 'ignore',
  ): ChildProcess {
    const whole = [...this.#enter, 'ip', 'netns', 'exec', namespace, ...TILL_WE_END, ...command];
    const child = spawn(whole[0]!, whole.slice(1), {
      stdio: [stdin, 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    });
    this.#children.push(child);
    return child;
  }

  /** What `ip -j -d link show` tells of a link's bridge port. */
  bridgePort(namespace: string, link: string): Record<string, unknown> {
    const [shown] = JSON.parse(this.in(namespace, 'ip', '-j', '-d', 'link', 'show', 'dev', link));
    return shown.linkinfo?.info_slave_data ?? {};
  }

  /** The addresses with a static entry at a port. */
  staticEntries(namespace: string, port: string): string[] {
    const entries: { mac: string; state?: string; master?: string }[] = JSON.parse(
      this.in(namespace, 'bridge', '-j', 'fdb', 'show', 'dev', port),
    );
    const macs = entries.flatMap(({ mac, state, master }) => (state === 'static' && master ? [mac] : []));
    // An entry in every VLAN of the port is listed once for each.
    return [...new Set(macs)].sort();
  }

  async end(): Promise<void> {
    const running = [...this.#children, this.#holder].filter(
      (child) => child.exitCode === null && child.signalCode === null,
    );
    const ended = running.map((child) => once(child, 'exit'));
    for (const child of running) child.kill('SIGKILL');
    await Promise.all(ended);
    rmSync(this.folder, { recursive: true, force: true });
  }

  #run(command: readonly string[]): Outcome {
    const whole = [...this.#enter, ...command];
    return spawnSync(whole[0]!, whole.slice(1), { encoding: 'utf8' });
  }
}

let buses = 0;

/** An evbd in a namespace, with a message bus of its own, as a user would have it. */
export class Host {
  readonly bus: string;
  readonly stateDir: string;
  log = '';
  readonly #world: World;
  readonly #namespace: string;
  readonly #config: string;
  #daemon: ChildProcess | undefined;

  private constructor(world: World, namespace: string, configuration: string) {
    const folder = mkdtempSync(join(world.folder, `${namespace}-`));
    this.#world = world;
    this.#namespace = namespace;
    this.bus = `unix:path=${folder}/bus`;
    this.stateDir = `${folder}/state`;
    this.#config = `${folder}/evbd.yaml`;
    this.configure(configuration);
  }

  static async create(world: World, namespace: string, configuration: string): Promise<Host> {
    const host = new Host(world, namespace, configuration);
    const file = join(world.folder, `bus-${buses++}.conf`);
    const open = '<allow send_destination="*"/><allow eavesdrop="true"/><allow own="*"/>';
    writeFileSync(
      file,
      `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>custom</type><listen>${host.bus}</listen><auth>EXTERNAL</auth>
<policy context="default">${open}</policy></busconfig>`,
    );
    const daemon = world.start(namespace, [
      'dbus-daemon',
      '--nofork',
      '--print-address',
      `--config-file=${file}`,
    ]);
    await once(daemon.stdout!, 'data');
    return host;
  }

  get file(): string {
    return this.#config;
  }

  configure(configuration: string): void {
    writeFileSync(this.#config, configuration);
  }

  /** Resolves when evbd runs; `wrap`: a program that runs it. */
  async start(wrap: readonly string[] = []): Promise<void> {
    const files = [
      '--config',
      this.#config,
      '--state-dir',
      this.stateDir,
      '--runtime-dir',
      `${this.stateDir}-run`,
    ];
    const command = [
      ...wrap,
      process.execPath,
      `${PROJECT}dist/src/evbd.js`,
      ...files,
      '--bus',
      this.bus,
      '--log-level',
      'debug',
    ];
    const daemon = this.#world.start(this.#namespace, command);
    this.#daemon = daemon;
    daemon.stderr!.on('data', (data) => (this.log += data));
    await new Promise<void>((resolve, reject) => {
      daemon.stdout!.on('data', (data) => {
        this.log += data;
        if (/evbd \S+ runs/.test(this.log)) resolve();
      });
      daemon.once('exit', (code) => reject(new Error(`evbd ended with ${code}: ${this.log}`)));
    });
  }

  get running(): boolean {
    return this.#daemon?.exitCode === null && this.#daemon.signalCode === null;
  }

  /** Of the process that evbd is. */
  get pid(): number {
    return this.#daemon!.pid!;
  }

  /** Exit code, or the signal that ended it. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | string> {
    const ended = once(this.#daemon!, 'exit');
    this.#daemon!.kill(signal);
    const [code, killed] = await ended;
    this.log = '';
    return code ?? killed;
  }

  evbctl(...args: string[]): Promise<Outcome> {
    const program = [process.execPath, `${PROJECT}dist/src/cli/evbctl.js`, '--bus', this.bus];
    return this.#world.run(this.#namespace, ...program, ...args);
  }

  /** Throws with what evbctl said unless it succeeds. */
  async must(...args: string[]): Promise<string> {
    const { status, stdout, stderr } = await this.evbctl(...args);
    if (status !== 0)
      throw new Error(`evbctl ${args.join(' ')} ended with ${status}: ${stderr}\n${this.log}`);
    return stdout;
  }

  // biome-ignore lint/suspicious/noExplicitAny: what a test looks at is its own affair
  async link(name: string): Promise<any> {
    return JSON.parse(await this.must('status', '--json')).links.find(
      (link: { name: string }) => link.name === name,
    );
  }

  // biome-ignore lint/suspicious/noExplicitAny: as above
  async vsis(): Promise<any[]> {
    return JSON.parse(await this.must('vsi', '--json')).vsis;
  }
}

/** Asks again until the answer is as wanted; the last answer is in the error. For outside witnesses that tell no events. */
export async function eventually<T>(
  ask: () => T | Promise<T>,
  wanted: (answer: T) => boolean,
  what: string,
): Promise<T> {
  // An emulated machine is slow.
  const attempts = process.env['EVBD_VM'] === undefined ? 400 : 1500;
  for (let attempt = 1; ; attempt++) {
    const answer = await ask();
    if (wanted(answer)) return answer;
    if (attempt === attempts) throw new Error(`${what}: still ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
