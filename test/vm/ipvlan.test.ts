/** ipvlan and ipvtap as slaves: all of one uplink have its MAC address, its mode and its isolation. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../support/world.ts';
import { Pair } from './support.ts';

const STATION = `
uplinks: { eth1: { slaves: auto, lldp: { tx-interval: 5, tx-hold: 2 } } }
profiles: { web: { manager: 1, type: 1, type-version: 1, vlan: 10 } }
rules: [{ match: { uplink: eth1 }, profile: web }]
`;
const MODES = ['l2', 'l3', 'l3s'].flatMap((mode) =>
  ['bridge', 'private', 'vepa'].map((isolation) => `${mode} ${isolation}`),
);
const mac = '02:00:00:00:00:01';
const other = '02:00:00:00:00:02';

describe('ipvlan', () => {
  let pair: Pair;

  beforeAll(async () => {
    pair = await Pair.create({ station: STATION, bridge: 'ports: { swp1: { enforce: on } }' }, (world) => {
      for (const name of ['c1', 'c2']) world.must('ip', 'netns', 'add', name);
      world.in('sta', 'ip', 'link', 'set', 'eth1', 'address', mac);
      // Was there before the daemon, and somewhere else.
      const before = 'ip link add link eth1 name ipv1 type ipvlan mode l2 bridge';
      world.in('sta', ...before.split(' '));
      world.in('sta', 'ip', 'link', 'set', 'ipv1', 'netns', 'c1');
    });
    await pair.relay();
  });
  afterAll(() => pair?.end());

  it('is told by kind, mode and isolation, and with it every other one of the uplink', async () => {
    pair.add('ipv2', 'eth1', 'type ipvlan mode l2 bridge');
    pair.add('tap0', 'eth1', 'type ipvtap mode l2 bridge');
    pair.sta('ip link set ipv2 up');
    for (const mode of MODES) {
      pair.sta(`ip link set ipv2 type ipvlan mode ${mode}`);
      await pair.slave('ipv2', (slave) => slave.mode === mode);
      const { slaves } = await pair.link();
      const told = slaves.map((slave) => [slave.name, slave.kind, slave.mode, slave.mac]).sort();
      expect(told).toEqual([
        ['ipv1', 'ipvlan', mode, mac],
        ['ipv2', 'ipvlan', mode, mac],
        ['tap0', 'ipvtap', mode, mac],
      ]);
    }
  });

  it('in VEPA mode all of them are one VSI, with the address of the uplink, and their limits are told', async () => {
    await pair.becomesAssociated(`${mac}/10`);
    const [vsi, ...more] = await pair.vsis();
    expect(more).toEqual([]);
    const { slaves } = await pair.link();
    expect(slaves.map((slave) => slave.vsi)).toEqual([vsi!.id, vsi!.id, vsi!.id]);
    for (const { reason } of slaves) expect(reason).toMatch(/source and destination alike.*ICMP redirects/);
    const shown = await pair.station.must('status', 'eth1');
    expect(shown.split('\n').filter((line) => line.length > 80)).toEqual([]);
    expect(shown.match(/ICMP/g)).toHaveLength(1);

    pair.sta('ip link set ipv2 type ipvlan mode l2 private');
    await pair.becomesAssociated();
    expect((await pair.link()).slaves.map((slave) => slave.reason)).toEqual(
      Array(3).fill('not in VEPA mode'),
    );
  });

  it('reach each other through an enforcing bridge in mode l2, the last one keeps the VSI, the host stays admitted', async () => {
    pair.sta('ip link set ipv2 type ipvlan mode l2 vepa');
    pair.sta('ip link set ipv2 netns c2');
    for (const n of [1, 2]) {
      pair.world.in(`c${n}`, 'ip', 'address', 'add', `10.0.0.${n}/24`, 'dev', `ipv${n}`);
      pair.world.in(`c${n}`, 'ip', 'link', 'set', `ipv${n}`, 'up');
    }
    await pair.becomesAssociated(`${mac}/10`);
    expect(await pair.reaches('c1', '10.0.0.2', 3)).toBe(true);

    pair.sta('ip link del tap0');
    pair.world.must('ip', 'netns', 'del', 'c2');
    await pair.link(({ slaves }) => slaves.length === 1);
    await pair.becomesAssociated(`${mac}/10`);
    pair.world.in('c1', 'ip', 'link', 'del', 'ipv1');
    await pair.becomesAssociated();
    expect(pair.world.staticEntries('br', 'swp1')).toEqual([mac]);
  });

  it('follows the uplink when that is given another address: the same VSI with another filter', async () => {
    pair.add('ipv3', 'eth1', 'type ipvlan mode l3 vepa');
    pair.sta('ip link set ipv3 netns c1');
    await pair.becomesAssociated(`${mac}/10`);
    const [vsi] = await pair.vsis();
    pair.sta(`ip link set eth1 address ${other}`);
    await pair.slave('ipv3', (slave) => slave.mac === other);
    await pair.becomesAssociated(`${other}/10`);
    expect((await pair.vsis()).map((vsi) => vsi.id)).toEqual([vsi!.id]);
    await eventually(
      () => pair.world.staticEntries('br', 'swp1'),
      (entries) => entries.join() === other,
      'only the new address is admitted',
    );
  });
});
