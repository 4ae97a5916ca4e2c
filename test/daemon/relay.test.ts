/** Two evbd on a veth pair: what they make of the kernel's bridge port, and what is left of it afterwards. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { needs } from '../support/needs.ts';
import { eventually, Host, World } from '../support/world.ts';

const ready = needs({ networkNamespace: true, programs: ['ip', 'bridge', 'dbus-daemon'] });

const PROFILE = 'profiles: { web: { manager: 1, type: 0x123456, type-version: 1 } }';
/** TTL 3 s, so that a station that is gone is missed soon. */
const UPLINK = `uplinks: { eth1: { lldp: { tx-interval: 1, tx-hold: 2 } } }\n${PROFILE}`;
const GUEST = '52:54:00:00:00:01';
const OTHER = '52:54:00:00:00:02';

let world: World;
let station: Host;
let bridge: Host;

const port = () => world.bridgePort('br', 'swp1');
const hairpin = () => port()['hairpin'];
const hairpinIs = (on: boolean) => eventually(hairpin, (is) => is === on, `hairpin ${on}`);
const entries = () => world.staticEntries('br', 'swp1');
const stationMac = async () => (await station.link('eth1')).mac as string;

async function connect(uplink = UPLINK, ports = 'ports: { swp1: { enforce: on } }'): Promise<void> {
  station = await Host.create(world, 'sta', uplink);
  bridge = await Host.create(world, 'br', ports);
  await bridge.start();
  await station.start();
  await station.must('wait', 'eth1', 'negotiated');
}

beforeEach(async () => {
  if (!ready) return;
  world = await World.wired();
});
afterEach(() => world?.end());

describe.runIf(ready)('hairpin', { timeout: 60_000 }, () => {
  it('is on while relay is negotiated, and off again after the shutdown LLDPDU', async () => {
    expect(hairpin()).toBe(false);
    await connect();
    await station.must('wait', 'eth1', 'relay');
    expect(hairpin()).toBe(true);
    await station.must('release', 'eth1');
    await hairpinIs(false);
  });

  it('stays off when the station does not request relay', async () => {
    await connect('uplinks: { eth1: { reflective-relay: off } }');
    expect((await bridge.link('swp1')).relay).toBe('off');
    expect(hairpin()).toBe(false);
  });

  it('stays off when the port denies relay, and the station learns that', async () => {
    await connect(UPLINK, 'ports: { swp1: { reflective-relay: deny } }');
    const { status, stderr } = await station.evbctl('wait', 'eth1', 'relay');
    expect({ status, stderr }).toMatchObject({ status: 1, stderr: expect.stringContaining('RRCAP') });
    expect(hairpin()).toBe(false);
  });

  it('goes off when the TTL of a station that was killed runs out', async () => {
    await connect();
    await hairpinIs(true);
    await station.stop('SIGKILL');
    await hairpinIs(false);
  });

  it('goes off with the link, and on again with it', async () => {
    await connect();
    await hairpinIs(true);
    world.in('sta', 'ip', 'link', 'set', 'eth1', 'down');
    await hairpinIs(false);
    world.in('sta', 'ip', 'link', 'set', 'eth1', 'up');
    await hairpinIs(true);
  });

  it('goes on at once for a station with another address, however long its old one would have been remembered', async () => {
    await connect(PROFILE.replace('profiles', 'uplinks: { eth1: {} }\nprofiles'));
    await hairpinIs(true);
    const uuid = '00000000-0000-4000-8000-000000000001';
    await station.must('associate', 'eth1', '--mac', GUEST, '--vlan', '10', '--profile', 'web', '--id', uuid);
    const before = await stationMac();
    world.in('sta', 'ip', 'link', 'set', 'eth1', 'address', '02:00:00:00:00:99');
    await eventually(entries, (are) => are.join() === `02:00:00:00:00:99,${GUEST}`, `${before} has gone`);
    expect(await bridge.vsis()).toMatchObject([{ id: uuid, state: 'associated' }]);
    await hairpinIs(true);
  });

  it('is put back to on where the administrator had it on', async () => {
    world.in('br', 'bridge', 'link', 'set', 'dev', 'swp1', 'hairpin', 'on');
    await connect();
    await station.must('wait', 'eth1', 'relay');
    await station.must('release', 'eth1');
    await eventually(
      () => bridge.link('swp1'),
      ({ relay }) => relay === 'no-peer',
      'relay',
    );
    expect(hairpin()).toBe(true);
  });

  it('is put right when somebody else turns it off', async () => {
    await connect();
    await hairpinIs(true);
    world.in('br', 'bridge', 'link', 'set', 'dev', 'swp1', 'hairpin', 'off');
    await hairpinIs(true);
  });

  it('is refused, and said so, when the port is in no bridge; it follows the port into one', async () => {
    world.in('br', 'ip', 'link', 'set', 'swp1', 'nomaster');
    await connect();
    expect(await bridge.link('swp1')).toMatchObject({
      relay: 'refused',
      relayReason: expect.stringContaining('in no'),
    });
    world.in('br', 'ip', 'link', 'set', 'swp1', 'master', 'br0');
    await hairpinIs(true);
    await station.must('wait', 'eth1', 'relay');
  });
});

