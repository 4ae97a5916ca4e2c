/** Slaves on VLAN devices above the uplink: the VID of their VSI is that of the device that they stand on. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Pair } from './support.ts';

const STATION = `
uplinks: { eth1: { slaves: auto }, nowhere: { slaves: auto } }
profiles: { web: { manager: 1, type: 1, type-version: 1, vlan: 10 } }
rules: [{ match: { mac: "52:54:00:*" }, profile: web }]
`;
const mac = (n: number) => `52:54:00:00:00:0${n}`;

let pair: Pair;
beforeAll(async () => {
  pair = await Pair.create({ station: STATION, bridge: 'ports: { swp1: {} }' }, (world) => {
    world.must('ip', 'netns', 'add', 'c1');
    // There before the daemon, nested, the slave elsewhere.
    const before = [
      'add link eth1 name s30 type vlan proto 802.1ad id 30',
      'add link s30 name s30.7 type vlan id 7',
      `add link s30.7 name mv4 address ${mac(4)} type macvlan mode vepa`,
      'set mv4 netns c1',
    ];
    for (const line of before) world.in('sta', 'ip', 'link', ...line.split(' '));
  });
  await pair.relay();
});
afterAll(() => pair?.end());

describe('a dummy as uplink', () => {
  it('has no peer: it is waited for, and nothing goes wrong', async () => {
    pair.sta('ip link add nowhere type dummy');
    pair.sta('ip link set nowhere up');
    pair.add('mv9', 'nowhere', `address ${mac(9)} type macvlan mode vepa`);
    const waiting = await pair.link(
      ({ relay, slaves }) => relay === 'no-peer' && slaves.some(({ vsi }) => vsi !== ''),
      'nowhere',
    );
    expect(waiting).toMatchObject({ protocol: 'none', peer: {} });
    const vsi = (await pair.vsis()).find(({ link }) => link === 'nowhere')!;
    expect(vsi).toMatchObject({ state: 'associating', owner: 'rule:1' });
    expect(await pair.station.evbctl('wait', 'nowhere', 'negotiated', '--timeout', '1')).toMatchObject({
      status: 4,
    });
    pair.sta('ip link del nowhere');
    await pair.link(({ mac: address, slaves }) => address === '' && slaves.length === 0, 'nowhere');
    expect(pair.station.log).not.toMatch(/"level":"?(error|50)/);
  });
});

describe('VLAN devices', () => {
  const vepa = (n: number) => `address ${mac(n)} type macvlan mode vepa`;
  const wholeVsi = async (n: number) => {
    const { filters, since, history, ...rest } = (await pair.vsis()).find(
      (vsi) => vsi.filters[0]!.mac === mac(n),
    )!;
    return { ...rest, filters, since, steps: history.length };
  };

  it('the VID is that of the device that the slave stands on: 802.1Q, 802.1ad, nested; or else of the profile', async () => {
    pair.add('v20', 'eth1', 'type vlan id 20');
    pair.add('mv1', 'eth1', vepa(1));
    pair.add('mv2', 'v20', vepa(2));
    pair.add('mv3', 's30', vepa(3));
    await pair.becomesAssociated(`${mac(1)}/10`, `${mac(2)}/20`, `${mac(3)}/30`, `${mac(4)}/7`);
    const slaves = (await pair.link()).slaves.map(({ name, vlan }) => `${name} ${vlan}`).sort();
    expect(slaves).toEqual(['mv1 0', 'mv2 20', 'mv3 30', 'mv4 7']);
  });

  it('a device that is renamed changes nothing', async () => {
    const before = await wholeVsi(2);
    pair.sta('ip link set v20 name blue');
    // Its events came before those of this slave, which is noticed.
    pair.add('mv5', 'blue', vepa(5));
    await pair.slave('mv5', ({ vsi }) => vsi !== '');
    expect(await wholeVsi(2)).toEqual(before);
    pair.sta('ip link del mv5');
  });

  it('a slave of it is followed into another namespace', async () => {
    const { id } = await wholeVsi(2);
    pair.sta('ip link set mv2 netns c1');
    pair.world.in('c1', 'ip', 'link', 'set', 'mv2', 'name', 'eth0', 'address', mac(6));
    await pair.becomesAssociated(`${mac(1)}/10`, `${mac(3)}/30`, `${mac(4)}/7`, `${mac(6)}/20`);
    expect((await wholeVsi(6)).id).toBe(id);
    expect((await pair.slave('eth0')).vlan).toBe(20);
  });

  it('an ipvlan on it has its address and its VID', async () => {
    pair.add('v40', 'eth1', `address ${mac(7)} type vlan id 40`);
    pair.add('ipv', 'v40', 'type ipvlan mode l2 vepa');
    await pair.becomesAssociated(
      `${mac(1)}/10`,
      `${mac(3)}/30`,
      `${mac(4)}/7`,
      `${mac(6)}/20`,
      `${mac(7)}/40`,
    );
    pair.sta('ip link del ipv');
  });

  it('with a device its slaves and their VSIs go; made anew with another VID, they are others', async () => {
    pair.sta('ip link del blue');
    await pair.becomesAssociated(`${mac(1)}/10`, `${mac(3)}/30`, `${mac(4)}/7`);
    pair.add('v20', 'eth1', 'type vlan id 21');
    pair.add('mv2', 'v20', vepa(6));
    await pair.becomesAssociated(`${mac(1)}/10`, `${mac(3)}/30`, `${mac(4)}/7`, `${mac(6)}/21`);
  });

  it('a device that moves into another namespace takes its slaves out of sight, and back', async () => {
    pair.sta('ip link set v20 netns c1');
    await pair.becomesAssociated(`${mac(1)}/10`, `${mac(3)}/30`, `${mac(4)}/7`);
    pair.world.in('c1', 'ip', 'link', 'set', 'v20', 'netns', 'sta');
    await pair.becomesAssociated(`${mac(1)}/10`, `${mac(3)}/30`, `${mac(4)}/7`, `${mac(6)}/21`);
    // With the outer one of a stack all that stands on it.
    pair.sta('ip link del s30');
    await pair.becomesAssociated(`${mac(1)}/10`, `${mac(6)}/21`);
  });
});
