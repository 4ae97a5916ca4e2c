/** What comes by the hundred thousand starves nobody else; what a peer may ask for is bounded; what we said ourselves is not heard. */

import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { encodeEcpdu } from '../../protocols/ecp/index.ts';
import { encodeFrame, NEAREST_CUSTOMER_BRIDGE } from '../../protocols/ethernet/index.ts';
import { encodeLldpdu } from '../../protocols/lldp-codec/index.ts';
import { type MacAddress, macToOctets, toHex } from '../../protocols/octets/index.ts';
import { encodeVdp, encodeVsi, tlvOf } from '../../protocols/vdp/index.ts';
import { evbVectors } from '../fixtures/vectors.ts';
import { guest } from '../pair/wire.ts';
import { needs } from '../support/needs.ts';
import { eventually, Host, World } from '../support/world.ts';

const ready = needs({ networkNamespace: true, programs: ['ip', 'bridge', 'dbus-daemon'] });
const FLOOD = new URL('./fixtures/flood.mjs', import.meta.url).pathname;
const SEND = new URL('./fixtures/send-frames.mjs', import.meta.url).pathname;
const SWITCH = '02:0f:00:00:00:00' as MacAddress;
const STRANGERS = ['02:66:66:66:66:66', '02:66:66:66:66:67', '02:66:66:66:66:68'] as MacAddress[];
/** A keepalive every 1.3 s, and three missing ones are the end. */
const TIMERS = 'lldp: { tx-interval: 1 }, vdp: { rwd: 17, rka: 17 }';
const KEEPALIVES = 5;
const LIMIT = 8;

let world: World;
let bridge: Host;
/** By the number of the port. */
const stations = new Map<number, Host>();

const stationMac = (port: number) => `02:0f:00:00:01:0${port}` as MacAddress;
const guestMac = (port: number) => `52:54:00:0f:00:0${port}`;

beforeEach(async () => {
  if (!ready) return;
  world = await World.create('br', 'sta1', 'sta2');
  // With spanning tree the bridge keeps the group address to itself.
  const stp = ['stp_state', '1', 'forward_delay', '200'];
  world.in('br', 'ip', 'link', 'add', 'br0', 'type', 'bridge', ...stp);
  world.in('br', 'ip', 'link', 'set', 'br0', 'up');
  // What leaks shall be seen where it is let.
  const ports = [1, 2].map((port) => `swp${port}: { ${TIMERS}, enforce: on, leak: report }`);
  bridge = await Host.create(
    world,
    'br',
    `limits: { vsis-per-link: ${LIMIT} }\nports: { ${ports.join(', ')} }\n`,
  );
  for (const port of [1, 2]) {
    const [here, there] = [`swp${port}`, `sta${port}`];
    const peer = ['peer', 'name', 'eth1', 'address', stationMac(port), 'netns', there];
    world.must('ip', 'link', 'add', here, 'netns', 'br', 'address', SWITCH, 'type', 'veth', ...peer);
    world.in('br', 'ip', 'link', 'set', here, 'master', 'br0', 'up');
    world.in(there, 'ip', 'link', 'set', 'eth1', 'up');
    const profile = 'profiles: { web: { manager: 1, type: 1, type-version: 1 } }';
    stations.set(port, await Host.create(world, there, `uplinks: { eth1: { ${TIMERS} } }\n${profile}\n`));
  }
  await bridge.start();
  for (const station of stations.values()) await station.start();
});
afterEach(() => world?.end());

/** LLDPDUs and requests, well-formed: what costs most. */
function frames(sources: readonly MacAddress[]): string[] {
  return sources.flatMap((source, i) => {
    const id = macToOctets(source);
    const { octets: lldpdu } = encodeLldpdu({
      chassisId: { subtype: 4, id },
      portId: { subtype: 3, id },
      ttl: 120,
      evb: { ...evbVectors[0]!.tlv },
      others: [],
    });
    const command = guest(0x6600 + i);
    const ulpdu = encodeVdp(command.manager, [encodeVsi(tlvOf(command, 0))]);
    return Array.from({ length: 8 }, (_, sequence) => {
      const ecpdu = encodeEcpdu({ version: 1, operation: 'request', subtype: 1, sequence, ulpdu });
      const [etherType, payload] = sequence % 4 === 0 ? [0x88cc, lldpdu] : [0x8940, ecpdu];
      return toHex(encodeFrame({ destination: NEAREST_CUSTOMER_BRIDGE, source, etherType, payload }));
    });
  });
}

function fileOf(lines: readonly string[]): string {
  const file = join(world.folder, 'frames');
  writeFileSync(file, lines.join('\n'));
  return file;
}

/** Goes on to the end of the test. */
async function flood(namespace: string, link: string, sources: readonly MacAddress[]): Promise<void> {
  const flooder = world.start(namespace, [process.execPath, FLOOD, link, fileOf(frames(sources))]);
  await once(flooder.stdout!, 'data');
}

