/** A bond is one link: LLDP on the members that carry its frames, one owner of its VSIs, and another peer when others carry them. */

import { afterEach, describe, expect, it } from 'vitest';
import type { World } from '../support/world.ts';
import { Pair } from './support.ts';

const STATION = `
uplinks: { bond0: { slaves: auto, lldp: { tx-interval: 5 } }, eth2: {} }
profiles: { web: { manager: 1, type: 1, type-version: 1, vlan: 10 } }
rules: [{ match: { mac: "52:54:00:*" }, profile: web }]
`;
const GUEST = '52:54:00:00:00:01';

let pair: Pair;
afterEach(() => pair?.end());

const ip = (world: World, namespace: string, command: string) =>
  world.in(namespace, 'ip', ...command.split(' '));

/** eth1 and eth2 to swp1 and swp2; a bond of the former. */
function bondOf(
  world: World,
  namespace: string,
  bond: string,
  members: readonly string[],
  how: string,
): void {
  ip(world, namespace, `link add ${bond} type bond ${how} miimon 50`);
  for (const member of members) {
    ip(world, namespace, `link set ${member} down`);
    ip(world, namespace, `link set ${member} master ${bond}`);
  }
  for (const link of [bond, ...members]) ip(world, namespace, `link set ${link} up`);
}

function wires(world: World): void {
  world.must(...'ip link add eth2 netns sta type veth peer name swp2 netns br'.split(' '));
}

describe('active-backup, two ports of a switch', () => {
  it('EVB and VDP are on the active member, and follow it to another', async () => {
    const lldp = '{ lldp: { tx-interval: 5 } }';
    pair = await Pair.create(
      { station: STATION, bridge: `ports: { swp1: ${lldp}, swp2: ${lldp} }` },
      (world) => {
        wires(world);
        ip(world, 'br', 'link set swp2 master br0');
        ip(world, 'br', 'link set swp2 up');
        bondOf(world, 'sta', 'bond0', ['eth1', 'eth2'], 'mode active-backup');
        ip(world, 'sta', 'link set bond0 type bond primary eth1');
      },
    );
    pair.add('mv0', 'bond0', `address ${GUEST} type macvlan mode vepa`);
    const { members } = await pair.link(({ relay }) => relay === 'active', 'bond0');
    expect(members).toEqual(['eth1']);
    await pair.becomesAssociated(`${GUEST}/10`);
    const standby = await pair.link(undefined, 'eth2');
    expect(standby.relayReason).toBe('it is a member of bond bond0; configure bond0 instead');
    expect(standby.counters['framesSent'] ?? 0).toBe(0);

    pair.br('ip link set swp1 down');
    await pair.link((link) => link.members.join() === 'eth2' && link.relay === 'active', 'bond0');
    await pair.becomesAssociated(`${GUEST}/10`);
    pair.br('ip link set swp1 up');
    await pair.link((link) => link.members.join() === 'eth1' && link.relay === 'active', 'bond0');
    await pair.becomesAssociated(`${GUEST}/10`);
  });
});

describe('balance-xor, an aggregate at both ends', () => {
  it('goes on over the member that is left, and LLDP is heard on each', async () => {
    pair = await Pair.create(
      { station: STATION, bridge: 'ports: { bond1: { enforce: on, lldp: { tx-interval: 5 } } }' },
      (world) => {
        wires(world);
        ip(world, 'br', 'link set swp1 nomaster');
        bondOf(world, 'br', 'bond1', ['swp1', 'swp2'], 'mode balance-xor');
        ip(world, 'br', 'link set bond1 master br0');
        bondOf(world, 'sta', 'bond0', ['eth1', 'eth2'], 'mode balance-xor');
      },
    );
    pair.add('mv0', 'bond0', `address ${GUEST} type macvlan mode vepa`);
    const { members } = await pair.link(({ relay }) => relay === 'active', 'bond0');
    expect([...members].sort()).toEqual(['eth1', 'eth2']);
    await pair.becomesAssociated(`${GUEST}/10`);
    for (const [failing, left] of [
      ['swp1', 'eth2'],
      ['swp2', 'eth1'],
    ]) {
      pair.br(`ip link set ${failing} down`);
      await pair.link((link) => link.members.join() === left && link.relay === 'active', 'bond0');
      await pair.becomesAssociated(`${GUEST}/10`);
      pair.br(`ip link set ${failing} up`);
      await pair.link((link) => link.members.length === 2 && link.relay === 'active', 'bond0');
    }
  });
});
