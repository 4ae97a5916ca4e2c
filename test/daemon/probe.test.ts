/** evbctl probe: what it finds out about real bridges, what it must not be fooled or stopped by, and what it leaves behind. */

import { once } from 'node:events';
import process from 'node:process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { needs } from '../support/needs.ts';
import { eventually, Host, World } from '../support/world.ts';

const ready = needs({ networkNamespace: true, programs: ['ip', 'bridge', 'dbus-daemon'] });
const ANSWER = new URL('./fixtures/answer-probe.mjs', import.meta.url).pathname;
const STALLED = new URL('./fixtures/stalled-probe.mjs', import.meta.url).pathname;
const CALL = new URL('./fixtures/call-probe.mjs', import.meta.url).pathname;

const ONCE = { reflects: true, enforced: false, sent: 10, received: 10, duplicates: 0, vlan: 0 };
const NONE = { reflects: false, enforced: false, sent: 20, received: 0, duplicates: 0, vlan: 0 };

let world: World;
let station: Host;

beforeEach(async () => {
  if (!ready) return;
  world = await World.wired();
});
afterEach(() => world?.end());

const inBridge = (...command: string[]) => world.in('br', ...command);
const inStation = (...command: string[]) => world.in('sta', ...command);
const hairpin = (port = 'swp1') => inBridge('bridge', 'link', 'set', 'dev', port, 'hairpin', 'on');

async function start(uplink = ''): Promise<void> {
  station = await Host.create(world, 'sta', `uplinks: { eth1: { ${uplink} } }`);
  await station.start();
}

/** A station whose bridge is an evbd with this port. */
async function negotiate(port: string): Promise<void> {
  const bridge = await Host.create(world, 'br', `ports: { swp1: { ${port} } }`);
  await bridge.start();
  await start();
  await station.must('wait', 'eth1', 'relay');
}

async function probe(): Promise<{ status: number | null; report: Record<string, unknown> }> {
  const { status, stdout, stderr } = await station.evbctl('probe', 'eth1', '--json');
  expect(stderr).toBe('');
  return { status, report: JSON.parse(stdout) };
}

async function refused(link: string): Promise<{ status: number | null; stderr: string }> {
  const { status, stdout, stderr } = await station.evbctl('probe', link);
  expect(stdout).toBe('');
  return { status, stderr };
}

/** What a probe has in use in the station's namespace. */
function inUse(): { sockets: number; promiscuity: number } {
  const sockets = inStation('cat', '/proc/net/packet').trim().split('\n').length - 1;
  const [shown] = JSON.parse(inStation('ip', '-j', '-d', 'link', 'show', 'dev', 'eth1'));
  return { sockets, promiscuity: shown.promiscuity };
}

/** What becomes of a probe when `what` happens meanwhile. */
async function meanwhile(...what: string[]): Promise<unknown[]> {
  const { status, stdout, stderr } = await world.run('sta', process.execPath, CALL, station.bus, ...what);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout === '' ? [] : JSON.parse(stdout);
}

