/**
 * `kill -9` at random instants, two hundred of them (EVBD_SEED repeats a run): whatever was under way, the next start leaves the
 * kernel as it is configured, or as it was.
 */

import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { needs } from '../support/needs.ts';
import { eventually, Host, World } from '../support/world.ts';

const ready = needs({ networkNamespace: true, programs: ['ip', 'bridge', 'nft', 'dbus-daemon'] });

const seed = Number(process.env['EVBD_SEED'] ?? Date.now() % 100_000);
let state = seed;
/** 0 up to and without `below`. */
function random(below: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}

const guest = (n: number) => `52:54:00:00:00:${n.toString(16).padStart(2, '0')}`;
const RULES = `
profiles: { web: { manager: 1, type: 1, type-version: 1 } }
rules: [ { match: { mac: "52:54:00:*" }, profile: web } ]`;

let world: World;
let station: Host;
let bridge: Host;
let kills: number;

beforeEach(async () => {
  if (!ready) return;
  console.log(`EVBD_SEED=${seed}`);
  kills = 0;
  world = await World.wired();
});
afterEach(() => world?.end());

const add = (name: string, address: string) => {
  const slave = ['name', name, 'address', address, 'type', 'macvlan', 'mode', 'vepa'];
  world.in('sta', 'ip', 'link', 'add', 'link', 'eth1', ...slave);
};

/** Milliseconds from a cause to the kill; the early ones are the interesting ones, whatever the machine takes. */
const instant = (longest: number) => (random(longest) * random(1000)) / 1000;

/** Kills it while it starts, and while it takes up another configuration; then it is started. */
async function interrupt(host: Host, configuration: string, begin: 'start' | 'reload'): Promise<void> {
  if (begin === 'start') {
    await host.stop('SIGKILL');
    kills++;
    host.configure(configuration);
    // It ends before it is there, or at once when it is.
    const started = host.start().catch(() => {});
    await pause(150 + instant(1_000));
    await host.stop('SIGKILL');
    await started;
  } else {
    host.configure(configuration);
    process.kill(host.pid, 'SIGHUP');
    await pause(instant(120));
    await host.stop('SIGKILL');
  }
  kills++;
  await host.start();
}

describe.runIf(ready)('kill -9', { timeout: 1_800_000 }, () => {
  it('of the bridge: its port', async () => {
    const macs = [guest(1), guest(2), guest(3)];
    for (const [n, mac] of macs.entries()) add(`mv${n}`, mac);
    world.in('br', 'bridge', 'fdb', 'add', '02:00:00:00:00:99', 'dev', 'swp1', 'master', 'static');
    const look = () => {
      const { hairpin, locked, learning, isolated } = world.bridgePort('br', 'swp1');
      const leakStopped = world.in('br', 'nft', 'list', 'ruleset').includes('elements = { "swp1" }');
      const entries = world.staticEntries('br', 'swp1');
      return { hairpin, locked, learning, isolated, leakStopped, entries };
    };
    world.in('br', 'bridge', 'link', 'set', 'dev', 'swp1', 'isolated', 'on');
    const before = look();
    station = await Host.create(world, 'sta', `uplinks: { eth1: { slaves: auto } }${RULES}`);
    bridge = await Host.create(world, 'br', '');
    await station.start();
    const { address } = JSON.parse(world.in('sta', 'ip', '-j', 'link', 'show', 'dev', 'eth1'))[0];
    const known = [...before.entries, address, ...macs].sort();
    const served = { ...before, leakStopped: true };
    const configurations = [
      ['ports: { other: {} }', before],
      ['ports: { swp1: {} }', { ...served, hairpin: true }],
      ['ports: { swp1: { reflective-relay: deny, leak: report } }', before],
      ['ports: { swp1: { isolated: clear, leak: report } }', { ...before, hairpin: true, isolated: false }],
      [
        'ports: { swp1: { enforce: on, isolated: clear } }',
        { ...served, hairpin: true, isolated: false, locked: true, learning: false, entries: known },
      ],
      [
        'ports: { swp1: { enforce: on, reflective-relay: deny } }',
        { ...served, locked: true, learning: false, entries: known },
      ],
    ] as const;
    bridge.configure(configurations[0][0]);
    await bridge.start();
    while (kills < 160) {
      const [configuration, wanted] = configurations[random(configurations.length)]!;
      await interrupt(bridge, configuration, random(3) === 0 ? 'start' : 'reload');
      await eventually(
        look,
        (is) => JSON.stringify(is) === JSON.stringify(wanted),
        `EVBD_SEED=${seed}, after ${kills} kills, ${configuration}: wanted ${JSON.stringify(wanted)}`,
      );
    }
    bridge.configure('on-exit: release\nports: { swp1: {} }');
    await bridge.stop('SIGKILL');
    await bridge.start();
    expect(await bridge.stop()).toBe(0);
    expect(look()).toEqual(before);
  });

  it('of the station: the modes of its slaves', async () => {
    const names = Array.from({ length: 24 }, (_, n) => `mv${n}`);
    for (const [n, name] of names.entries()) {
      add(name, guest(n + 1));
      if (n % 2 === 0) world.in('sta', 'ip', 'link', 'set', name, 'up');
    }
    const look = () => {
      const shown: { linkinfo?: { info_kind: string; info_data: { mode: string } } }[] = JSON.parse(
        world.in('sta', 'ip', '-j', '-d', 'link', 'show'),
      );
      const modes = shown.flatMap(({ linkinfo }) =>
        linkinfo?.info_kind === 'macvlan' ? [linkinfo.info_data.mode] : [],
      );
      return [...new Set(modes)].join(' and ');
    };
    const becomes = (mode: string) =>
      eventually(look, (is) => is === mode, `EVBD_SEED=${seed}, after ${kills} kills: wanted ${mode}`);
    const uplink = (more: string) => `uplinks: { eth1: { slaves: auto${more} } }${RULES}`;
    const falling = uplink(', when-relay-refused: bridge');
    station = await Host.create(world, 'sta', falling);
    bridge = await Host.create(world, 'br', 'ports: { swp1: { reflective-relay: deny } }');
    await bridge.start();
    await station.start();
    while (kills < 40) {
      await becomes('bridge');
      await interrupt(
        station,
        random(2) === 0 ? uplink('') : 'uplinks: { other: {} }',
        random(4) === 0 ? 'start' : 'reload',
      );
      await becomes('vepa');
      station.configure(falling);
      process.kill(station.pid, 'SIGHUP');
      // About when the hold-down of five seconds is over, and one slave after the other is switched.
      await pause(4_950 + random(250));
      await station.stop('SIGKILL');
      kills++;
      await station.start();
    }
    await becomes('bridge');
    await station.must('release', 'eth1');
    expect(look()).toBe('vepa');
  });
});
