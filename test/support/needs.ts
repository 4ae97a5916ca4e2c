/**
 * What a test needs of the machine. `describe.runIf(needs({ programs: ['ip'] }))` skips it where something lacks, and
 * says what; with CI=true it fails instead, so that nothing goes untested unnoticed.
 */

import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

export interface Needs {
  /** Found on PATH or in an sbin directory. */
  programs?: readonly string[];
  /** User id 0. */
  root?: boolean;
  /** A network namespace of one's own, as root or in a user namespace: `inNetworkNamespace` enters one. */
  networkNamespace?: boolean;
  /** Shared libraries that gcc finds, such as libasan.so. */
  libraries?: readonly string[];
  /** Files or directories, absolute. */
  files?: readonly string[];
}

/** Whether everything is there. Throws Error naming what lacks when CI=true. */
export function needs(wanted: Needs): boolean {
  const missing = [
    ...(wanted.programs ?? []).filter((name) => findProgram(name) === undefined),
    ...(wanted.root && process.getuid?.() !== 0 ? ['root'] : []),
    ...(wanted.networkNamespace && !canEnterNamespace() ? ['a network namespace (unshare)'] : []),
    ...(wanted.libraries ?? []).filter((name) => findLibrary(name) === undefined),
    ...(wanted.files ?? []).filter((path) => !existsSync(path)),
  ];
  if (missing.length === 0) return true;
  if (process.env['CI'] === 'true') throw new Error(`the tests need ${missing.join(', ')}`);
  console.warn(`skipped: it needs ${missing.join(', ')}`);
  return false;
}

/** The command line that runs `command` in a new network namespace with all rights in it. */
export function inNetworkNamespace(command: readonly string[]): string[] {
  const user = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  return ['unshare', ...user, '--net', ...command];
}

/** Path of a program, or undefined. */
export function findProgram(name: string): string | undefined {
  const directories = [...(process.env['PATH'] ?? '').split(':'), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  return directories.map((directory) => join(directory, name)).find(isExecutable);
}

/** Path of a library that gcc links, or undefined. */
export function findLibrary(name: string): string | undefined {
  // Asked for a library that it does not have, gcc prints the bare name.
  const path = spawnSync('gcc', [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout?.trim();
  return path?.startsWith('/') ? path : undefined;
}

let namespaceWorks: boolean | undefined;
function canEnterNamespace(): boolean {
  const [program, ...args] = inNetworkNamespace(['true']);
  namespaceWorks ??= spawnSync(program!, args).status === 0;
  return namespaceWorks;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
