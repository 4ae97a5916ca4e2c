/** Frames that nobody should send: counted and dropped, and what is associated lives on. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { encodeEcpdu } from '../../protocols/ecp/index.ts';
import { encodeFrame, NEAREST_CUSTOMER_BRIDGE } from '../../protocols/ethernet/index.ts';
import { encodeLldpdu } from '../../protocols/lldp-codec/index.ts';
import { fromHex, type MacAddress, toHex, uuidToOctets } from '../../protocols/octets/index.ts';
import { encodeVdp, encodeVsi, VSIID_LOCAL, VSIID_UUID } from '../../protocols/vdp/index.ts';
import { needs } from '../support/needs.ts';
import { eventually, Host, World } from '../support/world.ts';

const ready = needs({ networkNamespace: true, programs: ['ip', 'bridge', 'dbus-daemon'] });
const SENDER = new URL('./fixtures/send-frames.mjs', import.meta.url).pathname;
const ATTACKER = '02:66:66:66:66:66' as MacAddress;
const GUEST = '52:54:00:00:00:01';
/** Strangers have a tenth of it: room for what these tests send. */
const RATE = 'limits: { frames-per-second: 20000 }\n';

let world: World;
let station: Host;
let bridge: Host;

beforeEach(async () => {
  if (!ready) return;
  world = await World.wired();
  station = await Host.create(
    world,
    'sta',
    `${RATE}uplinks: { eth1: {} }\nprofiles: { web: { manager: 1, type: 1, type-version: 1 } }`,
  );
  bridge = await Host.create(
    world,
    'br',
    'limits: { vsis-per-link: 8, frames-per-second: 20000 }\nports: { swp1: { enforce: on } }',
  );
  await bridge.start();
  await station.start();
  await station.must('associate', 'eth1', '--mac', GUEST, '--profile', 'web');
}, 60_000);
afterEach(() => world?.end());

function frame(etherType: number, payload: Uint8Array, source = ATTACKER): Uint8Array {
  return encodeFrame({ destination: NEAREST_CUSTOMER_BRIDGE, source, etherType, payload });
}

/** From the station's host and from the switch's, so that both roles get them. */
async function send(frames: readonly Uint8Array[]): Promise<void> {
  const file = join(world.folder, 'frames');
  writeFileSync(file, frames.map(toHex).join('\n'));
  for (const [namespace, link] of [
    ['sta', 'eth1'],
    ['br', 'swp1'],
  ] as const) {
    const outcome = await world.run(namespace, process.execPath, SENDER, link, file);
    expect(outcome).toMatchObject({ status: 0, stderr: '' });
  }
}

const counters = async (host: Host, link: string) =>
  (await host.link(link)).counters as Record<string, number>;

/** Both daemons run, answer, and hold what they held. */
async function expectUnharmed(): Promise<void> {
  expect([station.running, bridge.running]).toEqual([true, true]);
  expect(await station.vsis()).toMatchObject([{ state: 'associated', filters: [{ mac: GUEST }] }]);
  expect((await bridge.vsis()).some(({ filters }) => filters[0].mac === GUEST)).toBe(true);
  expect(await station.link('eth1')).toMatchObject({ relay: 'active' });
  expect(world.bridgePort('br', 'swp1')).toMatchObject({ hairpin: true });
}

const vsi = (id: number, length: (tlv: Uint8Array) => void = () => {}) => {
  const octets = new Uint8Array(16);
  new DataView(octets.buffer).setUint32(12, id);
  const tlv = encodeVsi({
    request: 'associate',
    status: 0,
    type: 1,
    typeVersion: 1,
    idFormat: VSIID_LOCAL,
    id: octets,
    filterFormat: 2,
    filters: [
      {
        mac: `52:54:66:66:${toHex(octets.subarray(14, 15))}:${toHex(octets.subarray(15))}` as MacAddress,
        vid: 0,
      },
    ],
  });
  length(tlv);
  return encodeVdp(new Uint8Array(16), [tlv]);
};
let sequence = 1;
const ecp = (ulpdu: Uint8Array) =>
  encodeEcpdu({ version: 1, operation: 'request', subtype: 1, sequence: sequence++, ulpdu });