describe.runIf(ready)('the answer', { timeout: 60_000 }, () => {
  it('nothing comes back', async () => {
    await start();
    const { status, report } = await probe();
    expect(report).toMatchObject({ link: 'eth1', relay: 'no-peer', ...NONE });
    expect(report).not.toHaveProperty('latencyMin');
    expect(status).toBe(1);
  });

  it('each frame comes back once, though nobody asked for that', async () => {
    hairpin();
    await start();
    const before = inUse();
    const { status, report } = await probe();
    expect(report).toMatchObject({ relay: 'no-peer', ...ONCE });
    const { latencyMin, latencyMedian, latencyMax } = report as Record<string, number>;
    expect(latencyMin).toBeGreaterThan(0);
    expect(latencyMedian).toBeGreaterThanOrEqual(latencyMin!);
    expect(latencyMax).toBeGreaterThanOrEqual(latencyMedian!);
    expect(status).toBe(0);
    // The addresses were known at the port: nothing but the first frame went anywhere else.
    const [left, right] = report['addresses'] as string[];
    const known: { mac: string }[] = JSON.parse(inBridge('bridge', '-j', 'fdb', 'show', 'dev', 'swp1'));
    expect(known.map(({ mac }) => mac)).toEqual(expect.arrayContaining([left, right]));
    // The probe was no business of the protocols, and is over.
    expect((await station.link('eth1')).counters).toMatchObject({ framesMalformed: 0, framesTagged: 0 });
    expect(inUse()).toEqual(before);
  });

  it('as negotiated', async () => {
    await negotiate('');
    expect(await probe()).toMatchObject({ status: 0, report: { relay: 'active', ...ONCE } });
  });

  it('negotiated, and not so', async () => {
    await negotiate('reflective-relay: always');
    expect(await probe()).toMatchObject({ status: 1, report: { relay: 'active', ...NONE } });
    expect((await station.evbctl('probe', 'eth1')).stdout).toMatch(
      /^eth1: the bridge says that it reflects but does not\n/,
    );
  });

  it('assumed, and so or not so', async () => {
    await start('reflective-relay: assume');
    expect(await probe()).toMatchObject({ status: 1, report: { relay: 'assumed', ...NONE } });
    hairpin();
    expect(await probe()).toMatchObject({ status: 0, report: { relay: 'assumed', ...ONCE } });
  });

  it('hairpin, and isolated, which defeats it', async () => {
    hairpin();
    inBridge('bridge', 'link', 'set', 'dev', 'swp1', 'isolated', 'on');
    await start();
    expect(await probe()).toMatchObject({ status: 1, report: NONE });
  });

  it('an enforcing port lets in only addresses that it knows', async () => {
    await negotiate('enforce: on');
    const report = { relay: 'active', ...ONCE, enforced: true };
    expect(await probe()).toMatchObject({ status: 0, report });
    expect(world.staticEntries('br', 'swp1')).toHaveLength(1);
  });

  it('an enforcing port that does not reflect', async () => {
    const bridge = await Host.create(world, 'br', 'ports: { swp1: { enforce: on } }');
    await bridge.start();
    await start('reflective-relay: off');
    await station.must('wait', 'eth1', 'negotiated');
    expect(await probe()).toMatchObject({ status: 1, report: { relay: 'off', ...NONE } });
  });

  it('flooding of unknown addresses is off: guests are none', async () => {
    hairpin();
    inBridge('bridge', 'link', 'set', 'dev', 'swp1', 'flood', 'off');
    await start();
    expect(await probe()).toMatchObject({ status: 0, report: ONCE });
  });

  it('frames come back tagged', async () => {
    inBridge('ip', 'link', 'set', 'swp1', 'nomaster');
    const answerer = world.start('br', [process.execPath, ANSWER, 'swp1', 'tag']);
    await once(answerer.stdout!, 'data');
    await start();
    expect(await probe()).toMatchObject({ status: 0, report: { ...ONCE, vlan: 10 } });
  });

  it.each(['vepa', 'bridge', 'passthru', 'source'])(
    'a macvlan in %s mode on the uplink changes nothing',
    async (mode) => {
      inStation('ip', 'link', 'add', 'link', 'eth1', 'name', 'guest', 'type', 'macvlan', 'mode', mode);
      inStation('ip', 'link', 'set', 'guest', 'up');
      hairpin();
      await start();
      expect(await probe()).toMatchObject({ status: 0, report: ONCE });
    },
  );

  it('frames that came in while the daemon was busy are not missing', async () => {
    hairpin();
    const { status, stdout, stderr } = await world.run('sta', process.execPath, STALLED, 'eth1');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject(ONCE);
  });
});

describe.runIf(ready)('another bridge behind the first', { timeout: 60_000 }, () => {
  beforeEach(() => {
    inBridge('ip', 'link', 'add', 'br1', 'type', 'bridge');
    inBridge('ip', 'link', 'add', 'swp2', 'type', 'veth', 'peer', 'name', 'swp3');
    inBridge('ip', 'link', 'set', 'swp2', 'master', 'br0');
    inBridge('ip', 'link', 'set', 'swp3', 'master', 'br1');
    for (const link of ['swp2', 'swp3', 'br1']) inBridge('ip', 'link', 'set', link, 'up');
    hairpin('swp3');
  });

  it('that reflects too is told', async () => {
    hairpin();
    await start();
    const { status, report } = await probe();
    expect(report['duplicates']).toBeGreaterThan(0);
    expect(status).toBe(1);
    expect((await station.evbctl('probe', 'eth1')).stdout).toContain('more than one bridge reflects');
  });

  it('is not taken for the first', async () => {
    await start();
    expect(await probe()).toMatchObject({ status: 1, report: { reflects: false, enforced: false } });
  });
});

