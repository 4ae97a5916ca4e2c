/** What a person gets to see when evbd cannot do what was asked: one line, the right exit code, no stack trace. */

import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { needs } from '../support/needs.ts';
import { Host, World } from '../support/world.ts';

const EVBD = new URL('../../dist/src/evbd.js', import.meta.url).pathname;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'evbd-start-'));
  chmodSync(folder, 0o755);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function config(text: string): string {
  const file = join(folder, 'evbd.yaml');
  writeFileSync(file, text);
  return file;
}

function evbd(args: readonly string[], before: readonly string[] = []) {
  const [program, ...rest] = [...before, process.execPath, EVBD, ...args];
  const { status, stdout, stderr } = spawnSync(program!, rest, { encoding: 'utf8', timeout: 30_000 });
  return { status, stdout, stderr, lines: stderr.split('\n').filter((line) => line !== '') };
}

describe('evbd --check', () => {
  it('accepts a whole configuration', () => {
    const file = config('uplinks: { eth1: {} }\nports: { swp1: { enforce: on } }\n');
    expect(evbd(['--config', file, '--check'])).toMatchObject({ status: 0, stderr: '' });
  });

  it.each([
    [
      'a wrong value',
      'uplinks:\n  eth1:\n    ecp: { rte: 99 }\n',
      ':3:17: uplinks.eth1.ecp.rte: expected a whole number from 0 to 31',
    ],
    ['an unknown key', 'uplinks:\n  eth1:\n    speed: 10\n', ':3:5: uplinks.eth1.speed: unknown key'],
    ['a wrong word', 'on-exit: never\n', ':1:10: on-exit: expected one of keep, release'],
    ['no YAML', 'uplinks: [\n', ':2:1: '],
    ['a rule without its profile', 'rules: [{ match: {}, profile: web }]\n', 'there is no profile web'],
    ['two roles', 'uplinks: { a: {} }\nports: { a: {} }\n', 'one role only'],
    ['what is not there yet', 'uplinks: { a: { libvirt: true } }\n', 'cannot do that yet'],
  ])('refuses %s with file, line and column', (_what, text, said) => {
    const file = config(text);
    const { status, lines } = evbd(['--config', file, '--check']);
    expect(status).toBe(78);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain(`evbd: ${file}:`);
    expect(lines[0]).toContain(said);
  });

  it('names every problem of a file, a line each', () => {
    const { status, lines } = evbd(['--check', '--config', config('a: 1\nlimits: { b: 2 }\non-exit: no\n')]);
    expect({ status, count: lines.length }).toEqual({ status: 78, count: 3 });
  });

  it('says that there is no such file', () => {
    const { status, lines } = evbd(['--check', '--config', join(folder, 'nowhere.yaml')]);
    expect({ status, lines }).toMatchObject({ status: 78, lines: [expect.stringContaining('no such file')] });
  });
});

describe('evbd', () => {
  it('refuses an unknown option', () => {
    const { status, lines } = evbd(['--speed', '10']);
    expect({ status, lines }).toMatchObject({ status: 2, lines: [expect.stringContaining('--speed')] });
  });

  const asNobody =
    process.getuid?.() === 0 ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : [];

  it.runIf(needs({ programs: ['setpriv'] }))('says which rights it lacks', () => {
    const { status, lines } = evbd(['--config', config('ports: { swp1: {} }\n'), '--bus', 'none'], asNobody);
    expect({ status, lines }).toMatchObject({
      status: 77,
      lines: [expect.stringContaining('CAP_NET_RAW and CAP_NET_ADMIN')],
    });
  });

  it.runIf(needs({ networkNamespace: true }))('says that there is no bus', async () => {
    const world = await World.create('sta');
    try {
      const file = config('uplinks: { eth1: {} }\n');
      const args = ['--config', file, '--state-dir', join(folder, 's'), '--runtime-dir', join(folder, 'r')];
      const bus = ['--bus', `unix:path=${folder}/no-bus`];
      const { status, stderr } = await world.run('sta', process.execPath, EVBD, ...args, ...bus);
      expect(status).toBe(69);
      expect(stderr.trim().split('\n')).toHaveLength(1);
      expect(stderr).toContain(`unix:path=${folder}/no-bus`);
    } finally {
      await world.end();
    }
  });

  it.runIf(needs({ networkNamespace: true, programs: ['dbus-daemon'] }))(
    'waits for an interface that does not exist, and takes it when it appears',
    { timeout: 60_000 },
    async () => {
      const world = await World.create('sta');
      try {
        const host = await Host.create(world, 'sta', 'uplinks: { eth1: {} }');
        await host.start();
        expect(await host.link('eth1')).toMatchObject({
          mac: '',
          relayReason: expect.stringContaining('no such interface'),
        });
        const late = await host.evbctl(
          'associate',
          'eth1',
          '--mac',
          '52:54:00:00:00:01',
          '--vlan',
          '0',
          '--manager',
          '1',
          '--type',
          '1',
          '--type-version',
          '1',
          '--timeout',
          '3',
        );
        expect(late).toMatchObject({ status: 4 });
        const [vsi] = await host.vsis();
        expect(vsi).toMatchObject({
          state: 'associating',
          reason: expect.stringContaining('no such interface'),
        });
        expect(await host.evbctl('wait', 'eth9', 'relay')).toMatchObject({ status: 2 });
        world.in(
          'sta',
          'ip',
          'link',
          'add',
          'eth1',
          'address',
          '02:00:00:00:00:01',
          'type',
          'veth',
          'peer',
          'name',
          'x',
        );
        world.in('sta', 'ip', 'link', 'set', 'x', 'up');
        world.in('sta', 'ip', 'link', 'set', 'eth1', 'up');
        const appeared = async () => (await host.link('eth1')).relayReason;
        for (let reason = await appeared(); reason !== 'no EVB peer heard yet'; reason = await appeared());
        expect(await host.stop()).toBe(0);
      } finally {
        await world.end();
      }
    },
  );
});
