/** evbd as the bridge with Debian's lldpad as the station, on a veth pair. */

import { afterEach, describe, expect, it } from 'vitest';
import { Capture } from '../support/capture.ts';
import { LLDPAD_PROGRAMS, Lldpad, type VdptoolVsi } from '../support/lldpad.ts';
import { needs } from '../support/needs.ts';
import { eventually, Host, World } from '../support/world.ts';

const ready = needs({ networkNamespace: true, programs: [...LLDPAD_PROGRAMS, 'bridge'] });

const STATION = ['evbmode=station', 'evbrrreq=yes', 'evbgpid=yes'];
/** Keepalives every 2.6 s, and given up after 5 s. */
const QUICK_STATION = [...STATION, 'vdprwd=18', 'vdprka=18'];
const QUICK = 'vdp: { rwd: 18, rka: 18 }';

const MAC = '52:54:00:0a:0b:0c';
const ID = '9d3f1c20-75b1-4e0e-a4c6-6b1f20d7e359';
const vsi = (more: Partial<VdptoolVsi> = {}): VdptoolVsi => ({
  mode: 'assoc',
  manager: 'mgrA',
  type: 5,
  typeVersion: 4,
  uuid: ID,
  filters: [`42-${MAC}`],
  ...more,
});

let world: World;
let bridge: Host;
let lldpad: Lldpad;
let wire: Capture;

afterEach(() => world?.end());

/** Relay is negotiated afterwards, and lldpad ready for VSIs; the capture is its end of the wire. */
async function connect(configuration: string, settings: readonly string[]): Promise<void> {
  world = await World.wired();
  wire = await Capture.start(world, 'sta', 'eth1');
  bridge = await Host.create(world, 'br', configuration);
  await bridge.start();
  lldpad = await Lldpad.start(world, 'sta', 'eth1', settings);
  await bridge.must('wait', 'swp1', 'relay');
  await lldpad.steady();
}

const states = async () => (await bridge.vsis()).map(({ state }) => state);
const hairpin = () => world.bridgePort('br', 'swp1')['hairpin'];
const entries = () => world.staticEntries('br', 'swp1');
const stationMac = async () => (await bridge.link('swp1')).peer.mac as string;

/** Asks, when its VDP has begun to run, and expects vdptool's answer to name what was asked. */
async function granted(asked: VdptoolVsi): Promise<void> {
  const { status, stdout, stderr } = await eventually(
    () => lldpad.request(asked),
    ({ stdout }) => !stdout.includes('Device not found or inactive'),
    'lldpad does not run VDP',
  );
  expect({ status, stdout, stderr }).toMatchObject({
    status: 0,
    stdout: expect.stringContaining(asked.uuid),
  });
  expect(stdout).toMatch(new RegExp(`mode = ${asked.mode}$`, 'm'));
}

