/** A private message bus, and the programs that other people drive evbd with. */

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface TestBus {
  address: string;
  directory: string;
  /** Ends the bus; resolves when it is gone. */
  stop(): Promise<void>;
  /** The bus again, at the same address. */
  start(): Promise<void>;
  /** The bus hangs: it is there, and takes and gives nothing. */
  freeze(): void;
  thaw(): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * `policy`: elements of dbus-daemon's configuration, in place of one that lets everybody do everything. `maxReplies`:
 * how many calls of one connection may wait for their replies.
 */
export async function startBus(policy?: string, maxReplies = 128): Promise<TestBus> {
  const directory = await mkdtemp(join(tmpdir(), 'evbd-dbus-'));
  // Other users of the machine are callers too.
  await chmod(directory, 0o755);
  const address = `unix:path=${directory}/bus`;
  const configuration = join(directory, 'bus.conf');
  const open = `<policy context="default">
    <allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="signal"/><allow receive_type="method_return"/>
    <allow receive_type="error"/>
  </policy>`;
  await writeFile(
    configuration,
    `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>custom</type><listen>${address}</listen><auth>EXTERNAL</auth>${policy ?? open}
<limit name="max_replies_per_connection">${maxReplies}</limit></busconfig>`,
  );
  let stop = async () => {};
  let signal = (_name: NodeJS.Signals) => {};
  const bus: TestBus = {
    address,
    directory,
    stop: () => stop(),
    freeze: () => signal('SIGSTOP'),
    thaw: () => signal('SIGCONT'),
    async start() {
      // A test run that is killed takes its bus along.
      const command = ['dbus-daemon', '--nofork', '--print-address', `--config-file=${configuration}`];
      const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...command], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let complaint = '';
      child.stderr.on('data', (data) => {
        complaint += data;
      });
      const gone = once(child, 'exit');
      signal = (name) => child.kill(name);
      stop = async () => {
        child.kill('SIGKILL');
        await gone;
      };
      const lines = createInterface(child.stdout);
      await Promise.race([
        once(lines, 'line'),
        gone.then(() => Promise.reject(new Error(`dbus-daemon ended: ${complaint}`))),
      ]);
    },
    async [Symbol.asyncDispose]() {
      await stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
  await bus.start();
  return bus;
}

/** Runs the synchronous part of `open` as this user and group; a connection keeps the credentials it was made with. */
export function asUser<T>(uid: number, groups: readonly number[], open: () => T): T {
  process.setgroups?.([...groups]);
  process.setegid?.(uid);
  process.seteuid?.(uid);
  try {
    return open();
  } finally {
    process.seteuid?.(0);
    process.setegid?.(0);
    process.setgroups?.([0]);
  }
}

export interface Output {
  code: number;
  stdout: string;
  stderr: string;
}

export function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Output> {
  return new Promise((resolve) => {
    execFile(
      program,
      args,
      { env: { ...process.env, LC_ALL: 'C', ...env }, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
        resolve({ code, stdout, stderr });
      },
    );
  });
}

export function busctl(bus: TestBus, ...args: string[]): Promise<Output> {
  return run('busctl', [`--address=${bus.address}`, ...args]);
}

export function gdbus(bus: TestBus, command: string, ...args: string[]): Promise<Output> {
  return run('gdbus', [command, '--address', bus.address, ...args]);
}
