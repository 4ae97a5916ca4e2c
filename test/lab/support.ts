import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export function ended(child: ChildProcess): Promise<Ended> {
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text) => {
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

export function run(
  command: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Ended> {
  const env = { ...process.env, ...options.env };
  return ended(spawn(command[0]!, command.slice(1), { cwd: options.cwd ?? root, env }));
}

/** The command as somebody without any rights; for root only. */
export const asNobody = (command: readonly string[]): string[] => [
  ...['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--no-new-privs', '--'],
  ...command,
];

/**
 * A folder from which nobody can run the lab: this checkout, or, where a folder above it is closed to others, a copy
 * that `dispose` removes.
 */
export async function readableCheckout(): Promise<{ folder: string; dispose: () => void }> {
  const readable = await run(asNobody(['test', '-r', path.join(root, 'package.json')]));
  if (readable.code === 0) return { folder: root, dispose: () => {} };
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'evbd-checkout-'));
  fs.chmodSync(folder, 0o755);
  const parts = 'package.json package-lock.json tsconfig.json protocols src tools dist node_modules'.split(
    ' ',
  );
  for (const part of parts) {
    fs.cpSync(path.join(root, part), path.join(folder, part), {
      recursive: true,
      preserveTimestamps: true,
      verbatimSymlinks: true,
    });
  }
  return { folder, dispose: () => fs.rmSync(folder, { recursive: true }) };
}

/** A home for npm's own files. */
export function temporaryHome(owner?: number): { folder: string; dispose: () => void } {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'evbd-home-'));
  if (owner !== undefined) fs.chownSync(folder, owner, owner);
  return { folder, dispose: () => fs.rmSync(folder, { recursive: true }) };
}