describe.runIf(ready)('enforce: on', { timeout: 60_000 }, () => {
  it('admits the station and what is associated, and nothing else', async () => {
    await connect();
    await eventually(port, ({ locked, learning }) => locked === true && learning === false, 'locked');
    const mac = await stationMac();
    await eventually(entries, (macs) => macs.includes(mac), "the station's own address");
    await station.must('preassociate', 'eth1', '--mac', GUEST, '--profile', 'web');
    expect(entries()).toEqual([mac]);
    await station.must('associate', 'eth1', '--mac', GUEST, '--profile', 'web');
    await station.must('associate', 'eth1', '--mac', OTHER, '--profile', 'web');
    expect(entries()).toEqual([GUEST, OTHER, mac].sort());
    const [vsi] = (await station.vsis()).filter(({ filters }) => filters[0].mac === GUEST);
    await station.must('deassociate', vsi.id);
    expect(entries()).toEqual([OTHER, mac].sort());
    expect((await bridge.vsis()).map(({ filters }) => filters[0].mac)).toEqual([OTHER]);
  });

  it('releases all of a station that is gone', async () => {
    await connect();
    await station.must('associate', 'eth1', '--mac', GUEST, '--profile', 'web');
    world.in('sta', 'ip', 'link', 'set', 'eth1', 'down');
    await eventually(entries, (macs) => macs.length === 0, 'static entries');
    expect(await bridge.vsis()).toEqual([]);
  });

  it('puts the port back on release', async () => {
    await connect();
    await station.must('associate', 'eth1', '--mac', GUEST, '--profile', 'web');
    await bridge.must('release', 'swp1');
    expect(port()).toMatchObject({ hairpin: false, locked: false, learning: true });
    expect(entries()).toEqual([]);
  });

  it("refuses the bridge's own address", async () => {
    const [{ address }] = JSON.parse(world.in('br', 'ip', '-j', 'link', 'show', 'dev', 'br0'));
    await connect();
    const { status, stderr } = await station.evbctl(
      'associate',
      'eth1',
      '--mac',
      address,
      '--profile',
      'web',
    );
    expect({ status, stderr }).toMatchObject({ status: 1, stderr: expect.stringContaining('invalid VID') });
  });
});

describe.runIf(ready)('reload', { timeout: 60_000 }, () => {
  it('applies what differs and says so, leaves what is in force, refuses a wrong file', async () => {
    await connect();
    await station.must('associate', 'eth1', '--mac', GUEST, '--profile', 'web');
    bridge.configure('ports: { swp1: { enforce: off } }');
    expect(await bridge.must('reload')).toContain('ports.swp1: changed');
    await eventually(port, ({ locked, learning }) => locked === false && learning === true, 'unlocked');
    await eventually(entries, (macs) => macs.length === 0, 'static entries');
    expect(hairpin()).toBe(true);
    expect(await bridge.vsis()).toMatchObject([{ state: 'associated' }]);
    expect(await station.vsis()).toMatchObject([{ state: 'associated' }]);
    bridge.configure('ports: { swp1: { enforce: perhaps } }');
    const { status, stderr } = await bridge.evbctl('reload');
    expect({ status, stderr }).toMatchObject({ stderr: expect.stringContaining('expected on or off') });
    expect(hairpin()).toBe(true);
  });

  it('takes up again what was released', async () => {
    await connect();
    await station.must('release', 'eth1');
    await hairpinIs(false);
    expect(await station.must('reload')).toContain('eth1');
    await hairpinIs(true);
  });

  it('at one end is seen at the other, what the peer says of itself included', async () => {
    await connect();
    expect((await bridge.link('swp1')).peer).toMatchObject({ ttl: 3 });
    station.configure(UPLINK.replace('tx-hold: 2', 'tx-hold: 5'));
    await station.must('reload');
    await eventually(
      async () => (await bridge.link('swp1')).peer.ttl,
      (ttl) => ttl === 6,
      'the TTL of the station',
    );
  });
});

