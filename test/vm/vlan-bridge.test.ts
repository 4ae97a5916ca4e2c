/** An enforcing port of a VLAN-aware bridge: who is let in, in which VLANs, when these come and go. Guests' pings tell. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../support/world.ts';
import { Pair } from './support.ts';

const STATION = `
uplinks: { eth1: {} }
profiles: { web: { manager: 1, type: 1, type-version: 1 } }
`;
const mac = (n: number) => `52:54:00:00:00:0${n}`;

describe('a VLAN-aware bridge, enforce: on', () => {
  let pair: Pair;

  /** A guest in a namespace of its own, on a VLAN device of the uplink or untagged. */
  const guest = (n: number, vid: number) => {
    const on = vid === 0 ? 'eth1' : `v${vid}`;
    pair.world.must('ip', 'netns', 'add', `g${n}`);
    pair.add(`g${n}`, on, `netns g${n} address ${mac(n)} type macvlan mode vepa`);
    pair.world.in(`g${n}`, 'ip', 'address', 'add', `10.0.${vid}.${n}/24`, 'dev', `g${n}`);
    pair.world.in(`g${n}`, 'ip', 'link', 'set', `g${n}`, 'up');
  };
  const associate = (n: number, vid: number) => pair.associate(mac(n), vid);
  /** VLANs in which the address has a static entry at the port; 0: without one. */
  const entries = (n: number): number[] => {
    const all: { mac: string; state?: string; vlan?: number }[] = JSON.parse(
      pair.br('bridge -j fdb show dev swp1'),
    );
    const ours = all.filter((entry) => entry.mac === mac(n) && entry.state === 'static');
    return ours.map(({ vlan = 0 }) => vlan).sort((a, b) => a - b);
  };
  const entriesBecome = (n: number, ...vids: number[]) =>
    eventually(
      () => entries(n).join(),
      (is) => is === vids.join(),
      `entries of guest ${n}`,
    );

  beforeAll(async () => {
    pair = await Pair.create({ station: STATION, bridge: 'ports: { swp1: { enforce: on } }' }, (world) => {
      world.in('br', 'ip', 'link', 'set', 'br0', 'type', 'bridge', 'vlan_filtering', '1');
      world.in('br', 'bridge', 'vlan', 'add', 'dev', 'swp1', 'vid', '10');
      for (const vid of ['10', '20'])
        world.in('sta', 'ip', 'link', 'add', 'link', 'eth1', 'name', `v${vid}`, 'type', 'vlan', 'id', vid);
      for (const name of ['v10', 'v20']) world.in('sta', 'ip', 'link', 'set', name, 'up');
    });
    await pair.relay();
    guest(1, 10);
    guest(2, 10);
    guest(3, 20);
    guest(4, 20);
    guest(5, 0);
    guest(6, 0);
  });
  afterAll(() => pair?.end());

  it('lets nobody through before the association, and both in their VLAN afterwards', async () => {
    expect(await pair.reaches('g1', '10.0.10.2')).toBe(false);
    await associate(1, 10);
    expect(await pair.reaches('g1', '10.0.10.2')).toBe(false);
    await associate(2, 10);
    expect(entries(1)).toEqual([0, 1, 10]);
    expect(await pair.reaches('g1', '10.0.10.2', 3)).toBe(true);
  });

  it('lets in, in a VLAN that the port is given later, who was associated before', async () => {
    await associate(3, 20);
    await associate(4, 20);
    expect(await pair.reaches('g3', '10.0.20.4')).toBe(false);
    pair.br('bridge vlan add dev swp1 vid 20');
    await entriesBecome(3, 0, 1, 10, 20);
    await entriesBecome(4, 0, 1, 10, 20);
    expect(await pair.reaches('g3', '10.0.20.4', 3)).toBe(true);
  });

  it('lets in untagged, by whichever PVID the port is given', async () => {
    await associate(5, 0);
    await associate(6, 0);
    expect(await pair.reaches('g5', '10.0.0.6', 3)).toBe(true);
    pair.br('bridge vlan add dev swp1 vid 30 pvid untagged');
    await entriesBecome(5, 0, 1, 10, 20, 30);
    await entriesBecome(6, 0, 1, 10, 20, 30);
    expect(await pair.reaches('g5', '10.0.0.6', 3)).toBe(true);
  });

  it('does not let in again who was deassociated while a VLAN was taken from the port', async () => {
    const vsi = (await pair.vsis()).find(({ filters }) => filters[0]!.mac === mac(3))!;
    pair.br('bridge vlan del dev swp1 vid 20');
    // The kernel keeps the entry, and takes nothing that is about a VLAN that the port does not have.
    await entriesBecome(3, 0, 1, 10, 20, 30);
    await pair.deassociate(vsi.id);
    await entriesBecome(3, 20);
    pair.br('bridge vlan add dev swp1 vid 20');
    await entriesBecome(3);
    expect(await pair.reaches('g3', '10.0.20.4')).toBe(false);
    expect(entries(4)).toEqual([0, 1, 10, 20, 30]);
  });

  it('leaves an address where it has a static entry in one VLAN at another port', async () => {
    pair.br('ip link add other type dummy');
    pair.br('ip link set other master br0 up');
    pair.br('bridge vlan add dev other vid 10');
    pair.br(`bridge fdb add ${mac(7)} dev other master static vlan 10`);
    await expect(associate(7, 10)).rejects.toThrow(/refused/);
    expect(pair.br('bridge fdb show dev other')).toContain(`${mac(7)} vlan 10 master br0 static`);
    expect(entries(7)).toEqual([]);
  });

  it('gives everything back on release', async () => {
    await pair.release();
    for (const n of [1, 2, 3, 4, 5, 6]) expect(entries(n)).toEqual([]);
    expect(pair.world.bridgePort('br', 'swp1')).toMatchObject({ locked: false, learning: true });
  });
});
