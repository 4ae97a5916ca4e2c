/** Runs the scenarios of fixtures/*.mjs, each in a process and a network namespace of its own. */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { inNetworkNamespace } from '../support/needs.ts';

export const root = fileURLToPath(new URL('../..', import.meta.url));

export interface Outcome {
  /** Null when a signal ended it. */
  status: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

export interface ScenarioOptions {
  /** Checkout to take fixture and addon from. */
  root?: string;
  nodeArguments?: readonly string[];
  /** Set for the fixture only, not for the programs that lead to it. */
  environment?: Readonly<Record<string, string>>;
  /** Command to put before node, such as setpriv. */
  prefix?: readonly string[];
}

/** Resolves with what became of scenario `name` of fixtures/`fixture`.mjs. */
export function runScenario(fixture: string, name: string, options: ScenarioOptions = {}): Promise<Outcome> {
  const variables = Object.entries(options.environment ?? {}).map(([key, value]) => `${key}=${value}`);
  const [program, ...args] = inNetworkNamespace([
    ...(options.prefix ?? []),
    'env',
    ...variables,
    process.execPath,
    '--expose-gc',
    ...(options.nodeArguments ?? []),
    `${options.root ?? root}/test/raw-socket/fixtures/${fixture}.mjs`,
    name,
  ]);
  return run(program!, args);
}

/** Longer than any scenario takes: what hangs is killed, and then its test says so. */
const HANGS = 110_000;

/** Resolves when the program has ended, with all it wrote. */
export function run(
  program: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      ...options,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: HANGS,
      killSignal: 'SIGKILL',
    });
    const outcome: Outcome = { status: null, signal: null, stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      outcome.stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      outcome.stderr += text;
    });
    child.on('error', reject);
    child.on('close', (status, signal) => resolve({ ...outcome, status, signal }));
  });
}
