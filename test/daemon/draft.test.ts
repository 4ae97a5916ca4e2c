/** Two evbd on a veth pair that speak draft 0.2, as a user sees it. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { needs } from '../support/needs.ts';
import { eventually, Host, World } from '../support/world.ts';

const ready = needs({ networkNamespace: true, programs: ['ip', 'bridge', 'dbus-daemon'] });

const PROFILE = 'profiles: { web: { manager: 7, type: 0x123456, type-version: 1, vlan: 10 } }';
const LLDP = 'lldp: { tx-interval: 1, tx-hold: 4 }';
const GUEST = '52:54:00:00:00:01';

let world: World;
let station: Host;
let bridge: Host;

beforeEach(async () => {
  if (!ready) return;
  world = await World.wired();
});
afterEach(() => world?.end());

async function connect(stationSpeaks: string, bridgeSpeaks: string, admission = 'open'): Promise<void> {
  const uplink = `uplinks: { eth1: { protocol: ${stationSpeaks}, ${LLDP} } }`;
  const port = `ports: { swp1: { protocol: ${bridgeSpeaks}, ${LLDP}, enforce: on, admission: ${admission} } }`;
  station = await Host.create(world, 'sta', `${uplink}\n${PROFILE}`);
  bridge = await Host.create(world, 'br', `${port}\n${PROFILE}`);
  await bridge.start();
  await station.start();
}

describe.runIf(ready)('draft 0.2', { timeout: 60_000 }, () => {
  it.each([
    ['draft', 'draft'],
    ['auto', 'draft'],
    ['draft', 'auto'],
  ])(
    'station %s, bridge %s: relay, an association that the kernel enforces, and its end',
    async (...speak) => {
      await connect(...speak, 'profiles');
      await eventually(
        async () => (await station.link('eth1')).relay,
        (relay) => relay === 'active',
        'relay is active',
      );
      await station.must('wait', 'eth1', 'relay');
      expect([(await station.link('eth1')).protocol, (await bridge.link('swp1')).protocol]).toEqual([
        'draft',
        'draft',
      ]);
      expect(world.bridgePort('br', 'swp1')['hairpin']).toBe(true);
      const told = await station.must('associate', 'eth1', '--mac', GUEST, '--profile', 'web', '--vlan', '0');
      expect(told).toContain(`eth1: associated ${GUEST}/10`);
      expect(world.staticEntries('br', 'swp1')).toContain(GUEST);
      const [vsi] = await bridge.vsis();
      expect(vsi).toMatchObject({ state: 'associated', profile: 'web', filters: [{ mac: GUEST, vid: 10 }] });
      await station.must('deassociate', vsi.id);
      expect(world.staticEntries('br', 'swp1')).not.toContain(GUEST);
    },
  );

  it('what it has no words for is refused by name', async () => {
    await connect('draft', 'draft');
    await station.must('wait', 'eth1', 'relay');
    const request = ['associate', 'eth1', '--mac', GUEST, '--profile', 'web', '--pcp', '3'];
    const { status, stderr } = await station.evbctl(...request);
    expect({ status, stderr }).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('draft 0.2 has no PCP'),
    });
  });

  it('a change of interop is in force after a reload', async () => {
    await connect('draft', 'draft', 'profiles');
    await station.must('wait', 'eth1', 'relay');
    await station.must('associate', 'eth1', '--mac', GUEST, '--profile', 'web');
    const knob = 'interop: { manager-octet: last, lldp-scope: nearest-bridge }';
    station.configure(`uplinks: { eth1: { protocol: draft, ${LLDP}, ${knob} } }\n${PROFILE}`);
    bridge.configure(`ports: { swp1: { protocol: draft, ${LLDP}, enforce: on, ${knob} } }\n${PROFILE}`);
    await bridge.must('reload');
    await station.must('reload');
    await station.must('wait', 'eth1', 'relay');
    const other = '52:54:00:00:00:02';
    await station.must('associate', 'eth1', '--mac', other, '--profile', 'web');
    const manager = (await bridge.vsis()).find(({ filters }) => filters[0].mac === other).manager;
    expect(manager).toBe(`${'0'.repeat(31)}7`);
  });

  it('VSIs outlive a daemon that is killed, on either side', async () => {
    await connect('auto', 'draft');
    await eventually(
      async () => (await station.link('eth1')).relay,
      (relay) => relay === 'active',
      'relay is active',
    );
    await station.must('associate', 'eth1', '--mac', GUEST, '--profile', 'web');
    for (const host of [station, bridge]) {
      await host.stop('SIGKILL');
      await host.start();
      await station.must('wait', 'eth1', 'relay');
      const [vsi] = await host.vsis();
      expect(vsi).toMatchObject({ state: 'associated' });
      expect(world.staticEntries('br', 'swp1')).toContain(GUEST);
    }
  });
});