describe.runIf(ready)('many at once', { timeout: 60_000 }, () => {
  it('300 VSIs given by --from are all associated, and deassociated by release', async () => {
    await connect();
    const lines = Array.from({ length: 300 }, (_, i) => {
      const mac = `52:54:01:00:${Math.floor(i / 256)
        .toString(16)
        .padStart(2, '0')}:${(i % 256).toString(16).padStart(2, '0')}`;
      return JSON.stringify({ mac, profile: 'web' });
    });
    const file = join(world.folder, 'vsis');
    writeFileSync(file, lines.join('\n'));
    const results = (await station.must('associate', 'eth1', '--from', file, '--json')).trim().split('\n');
    expect(results).toHaveLength(300);
    expect((await station.vsis()).every(({ state }) => state === 'associated')).toBe(true);
    expect(await bridge.vsis()).toHaveLength(300);
    expect(entries()).toHaveLength(301);
    await station.must('release', 'eth1');
    await eventually(entries, (macs) => macs.length === 0, 'static entries');
    expect(await bridge.vsis()).toEqual([]);
  });
});

describe.runIf(ready)('what was asked for', { timeout: 60_000 }, () => {
  it('survives kill -9 before it could be sent, and is asked for when a bridge appears', async () => {
    station = await Host.create(world, 'sta', UPLINK);
    await station.start();
    const asked = await station.evbctl(
      'associate',
      'eth1',
      '--mac',
      GUEST,
      '--profile',
      'web',
      '--timeout',
      '3',
    );
    expect(asked).toMatchObject({ status: 4 });
    await station.stop('SIGKILL');
    await station.start();
    expect(await station.vsis()).toMatchObject([{ state: 'associating', filters: [{ mac: GUEST }] }]);
    bridge = await Host.create(world, 'br', 'ports: { swp1: {} }');
    await bridge.start();
    await eventually(
      () => station.vsis(),
      ([vsi]) => vsi.state === 'associated',
      'the VSI',
    );
  });

  it('and given up does not come back after kill -9', async () => {
    await connect();
    await station.must('associate', 'eth1', '--mac', GUEST, '--profile', 'web');
    const [{ id }] = await station.vsis();
    await station.must('deassociate', id.toUpperCase());
    await station.stop('SIGKILL');
    await station.start();
    expect(await station.vsis()).toEqual([]);
  });

  it('is refused with the reason of the bridge, and can be taken off the list', async () => {
    await connect(UPLINK, 'ports: { swp1: { admission: profiles } }');
    const refused = await station.evbctl('associate', 'eth1', '--mac', GUEST, '--profile', 'web');
    expect(refused).toMatchObject({ status: 1, stderr: expect.stringContaining('other failure') });
    const [vsi] = await station.vsis();
    expect(vsi.state).toBe('failed');
    expect(bridge.log).toContain('no profile has type 1193046 version 1');
    await station.must('deassociate', vsi.id);
    expect(await station.vsis()).toEqual([]);
  });
});