describe.runIf(ready)('a neighbour', { timeout: 60_000 }, () => {
  async function neighbour(how: string): Promise<void> {
    inBridge('ip', 'link', 'add', 'swp2', 'type', 'veth', 'peer', 'name', 'evil');
    inBridge('ip', 'link', 'set', 'swp2', 'master', 'br0');
    for (const link of ['swp2', 'evil']) inBridge('ip', 'link', 'set', link, 'up');
    const answerer = world.start('br', [process.execPath, ANSWER, 'evil', how]);
    await once(answerer.stdout!, 'data');
  }

  it('that floods forged test frames is not believed', async () => {
    await neighbour('forge');
    await start();
    expect(await probe()).toMatchObject({ status: 1, report: NONE });
    hairpin();
    expect(await probe()).toMatchObject({ status: 0, report: ONCE });
  });

  it('that floods copies ends the probe, and nothing else', async () => {
    await neighbour('copy');
    await start();
    const { status, report } = await probe();
    expect(report).toMatchObject({ reflects: false, duplicates: 100 });
    expect(status).toBe(1);
    expect((await station.link('eth1')).counters).toMatchObject({ framesOverRate: 0, framesMalformed: 0 });
  });
});

describe.runIf(ready)('what cannot be probed', { timeout: 60_000 }, () => {
  it('is refused by name', async () => {
    station = await Host.create(
      world,
      'sta',
      'uplinks: { eth1: {}, eth2: {}, guest: {} }\nports: { lan1: {} }',
    );
    inStation('ip', 'link', 'add', 'link', 'eth1', 'name', 'guest', 'type', 'macvlan', 'mode', 'vepa');
    inStation('ip', 'link', 'set', 'guest', 'up');
    await station.start();
    expect(await refused('eth7')).toEqual({ status: 2, stderr: expect.stringContaining('no link eth7') });
    expect(await refused('lan1')).toEqual({ status: 2, stderr: expect.stringContaining('bridge role') });
    expect(await refused('guest')).toEqual({ status: 2, stderr: expect.stringContaining('a macvlan hears') });
    expect(await refused('eth2')).toEqual({
      status: 1,
      stderr: expect.stringContaining('no such interface'),
    });
    await station.must('release', 'eth1');
    expect(await refused('eth1')).toEqual({ status: 1, stderr: expect.stringContaining('released') });
    await station.must('reload');
    expect((await probe()).status).toBe(1);
    inStation('ip', 'link', 'set', 'eth1', 'down');
    await eventually(
      () => station.link('eth1'),
      ({ relayReason }) => /is down/.test(relayReason),
      'down',
    );
    expect(await refused('eth1')).toEqual({ status: 1, stderr: expect.stringContaining('is down') });
  });

  it.each([
    ['goes down', ['ip', 'link', 'set', 'eth1', 'down'], /^NotReady: .* given up: the interface is down/],
    ['goes away', ['ip', 'link', 'del', 'eth1'], /^NotReady: .* given up: /],
    ['is released', ['release'], /^NotReady: .* given up: released/],
  ])('an interface that %s meanwhile', async (_what, happens, said) => {
    await start();
    expect(await meanwhile(...happens)).toEqual([expect.stringMatching(said)]);
    expect(station.running).toBe(true);
  });

  it('twice at a time', async () => {
    hairpin();
    await start();
    const before = inUse();
    const conflict = /^Conflict: eth1: a probe is under way/;
    expect(await meanwhile('twice')).toEqual([
      expect.objectContaining(ONCE),
      expect.stringMatching(conflict),
    ]);
    expect(inUse()).toEqual(before);
    expect(await probe()).toMatchObject({ status: 0, report: ONCE });
  });

  it('for somebody who has left: it ends all the same', async () => {
    await start();
    const before = inUse();
    await meanwhile('leave');
    await eventually(inUse, ({ sockets }) => sockets === before.sockets, 'nothing in use');
    expect(inUse()).toEqual(before);
    hairpin();
    expect(await probe()).toMatchObject({ status: 0, report: ONCE });
  });
});
