/** A wire that loses, reorders and doubles frames, as the kernel's netem makes it. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Pair } from './support.ts';

const STATION = `
uplinks: { eth1: { slaves: auto, lldp: { tx-interval: 5 } } }
profiles: { web: { manager: 1, type: 1, type-version: 1, vlan: 10 } }
rules: [{ match: { mac: "52:54:00:*" }, profile: web }]
`;
const BRIDGE = 'ports: { swp1: { enforce: on, lldp: { tx-interval: 5 } } }';
const SLAVES = 20;

describe('20 % loss, reordering and duplication, both ways', () => {
  let pair: Pair;

  beforeAll(async () => {
    pair = await Pair.create({ station: STATION, bridge: BRIDGE }, (world) => {
      const damage = 'root netem limit 1000 delay 10ms 5ms loss 20% duplicate 10% reorder 25% 50%'.split(' ');
      world.in('sta', 'tc', 'qdisc', 'add', 'dev', 'eth1', ...damage);
      world.in('br', 'tc', 'qdisc', 'add', 'dev', 'swp1', ...damage);
    });
  });
  afterAll(() => pair?.end());

  it(`relay is negotiated and ${SLAVES} VSIs are associated, and end`, async () => {
    await pair.relay();
    const macs = Array.from({ length: SLAVES }, (_, n) => `52:54:00:00:01:${(n + 16).toString(16)}`);
    for (const [n, mac] of macs.entries())
      pair.add(`mv${n}`, 'eth1', `address ${mac} type macvlan mode vepa`);
    await pair.becomesAssociated(...macs.map((mac) => `${mac}/10`));
    const dropped = Number(/dropped (\d+)/.exec(pair.sta('tc -s qdisc show dev eth1'))![1]);
    expect(dropped).toBeGreaterThan(0);
    for (const n of macs.keys()) pair.sta(`ip link del mv${n}`);
    await pair.becomesAssociated();
  });
});
