/** evbctl from the outside, as users and scripts run it. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../../dist/src/cli/evbctl.js', import.meta.url));

export interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface Options {
  input?: string | Uint8Array;
  env?: Record<string, string>;
}

function launch(args: readonly string[], { env = {} }: Options): ChildProcess {
  const { EVBD_BUS: _, NO_COLOR: __, ...inherited } = process.env;
  return spawn(process.execPath, [program, ...args], {
    env: { ...inherited, LC_ALL: 'C.UTF-8', ...env },
    stdio: 'pipe',
  });
}

/** Runs to its end. `input` is standard input, which ends at once without. */
export async function evbctl(args: readonly string[], options: Options = {}): Promise<Outcome> {
  const child = launch(args, options);
  let stdout = '';
  let stderr = '';
  child.stdout!.setEncoding('utf8').on('data', (text) => {
    stdout += text;
  });
  child.stderr!.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  // It may end before it has read everything.
  child.stdin!.on('error', () => {});
  child.stdin!.end(options.input);
  const [code] = await once(child, 'close');
  return { code, stdout, stderr };
}

export interface Running {
  /** The next line of standard output; rejects when there is none. */
  line(): Promise<string>;
  signal(name: NodeJS.Signals): void;
  /** Closes the reading end of its standard output. */
  hangUp(): void;
  ended: Promise<Outcome>;
}

/** Starts a verb that runs until it is told to stop. */
export function startEvbctl(args: readonly string[], options: Options = {}): Running {
  const child = launch(args, options);
  child.stdin!.on('error', () => {});
  child.stdin!.end(options.input);
  let stderr = '';
  child.stderr!.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  const seen: string[] = [];
  const iterator = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const ended = once(child, 'exit').then(([code]) => ({ code, stdout: seen.join('\n'), stderr }));
  return {
    ended,
    signal: (name) => child.kill(name),
    hangUp: () => child.stdout!.destroy(),
    async line() {
      const { value, done } = await iterator.next();
      if (done) throw new Error(`evbctl ${args.join(' ')} ended: ${stderr}`);
      seen.push(value);
      return value;
    },
  };
}
