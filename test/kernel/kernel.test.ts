/**
 * src/kernel against the kernel of this machine, with ip(8) and bridge(8) as outside witness. Each scenario of
 * fixtures/*.mjs runs in a process and a network namespace of its own.
 */

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { inNetworkNamespace, needs } from '../support/needs.ts';

const isRoot = process.getuid?.() === 0;
const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];

const fixturePath = (name: string) => fileURLToPath(new URL(`fixtures/${name}.mjs`, import.meta.url));

/** The names of the scenarios, as they stand in the fixture. */
function scenariosOf(fixture: string): string[] {
  const source = readFileSync(fixturePath(fixture), 'utf8');
  return [...source.matchAll(/^ {2}async (?:'([^']+)'|(\w+))\(\)/gm)].map((match) => match[1] ?? match[2]!);
}

/** Rejects with all that the scenario wrote, unless it succeeded. */
async function run(
  fixture: string,
  scenario: string,
  wrap: (command: string[]) => string[] = inNetworkNamespace,
) {
  const [program, ...args] = wrap([process.execPath, fixturePath(fixture), scenario]);
  const child = spawn(program!, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (output += data));
  const status = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  expect({ status, output }, output).toMatchObject({ status: 0 });
}

const ready = needs({ networkNamespace: true, programs: ['ip', 'bridge'] });

describe.runIf(ready)('bridge port', () => {
  const scenarios = scenariosOf('bridge-port').filter((name) => name !== 'not permitted');
  it.each(scenarios)('%s', { timeout: 60_000 }, (name) => run('bridge-port', name));
});

describe.runIf(ready)('port keeper', () => {
  it.each(scenariosOf('port-keeper'))('%s', { timeout: 60_000 }, (name) => run('port-keeper', name));
});

const withNft = ready && needs({ programs: ['nft'] });

describe.runIf(withNft)('leak table', () => {
  it.each(scenariosOf('leak-table'))('%s', { timeout: 60_000 }, (name) => run('leak-table', name));
});

describe.runIf(withNft)('leak keeper', () => {
  it.each(scenariosOf('leak-keeper'))('%s', { timeout: 60_000 }, (name) => run('leak-keeper', name));
});

describe.runIf(ready)('link watch', () => {
  it.each(scenariosOf('link-watch'))('%s', { timeout: 60_000 }, (name) => run('link-watch', name));
});

/** With a mount namespace too, in which the namespaces that the scenario makes are named. */
const withMounts = ([...command]: string[]) => [
  'unshare',
  ...(isRoot ? [] : ['--user', '--map-root-user']),
  '--net',
  '--mount',
  ...command,
];

/** A slave in another namespace, made by who may; what follows is run by who may not. */
const MAKE_SLAVE = [
  'set -e',
  'mount -t tmpfs tmpfs /run && mkdir /run/netns && ip netns add sw0',
  'ip link add eth1 type veth peer name swp1',
  'ip link add mv0 link eth1 netns sw0 type macvlan mode vepa',
  'exec setpriv --bounding-set -sys_admin "$0" "$@"',
].join('\n');

describe.runIf(ready && needs({ programs: ['mount', 'unshare'] }))('slave watch', () => {
  const scenarios = scenariosOf('slave-watch').filter((name) => name !== 'without CAP_SYS_ADMIN');
  it.each(scenarios)('%s', { timeout: 120_000 }, (name) => run('slave-watch', name, withMounts));

  it.runIf(needs({ programs: ['setpriv'] }))('without CAP_SYS_ADMIN', () =>
    run('slave-watch', 'without CAP_SYS_ADMIN', (command) =>
      withMounts(['sh', '-c', MAKE_SLAVE, ...command]),
    ),
  );
});

describe.runIf(ready && needs({ programs: ['setpriv'] }))('an ordinary user', () => {
  const asUser = (command: string[]) => (isRoot ? [...NOBODY, ...command] : command);

  it('is told what right is missing', () =>
    run('bridge-port', 'not permitted', (command) =>
      isRoot ? inNetworkNamespace(asUser(command)) : command,
    ));

  it('may do all in a user namespace', () =>
    run('bridge-port', 'enforcement', (command) =>
      asUser(['unshare', '--user', '--map-root-user', '--net', ...command]),
    ));
});
