import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { needs } from '../support/needs.ts';
import { root, run, runScenario, type ScenarioOptions } from './scenarios.ts';

/** One test per scenario, each in a process of its own: the limit is for those that hang. */
function passes(fixture: string, names: readonly string[], options: ScenarioOptions = {}): void {
  test.concurrent.for(names)('%s', { timeout: 120_000 }, async (name) => {
    const { status, signal, stderr } = await runScenario(fixture, name, options);
    expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
  });
}

describe.runIf(needs({ programs: ['ip'], networkNamespace: true }))('packet socket', () => {
  passes('packet', [
    'exchange',
    'filter',
    'noFrameBeforeTheFilter',
    'memberships',
    'membershipOfAnAddressThatIsNoGroup',
    'vlanTags',
    'linkDownAndUp',
    'openedOnALinkThatIsDown',
    'errorAfterWhatWasQueued',
    'linkDeleted',
    'sendErrors',
    'fullSendQueue',
    'largestFrame',
    'receiveBuffer',
    'dropsAreCounted',
    'flood',
    'callbackThrows',
    'promisesRunAfterTheCallback',
    'closeInCallback',
    'openInCallback',
  ]);

  test('an exception that nobody catches ends the process as usual', async () => {
    const { status, stderr } = await runScenario('packet', 'uncaughtEndsTheProcess');
    expect(status).toBe(1);
    expect(stderr).toContain('Error: this ends the process');
  });
});

describe.runIf(needs({ programs: ['ip'], networkNamespace: true }))('netlink socket', () => {
  passes('netlink', [
    'dump',
    'extendedAcknowledgement',
    'portIds',
    'unicast',
    'largeUnicast',
    'fullReceiver',
    'groups',
    'overrun',
    'callbackThrowsOrCloses',
  ]);

  describe.runIf(needs({ programs: ['python3'] }))('with a foreign sender', () => {
    passes('netlink', ['truncation']);
  });

  describe.runIf(needs({ programs: ['nsenter'] }))('of all namespaces', () => {
    passes('netlink', ['namespaces', 'inAnotherNamespace']);
  });

  // unshare itself needs the right; in a user namespace of its own it has it again.
  describe.runIf(needs({ programs: ['setpriv'] }))('without CAP_SYS_ADMIN', () => {
    passes('netlink', ['anotherNamespaceRefused'], { prefix: ['setpriv', '--bounding-set', '-sys_admin'] });
  });

  describe.runIf(needs({ programs: ['setpriv'] }))('without CAP_NET_BROADCAST', () => {
    passes('netlink', ['namespacesRefused'], { prefix: ['setpriv', '--bounding-set', '-net_broadcast'] });
  });
});

describe.runIf(needs({ programs: ['python3'], networkNamespace: true }))('datagram', () => {
  passes('datagram', ['toPath', 'toAbstractAddress', 'toTheLongestPath', 'errors', 'fullQueue']);
});

describe.runIf(needs({ networkNamespace: true }))('odd arguments', () => {
  passes('arguments', ['everyOptionOnItsOwn', 'methods', 'theAddonItself']);
});

describe.runIf(needs({ programs: ['ip'], networkNamespace: true }))('life of a socket', () => {
  passes('life', [
    'netlinkCycles',
    'packetCycles',
    'failedOpens',
    'framesAndErrorsLeaveNothing',
    'manyAtOnce',
    'exitWithOpenSockets',
    'forgotten',
    'workers',
    'workerExitsInCallback',
    'workerThrowsInCallback',
    'oneAddonInSeveralThreads',
  ]);

  test('an unreferenced socket lets the process end', async () => {
    expect(await runScenario('life', 'unreferenced')).toMatchObject({
      status: 0,
      stdout: 'ended by itself\n',
    });
  });

  test('a referenced socket keeps the process alive', async () => {
    expect(await runScenario('life', 'referenced')).toMatchObject({ status: 0, stdout: 'still there\n' });
  });

  test('process.exit() in a callback', async () => {
    expect(await runScenario('life', 'exitInCallback')).toMatchObject({ status: 5, stderr: '' });
  });
});

test('a checkout that is not built says so', async () => {
  const unbuilt = mkdtempSync(join(tmpdir(), 'evbd-unbuilt-'));
  writeFileSync(join(unbuilt, 'package.json'), '{ "type": "module" }');
  const face = join(unbuilt, 'dist/src/raw-socket/index.js');
  cpSync(join(root, 'dist/src/raw-socket/index.js'), face);
  const { status, stderr } = await run(process.execPath, [face]);
  rmSync(unbuilt, { recursive: true });
  expect(status).toBe(1);
  expect(stderr).toMatch(/^Error: raw socket addon is missing \(.*\): run `npm run build`$/m);
});