const counters = async (host: Host, link: string) =>
  (await host.link(link)).counters as Record<string, number>;

async function expectFlooded(host: Host, link: string): Promise<void> {
  const dropped = (now: Record<string, number>) => now['framesOverRate']! + now['framesLostByKernel']!;
  await eventually(
    () => counters(host, link),
    (now) => dropped(now) > 20_000,
    `frames dropped at ${link}`,
  );
}

/** Associated, and some keepalives later still so without a break, on both sides. */
async function expectServed(port: number): Promise<void> {
  const station = stations.get(port)!;
  await station.must('associate', 'eth1', '--mac', guestMac(port), '--profile', 'web');
  const mine = async (host: Host) =>
    (await host.vsis()).find(({ filters }) => filters[0].mac === guestMac(port));
  const before = [await mine(station), await mine(bridge)];
  expect(before).toMatchObject([{ state: 'associated' }, { state: 'associated' }]);
  const { txFrameCount: sent } = await counters(station, 'eth1');
  await eventually(
    () => counters(station, 'eth1'),
    (now) => now['txFrameCount']! >= sent! + KEEPALIVES,
    'keepalives',
  );
  const life = (vsi: Awaited<ReturnType<typeof mine>>) => [vsi?.state, vsi?.since, vsi?.history.length];
  expect([life(await mine(station)), life(await mine(bridge))]).toEqual(before.map(life));
}

describe.runIf(ready)('protection', { timeout: 120_000 }, () => {
  it('a flood on one port, in the name of its station too, leaves the other port served', async () => {
    await stations.get(1)!.must('associate', 'eth1', '--mac', guestMac(1), '--profile', 'web');
    await flood('sta1', 'eth1', [stationMac(1), ...STRANGERS]);
    await expectServed(2);
    await expectFlooded(bridge, 'swp1');
    expect(await counters(bridge, 'swp2')).toMatchObject({ framesOverRate: 0, framesLostByKernel: 0 });
  });

  it('a flood of strangers at a port leaves its station served', async () => {
    await stations.get(1)!.must('wait', 'eth1', 'relay');
    await flood('sta1', 'eth1', STRANGERS);
    await expectServed(1);
    await expectFlooded(bridge, 'swp1');
  });

  it('a flood of strangers at an uplink leaves it served by its bridge', async () => {
    await stations.get(1)!.must('wait', 'eth1', 'relay');
    await flood('br', 'swp1', STRANGERS);
    await expectServed(1);
    await expectFlooded(stations.get(1)!, 'eth1');
  });

  it('a station that asks for more VSIs than a port may have is refused the rest, and keeps what it has', async () => {
    const asked = Array.from({ length: LIMIT + 3 }, (_, i) =>
      JSON.stringify({ mac: `52:54:00:0f:01:0${i.toString(16)}`, profile: 'web' }),
    );
    const { status, stdout, stderr } = await stations
      .get(1)!
      .evbctl('associate', 'eth1', '--from', fileOf(asked));
    expect(status).toBe(1);
    expect(`${stdout}${stderr}`.match(/insufficient resources/g)).toHaveLength(3);
    expect((await bridge.vsis()).map(({ state }) => state)).toEqual(Array(LIMIT).fill('associated'));
    expect(await counters(bridge, 'swp1')).toMatchObject({ vsisRefused: 3 });
    const states = (await stations.get(1)!.vsis()).map(({ state }) => state).sort();
    expect(states).toEqual([...Array(LIMIT).fill('associated'), ...Array(3).fill('failed')]);
    // Each port has a limit of its own.
    await stations.get(2)!.must('associate', 'eth1', '--mac', guestMac(2), '--profile', 'web');
  });

  it('own frames that come back are counted and not heard', async () => {
    const station = stations.get(1)!;
    await station.must('wait', 'eth1', 'relay');
    // The other one's frames would come over the bridge too.
    await stations.get(2)!.stop();
    // A hairpin bridge without spanning tree echoes the group address like data.
    world.in('br', 'ip', 'link', 'set', 'br0', 'type', 'bridge', 'stp_state', '0');
    await expectServed(1);
    const echoed = (now: Record<string, number>) => now['framesOwnEchoed']! >= KEEPALIVES;
    await eventually(() => counters(station, 'eth1'), echoed, 'framesOwnEchoed at the uplink');
    // And what a loop behind the station would bring back to the port.
    const sent = await world.run('sta1', process.execPath, SEND, 'eth1', fileOf(frames([SWITCH])));
    expect(sent).toMatchObject({ status: 0, stderr: '' });
    await eventually(() => counters(bridge, 'swp1'), echoed, 'framesOwnEchoed at the port');
    for (const [host, link] of [
      [station, 'eth1'],
      [bridge, 'swp1'],
    ] as const) {
      expect((await host.link(link)).peer).not.toHaveProperty('otherPeers');
      expect(await counters(host, link)).toMatchObject({ ecpForeign: 0 });
    }
  });
});