describe.runIf(ready)('the configuration of a link', { timeout: 60_000 }, () => {
  const negotiated = async () => {
    await eventually(
      () => station.link('eth1'),
      ({ peer }) => peer.mac !== undefined,
      'a peer',
    );
  };

  it('reflective-relay: always says that the port reflects and leaves hairpin alone', async () => {
    await connect(UPLINK, 'ports: { swp1: { reflective-relay: always } }');
    await station.must('wait', 'eth1', 'relay');
    expect((await bridge.link('swp1')).relay).toBe('assumed');
    expect(hairpin()).toBe(false);
  });

  it('reflective-relay: assume trusts the switch', async () => {
    station = await Host.create(world, 'sta', 'uplinks: { eth1: { reflective-relay: assume } }');
    await station.start();
    await station.must('wait', 'eth1', 'relay');
    expect((await station.link('eth1')).relay).toBe('assumed');
  });

  it('evb: false speaks LLDP only', async () => {
    await connect();
    await hairpinIs(true);
    station.configure('uplinks: { eth1: { evb: false } }');
    await station.must('reload');
    await hairpinIs(false);
    const { status, stderr } = await station.evbctl(
      'associate',
      'eth1',
      '--mac',
      GUEST,
      '--vlan',
      '1',
      '--manager',
      '1',
      '--type',
      '1',
      '--type-version',
      '1',
    );
    expect({ status, stderr }).toMatchObject({ status: 1, stderr: expect.stringContaining('evb: false') });
    expect((await station.link('eth1')).counters.statsFramesOutTotal).toBeGreaterThan(1);
  });

  it('group-ids lets group ids through when both sides agree', async () => {
    const groups = 'uplinks: { eth1: { group-ids: true } }\n';
    await connect(groups + PROFILE, 'ports: { swp1: { group-ids: true } }');
    await negotiated();
    await station.must(
      'associate',
      'eth1',
      '--mac',
      GUEST,
      '--vlan',
      '5',
      '--group',
      '4000000000',
      '--profile',
      'web',
    );
    expect((await bridge.vsis())[0].filters).toEqual([{ mac: GUEST, vid: 5, group: 4_000_000_000 }]);
  });

  it('enforce and release leave nothing off that reload turns on again', async () => {
    await connect();
    await hairpinIs(true);
    await bridge.must('release', 'swp1');
    expect(port()).toMatchObject({ locked: false, learning: true, hairpin: false });
    await bridge.must('reload');
    await eventually(port, ({ locked, learning }) => locked === true && learning === false, 'locked');
    await hairpinIs(true);
  });

  it('survives a hail of reloads during associations', async () => {
    await connect();
    const lines = Array.from({ length: 100 }, (_, i) => {
      const mac = `52:54:02:00:00:${i.toString(16).padStart(2, '0')}`;
      return JSON.stringify({ mac, profile: 'web' });
    });
    const file = join(world.folder, 'vsis');
    writeFileSync(file, lines.join('\n'));
    const associating = station.must('associate', 'eth1', '--from', file);
    for (let n = 0; n < 10; n++) {
      bridge.configure(`limits: { vsis-per-link: ${1000 + n} }\nports: { swp1: { enforce: on } }`);
      await bridge.must('reload');
    }
    await associating;
    expect(await bridge.vsis()).toHaveLength(100);
    await eventually(entries, (macs) => macs.length === 101, 'static entries');
  });
});

describe.runIf(ready)('the end of the daemon', { timeout: 60_000 }, () => {
  const settled = () => {
    const { hairpin, locked, learning } = port();
    return { hairpin, locked, learning, entries: entries() };
  };

  it('with on-exit: keep changes nothing, and the next start takes over without a gap', async () => {
    await connect();
    await station.must('associate', 'eth1', '--mac', GUEST, '--profile', 'web');
    const before = settled();
    expect(before).toMatchObject({ hairpin: true, locked: true });
    for (const host of [bridge, station]) {
      expect(await host.stop()).toBe(0);
      expect(settled()).toEqual(before);
      await host.start();
      expect(settled()).toEqual(before);
      await station.must('wait', 'eth1', 'relay');
      expect(await station.vsis()).toMatchObject([{ state: 'associated', filters: [{ mac: GUEST }] }]);
      expect(await bridge.vsis()).toMatchObject([{ state: 'associated', filters: [{ mac: GUEST }] }]);
      expect(settled()).toEqual(before);
    }
  });

  it('by kill -9 leaves nothing that the next start does not put right', async () => {
    await connect();
    await station.must('associate', 'eth1', '--mac', GUEST, '--profile', 'web');
    await bridge.stop('SIGKILL');
    await station.must('release', 'eth1');
    bridge.configure('ports: {}');
    await bridge.start();
    expect(settled()).toMatchObject({ hairpin: false, locked: false, learning: true, entries: [] });
  });

  it('with on-exit: release undoes all and says goodbye', async () => {
    await connect(`on-exit: release\n${UPLINK}`, 'on-exit: release\nports: { swp1: { enforce: on } }');
    await station.must('associate', 'eth1', '--mac', GUEST, '--profile', 'web');
    expect(await station.stop()).toBe(0);
    await hairpinIs(false);
    expect(await bridge.vsis()).toEqual([]);
    expect(await bridge.stop()).toBe(0);
    expect(settled()).toMatchObject({ hairpin: false, locked: false, learning: true, entries: [] });
  });
});
