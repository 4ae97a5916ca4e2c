/** Draft 0.2 with Debian's lldpad. Its bridge role is a stub: it negotiates EVB, acknowledges VDP and never answers it. */

import { afterEach, describe, expect, it } from 'vitest';
import { Capture } from '../support/capture.ts';
import { LLDPAD_PROGRAMS, Lldpad } from '../support/lldpad.ts';
import { needs } from '../support/needs.ts';
import { eventually, Host, World } from '../support/world.ts';

const ready = needs({ networkNamespace: true, programs: [...LLDPAD_PROGRAMS, 'bridge'] });

/** Auto changes to the draft after three intervals. */
const LLDP = 'lldp: { tx-interval: 1, tx-hold: 4 }';
const PREASSOCIATE = 0;
const ASSOCIATE = 2;
const END = 3;
const GUEST = { uuid: '9d3f1c20-75b1-4e0e-a4c6-6b1f20d7e359', mac: '52:54:00:0a:0b:0c', vlan: 42 };
const OTHER = { ...GUEST, mac: '52:54:00:0a:0b:0d' };

let world: World;
let lldpad: Lldpad;
afterEach(() => world?.end());

describe.runIf(ready)('lldpad as a station that speaks draft 0.2', { timeout: 90_000 }, () => {
  let bridge: Host;
  const relay = async () => (await bridge.link('swp1')).relay;
  const states = async () => (await bridge.vsis()).map(({ state }) => state);
  const entries = () => world.staticEntries('br', 'swp1');

  /** ECP and VDP are agreed afterwards. */
  async function connect(protocol: string, more = '', profiles = ''): Promise<void> {
    world = await World.wired();
    // lldpad listens to its own frames, which a hairpin port sends back without spanning tree.
    world.in('br', 'ip', 'link', 'set', 'br0', 'type', 'bridge', 'stp_state', '1');
    const port = `ports: { swp1: { protocol: ${protocol}, ${LLDP}, enforce: on ${more} } }`;
    bridge = await Host.create(world, 'br', `${port}\n${profiles}`);
    await bridge.start();
    lldpad = await Lldpad.startDraft(world, 'sta', 'eth1', 'station');
    await agreed();
  }

  async function agreed(): Promise<void> {
    await eventually(relay, (is) => is === 'active', 'relay');
    const capabilities = async () => (await bridge.link('swp1')).peer.ccap;
    await eventually(capabilities, (all) => all === 7, 'capabilities that lldpad has agreed to');
  }

  /** Once lldpad has agreed to VDP. */
  async function associated(): Promise<void> {
    const NOT_AGREED = 6;
    const { errno, response } = await eventually(
      () => lldpad.associateAsLibvirt(GUEST),
      (answer) => answer.errno !== NOT_AGREED,
      'VDP is not agreed',
    );
    expect({ errno, response }).toEqual({ errno: 0, response: 0 });
  }

  it.each(['draft', 'auto'])(
    'negotiates with a port that speaks %s, and its VSI is granted',
    async (protocol) => {
      await connect(protocol);
      expect(await bridge.link('swp1')).toMatchObject({ protocol: 'draft', relay: 'active' });
      expect(world.bridgePort('br', 'swp1')).toMatchObject({ hairpin: true, locked: true });
      const neighbour = lldpad.neighbour();
      expect(neighbour).toMatch(/configured forwarding mode: \(0x40\)/);
      expect(neighbour).toMatch(/configured capabilities: \(0x7\)/);

      await associated();
      expect(await bridge.vsis()).toMatchObject([
        { id: GUEST.uuid, state: 'associated', type: 0x123456, filters: [{ mac: GUEST.mac, vid: 42 }] },
      ]);
      expect(lldpad.draftVsis()).toContain(GUEST.uuid);
      expect(entries()).toContain(GUEST.mac);
      expect(await lldpad.disassociateAsLibvirt(GUEST)).toEqual({ errno: 0, response: 0 });
      expect(await bridge.vsis()).toEqual([]);
      expect(entries()).not.toContain(GUEST.mac);
    },
  );

  it('preassociates, associates with a second address, and ends', async () => {
    await connect('draft');
    await lldpad.requestDraft(PREASSOCIATE, GUEST);
    await eventually(states, (all) => all.join() === 'preassociated', 'preassociated');
    expect(entries()).not.toContain(GUEST.mac);
    await lldpad.requestDraft(ASSOCIATE, GUEST);
    await eventually(states, (all) => all.join() === 'associated', 'associated');
    // Another address of the same VSI: lldpad sends both in one TLV.
    await lldpad.requestDraft(ASSOCIATE, OTHER);
    await eventually(entries, (macs) => [GUEST, OTHER].every(({ mac }) => macs.includes(mac)), 'addresses');
    expect(await bridge.vsis()).toMatchObject([{ state: 'associated', filters: [{ vid: 42 }, { vid: 42 }] }]);
    await lldpad.requestDraft(END, GUEST);
    await eventually(states, ({ length }) => length === 0, 'the VSI at the port');
  });

  it('is refused what no profile allows', async () => {
    const profiles = 'profiles: { web: { manager: 1, type: 1, type-version: 1 } }';
    await connect('draft', ', admission: profiles', profiles);
    const { errno, response } = await lldpad.associateAsLibvirt(GUEST);
    expect(errno).toBe(0);
    expect(response).not.toBe(0);
    expect(await bridge.vsis()).toEqual([]);
  });

  it('learns that the administrator of the bridge removed its VSI', async () => {
    await connect('draft');
    await associated();
    await bridge.must('deassociate', GUEST.uuid);
    const shown = () => lldpad.draftVsis();
    await eventually(shown, (text) => !text.includes(GUEST.uuid), 'the VSI at lldpad');
    expect(await bridge.vsis()).toEqual([]);
  });

  it('is kept by a bridge that was killed: its VSI lives on with the next one', async () => {
    await connect('auto');
    const wire = await Capture.start(world, 'sta', 'eth1');
    await associated();
    await bridge.stop('SIGKILL');
    expect(entries()).toContain(GUEST.mac);
    await bridge.start();
    expect(await bridge.link('swp1')).toMatchObject({ protocol: 'draft', relay: 'active' });
    const mac = (await bridge.link('swp1')).mac as string;
    const answered = async () => (await wire.vsis(GUEST.uuid)).filter(({ source }) => source === mac);
    const before = (await answered()).length;
    await eventually(answered, ({ length }) => length > before, 'a keepalive answered');
    expect((await answered()).map(({ request, response }) => [request, response])).toEqual(
      (await answered()).map(() => ['associate', 0]),
    );
    expect(await states()).toEqual(['associated']);
    expect(lldpad.draftVsis()).toContain(GUEST.uuid);
  });

  it('is killed and asks again with numbers that begin anew', async () => {
    await connect('draft');
    for (let round = 0; round < 2; round++) {
      await associated();
      await lldpad.kill();
      await lldpad.restart();
      await agreed();
    }
    await associated();
    expect(await states()).toEqual(['associated']);
    expect(entries()).toContain(GUEST.mac);
  });
});