describe.runIf(ready)('hostile frames', { timeout: 60_000 }, () => {
  it('garbage on every Ethertype is counted', async () => {
    let seed = 0x2f6e2b1;
    const random = () => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return seed >>> 24;
    };
    const garbage = (length: number) => Uint8Array.from({ length }, random);
    const frames = [0x88cc, 0x8940, 0x88b7].flatMap((etherType) =>
      Array.from({ length: 150 }, (_, i) => frame(etherType, garbage(i * 9))),
    );
    await send(frames);
    for (const [host, link] of [
      [station, 'eth1'],
      [bridge, 'swp1'],
    ] as const) {
      const seen = await eventually(
        () => counters(host, link),
        (now) =>
          now['statsFramesDiscardedTotal']! > 140 && now['ecpForeign']! > 140 && now['otherFrames']! >= 150,
        `counters of ${link}`,
      );
      expect(seen['statsFramesInErrorsTotal']).toBeGreaterThan(140);
    }
    await expectUnharmed();
  });

  it('wrong lengths in VDP are counted and answered with an error', async () => {
    const before = await counters(bridge, 'swp1');
    const shorter = vsi(1, (tlv) => (tlv[1]! -= 1));
    const longer = vsi(2, (tlv) => (tlv[1]! += 40));
    const moreEntries = vsi(3, (tlv) => (tlv[26]! = 2));
    const noEntries = vsi(4, (tlv) => (tlv[26]! = 0));
    const unknownFormat = vsi(5, (tlv) => (tlv[24]! = 9));
    const noManager = vsi(6).subarray(18);
    const cut = vsi(7).subarray(0, 40);
    const all = [shorter, longer, moreEntries, noEntries, unknownFormat, noManager, cut];
    const mac = (await station.link('eth1')).mac;
    await send(all.map((ulpdu) => frame(0x8940, ecp(ulpdu), mac)));
    await eventually(
      () => counters(bridge, 'swp1'),
      (now) => now['vdpMalformed']! >= before['vdpMalformed']! + all.length && now['vsisInvalid']! >= 3,
      'vdpMalformed',
    );
    await expectUnharmed();
    expect(await bridge.vsis()).toHaveLength(1);
  });

  it('a truncated LLDPDU does not end the peer', async () => {
    const lldpdu = fromHex('0207040211223344010403030211')!;
    await send(Array.from({ length: lldpdu.length }, (_, i) => frame(0x88cc, lldpdu.subarray(0, i))));
    await eventually(
      () => counters(bridge, 'swp1'),
      (now) => now['statsFramesDiscardedTotal']! >= lldpdu.length - 1,
      'statsFramesDiscardedTotal',
    );
    await expectUnharmed();
  });

  it('what others say in the name of the peer is not heard', async () => {
    const mac = (text: string) => fromHex(text.replaceAll(':', ''))!;
    for (const [host, link] of [
      [station, 'eth1'],
      [bridge, 'swp1'],
    ] as const) {
      const { peer } = await host.link(link);
      const identity = encodeLldpdu({
        chassisId: { subtype: 4, id: mac(peer.chassisId) },
        portId: { subtype: 3, id: mac(peer.portId) },
        ttl: 0,
        others: [],
      });
      await send([frame(0x88cc, identity.octets)]);
    }
    const [vsi] = await station.vsis();
    const command = {
      request: 'deassociate',
      status: 0,
      type: vsi.type,
      typeVersion: vsi.typeVersion,
      idFormat: VSIID_UUID,
      id: uuidToOctets(vsi.id),
      filterFormat: 2,
      filters: vsi.filters,
    } as const;
    await send([frame(0x8940, ecp(encodeVdp(fromHex(vsi.manager)!, [encodeVsi(command)])))]);
    for (const [host, link] of [
      [station, 'eth1'],
      [bridge, 'swp1'],
    ] as const) {
      // It came last.
      const heard = (now: Record<string, number>) => now['ecpForeign']! >= 1;
      await eventually(() => counters(host, link), heard, `counters of ${link}`);
    }
    await expectUnharmed();
  });

  it('frames beyond the rate are dropped and counted', async () => {
    await bridge.stop();
    bridge.configure('limits: { frames-per-second: 50 }\nports: { swp1: { enforce: on } }');
    await bridge.start();
    await send(Array.from({ length: 400 }, (_, i) => frame(0x88cc, new Uint8Array(i))));
    await eventually(
      () => counters(bridge, 'swp1'),
      (now) => now['framesOverRate']! > 100,
      'framesOverRate',
    );
    await expectUnharmed();
  });

  it('VSIs beyond the limit of the port are refused', async () => {
    const mac = (await station.link('eth1')).mac;
    await send(Array.from({ length: 200 }, (_, i) => frame(0x8940, ecp(vsi(100 + i)), mac)));
    const seen = await eventually(
      () => counters(bridge, 'swp1'),
      (now) => now['vsisRefused']! > 0,
      'vsisRefused',
    );
    expect(seen['vsis']).toBe(8);
    expect(await bridge.vsis()).toHaveLength(8);
    await expectUnharmed();
  });
});