describe.runIf(ready)('lldpad as the station', { timeout: 90_000 }, () => {
  it('gets relay from our port, and its VSI is granted and enforced', async () => {
    await connect('ports: { swp1: { enforce: on } }', STATION);
    expect(world.bridgePort('br', 'swp1')).toMatchObject({ hairpin: true, locked: true });
    expect(lldpad.neighbour()).toMatch(/bridge:.*rrctr/);

    await granted(vsi());
    expect(await bridge.vsis()).toMatchObject([{ id: ID, state: 'associated', owner: 'peer' }]);
    expect(await lldpad.vsis()).toEqual([vsi()]);
    expect(entries()).toEqual([MAC, await stationMac()].sort());

    await granted(vsi({ mode: 'deassoc' }));
    expect(await bridge.vsis()).toEqual([]);
    expect(await lldpad.vsis()).toEqual([]);
    expect(entries()).toEqual([await stationMac()]);
  });

  it('takes VSIs of every filter format from preassociate over reserve to associate', async () => {
    await connect(`ports: { swp1: { ${QUICK} } }`, QUICK_STATION);
    const formats = [
      { filters: ['42'], seen: [{ vid: 42 }] },
      { filters: [`42-${MAC}`], seen: [{ mac: MAC, vid: 42 }] },
      { filters: ['42--7'], seen: [{ vid: 42, group: 7 }] },
      { filters: [`42-${MAC}-8`], seen: [{ mac: MAC, vid: 42, group: 8 }] },
      {
        filters: ['43-52:54:00:00:00:01', '44-52:54:00:00:00:02', '45-52:54:00:00:00:03'],
        seen: [1, 2, 3].map((i) => ({ mac: `52:54:00:00:00:0${i}`, vid: 42 + i })),
      },
    ].map((each, i) => ({ ...each, uuid: `9d3f1c20-75b1-4e0e-a4c6-6b1f20d7e30${i}` }));
    const ids = formats.map(({ uuid }) => uuid);
    for (const [mode, state] of [
      ['preassoc', 'preassociated'],
      ['preassoc-rr', 'reserved'],
      ['assoc', 'associated'],
    ] as const) {
      for (const { uuid, filters } of formats) await granted(vsi({ mode, uuid, filters }));
      const held = await bridge.vsis();
      for (const { uuid, seen } of formats) {
        expect(held.find(({ id }) => id === uuid)).toMatchObject({ state, filters: seen });
      }
    }
    await wire.granted(ids, 2);
    expect((await lldpad.vsis()).map(({ uuid, mode }) => [uuid, mode]).sort()).toEqual(
      ids.map((uuid) => [uuid, 'assoc']),
    );
    for (const { uuid, filters } of formats) await granted(vsi({ mode: 'deassoc', uuid, filters }));
    expect(await bridge.vsis()).toEqual([]);
    expect(await lldpad.vsis()).toEqual([]);
  });

  it('is refused group ids where the port does not support them', async () => {
    await connect('ports: { swp1: { group-ids: false } }', STATION);
    expect(lldpad.neighbour()).not.toMatch(/bridge:.*bgid/);
    await lldpad.request(vsi({ filters: [`42-${MAC}-7`] }));
    expect(await lldpad.vsis()).toEqual([]);
    expect(await bridge.vsis()).toEqual([]);
  });

  it('is told the VID that the port chose', async () => {
    const profile = 'profiles: { web: { manager: 7, type: 5, type-version: 4, vlan: 17 } }';
    await connect(`ports: { swp1: { admission: profiles, ${QUICK} } }\n${profile}`, QUICK_STATION);
    expect(await lldpad.associateAsLibvirt({ uuid: ID, mac: MAC, vlan: 0, type: 5 })).toEqual({
      errno: 0,
      response: 0,
    });
    await wire.granted([ID], 2);
    expect(await bridge.vsis()).toMatchObject([
      { state: 'associated', profile: 'web', filters: [{ mac: MAC, vid: 17 }] },
    ]);
    expect((await lldpad.vsis()).map(({ filters }) => filters)).toEqual([[`17-${MAC}`]]);
  });

  it('is refused what no profile allows, and holds nothing', async () => {
    const profile = 'profiles: { web: { manager: 7, type: 5, type-version: 4 } }';
    await connect(`ports: { swp1: { admission: profiles } }\n${profile}`, STATION);
    await lldpad.request(vsi());
    expect(await lldpad.vsis()).toEqual([]);
    expect(await bridge.vsis()).toEqual([]);
    const refusals = await eventually(
      async () => (await wire.vsis(ID)).filter(({ status }) => status?.ack),
      ({ length }) => length > 0,
      'our answer in the capture',
    );
    expect(refusals).toMatchObject([{ request: 'deassociate' }]);
    expect(refusals[0]!.status!.error).not.toBe(0);
  });

  it('associates and disassociates for libvirt', async () => {
    await connect('ports: { swp1: { enforce: on } }', STATION);
    const guest = { uuid: ID, mac: MAC, vlan: 42 };
    expect(await lldpad.associateAsLibvirt(guest)).toEqual({ errno: 0, response: 0 });
    expect(await bridge.vsis()).toMatchObject([
      { id: ID, state: 'associated', type: 0x123456, typeVersion: 4, filters: [{ mac: MAC, vid: 42 }] },
    ]);
    expect(entries()).toContain(MAC);
    expect(await lldpad.disassociateAsLibvirt(guest)).toEqual({ errno: 0, response: 0 });
    expect(await bridge.vsis()).toEqual([]);
    expect(entries()).not.toContain(MAC);
  });

  it('learns that the administrator of the bridge removed its VSI', async () => {
    await connect('ports: { swp1: {} }', STATION);
    await granted(vsi());
    await bridge.must('deassociate', ID);
    await eventually(
      () => lldpad.vsis(),
      ({ length }) => length === 0,
      'the VSI at lldpad',
    );
    expect(await bridge.vsis()).toEqual([]);
  });

  it('has two VSIs of one UUID where the port tells them apart as it does', async () => {
    await connect(`ports: { swp1: { interop: { vsi-key: lldpad }, ${QUICK} } }`, QUICK_STATION);
    await granted(vsi());
    await granted(vsi({ filters: ['43'] }));
    const shown = async () =>
      (await bridge.vsis()).map(({ id, state, filters }) => [id, state, filters[0].vid]);
    const both = [
      [ID, 'associated', 42],
      [`${ID}+2`, 'associated', 43],
    ];
    expect(await shown()).toEqual(both);
    await wire.granted([ID], 4);
    expect(await shown()).toEqual(both);
    expect(await lldpad.vsis()).toHaveLength(2);
    await granted(vsi({ mode: 'deassoc' }));
    expect(await shown()).toEqual([both[1]]);
    await bridge.must('deassociate', `${ID}+2`);
    await eventually(
      () => lldpad.vsis(),
      ({ length }) => length === 0,
      'the VSIs at lldpad',
    );
  });

  it('is killed: its VSI ends when no keepalive comes, and the next one starts afresh', async () => {
    await connect(`ports: { swp1: { enforce: on, ${QUICK} } }`, QUICK_STATION);
    await granted(vsi());
    await wire.granted([ID], 1);
    await lldpad.kill();
    await lldpad.restart();
    await eventually(
      () => bridge.vsis(),
      ({ length }) => length === 0,
      'the VSI at the port',
    );
    await eventually(entries, (macs) => !macs.includes(MAC), 'its address');
    // lldpad forgets its VSIs (interop-notes.md 10); whoever wants one asks again.
    expect(await lldpad.vsis()).toEqual([]);
    await bridge.must('wait', 'swp1', 'relay');
    await granted(vsi());
    expect(await states()).toEqual(['associated']);
    expect(entries()).toContain(MAC);
  });

  it('asks again at once after it was killed, with ECP numbers that begin anew', async () => {
    // Its first LLDPDU may be the one of before, word for word: that is no news, and it hears us when our next is due.
    await connect('ports: { swp1: { enforce: on, lldp: { tx-interval: 1 } } }', STATION);
    await granted(vsi());
    for (let round = 0; round < 3; round++) {
      await lldpad.kill();
      await lldpad.restart();
      await eventually(
        () => lldpad.neighbour(),
        (text) => text.includes('rrctr'),
        'lldpad has heard the port',
      );
      await granted(vsi());
      expect(await states()).toEqual(['associated']);
    }
  });

  it('says goodbye: hairpin and VSIs go at once', async () => {
    await connect('ports: { swp1: { enforce: on } }', STATION);
    await granted(vsi());
    world.in('sta', 'lldptool', '-L', '-i', 'eth1', '-g', 'ncb', 'adminStatus=disabled');
    await eventually(hairpin, (on) => on === false, 'hairpin');
    expect(await bridge.vsis()).toEqual([]);
    await eventually(entries, ({ length }) => length === 0, 'addresses');
  });

  it('is kept by a bridge that was killed: VSIs live on with the next one', async () => {
    // lldpad forgets a VSI whose keepalive was not acknowledged: it sends each for 5 s here.
    const patient = 'ecp: { max-retries: 7, rte: 16 }';
    await connect(`ports: { swp1: { enforce: on, ${patient}, ${QUICK} } }`, QUICK_STATION);
    // Without spanning tree it would hear itself while nobody else is there, and acknowledge its own keepalives.
    world.in('br', 'ip', 'link', 'set', 'br0', 'type', 'bridge', 'stp_state', '1');
    const uuids = Array.from({ length: 2 }, (_, i) => `9d3f1c20-75b1-4e0e-a4c6-6b1f20d7e30${i}`);
    const macs = uuids.map((_, i) => `52:54:00:00:00:0${i}`);
    for (const [i, uuid] of uuids.entries()) await granted(vsi({ uuid, filters: [`42-${macs[i]}`] }));
    const held = entries();
    await bridge.stop('SIGKILL');
    expect(entries()).toEqual(held);
    const before = (await wire.vsis()).length;
    await bridge.start();
    await wire.granted(uuids, 2);
    expect((await lldpad.vsis()).map(({ uuid }) => uuid).sort()).toEqual(uuids);
    expect((await bridge.vsis()).map(({ id, state }) => [id, state]).sort()).toEqual(
      uuids.map((uuid) => [uuid, 'associated']),
    );
    expect(hairpin()).toBe(true);
    expect(entries()).toEqual(held);
    const since = (await wire.vsis()).slice(before);
    expect(new Set(since.map(({ request }) => request))).toEqual(new Set(['associate']));
  });

  it('asks for 20 VSIs at once, all of which are granted and stay', async () => {
    await connect(`ports: { swp1: { ${QUICK} } }`, QUICK_STATION);
    const uuids = Array.from(
      { length: 20 },
      (_, i) => `9d3f1c20-75b1-4e0e-a4c6-6b1f20d7e3${i.toString(16).padStart(2, '0')}`,
    );
    const together = uuids.map((uuid, i) => vsi({ uuid, filters: [`${i + 2}-${MAC}`] }));
    await Promise.all(together.map((each) => lldpad.request(each)));
    await wire.granted(uuids, 2);
    expect((await bridge.vsis()).map(({ id, state }) => [id, state]).sort()).toEqual(
      uuids.map((uuid) => [uuid, 'associated']),
    );
  });
});