describe.runIf(ready)('lldpad as a bridge that speaks draft 0.2', { timeout: 90_000 }, () => {
  it.each(['draft', 'auto'])(
    'negotiates with an uplink that speaks %s, and answers no VSI',
    async (protocol) => {
      world = await World.joined();
      lldpad = await Lldpad.startDraft(world, 'br', 'swp1', 'bridge');
      const station = await Host.create(
        world,
        'sta',
        `uplinks: { eth1: { protocol: ${protocol}, ${LLDP} } }`,
      );
      await station.start();
      const relay = async () => (await station.link('eth1')).relay;
      await eventually(relay, (is) => is === 'active', 'relay');
      expect(await station.link('eth1')).toMatchObject({ protocol: 'draft' });
      expect(lldpad.neighbour()).toMatch(/configured forwarding mode: \(0x40\)/);

      const wire = await Capture.start(world, 'br', 'swp1');
      const numbers = ['--manager', '7', '--type', '5', '--type-version', '4', '--timeout', '5'];
      const asked = await station.evbctl('associate', 'eth1', '--mac', GUEST.mac, '--vlan', '42', ...numbers);
      expect(asked).toMatchObject({ status: 4, stderr: expect.stringContaining('no answer') });
      expect(await station.vsis()).toMatchObject([{ state: 'associating' }]);
      const mac = (await station.link('eth1')).mac as string;
      const said = (await wire.frames()).filter(({ source, ecp }) => source !== mac && ecp !== undefined);
      expect(said.map(({ ecp }) => ecp!.operation)).toContain('ack');
      expect(said.flatMap(({ vdp }) => vdp?.vsis ?? [])).toEqual([]);
    },
  );
});
