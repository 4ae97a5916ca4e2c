/** Somebody on the link takes the place of an EVB peer that is silent, and gives it back. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ETHERTYPE_LLDP, encodeFrame, NEAREST_CUSTOMER_BRIDGE } from '../../protocols/ethernet/index.ts';
import { type EvbTlv, encodeLldpdu } from '../../protocols/lldp-codec/index.ts';
import { type MacAddress, macToOctets, toHex } from '../../protocols/octets/index.ts';
import { bridgeTlv, stationTlv } from '../evb/peers.ts';
import { needs } from '../support/needs.ts';
import { eventually, Host, World } from '../support/world.ts';

const ready = needs({ networkNamespace: true, programs: ['ip', 'bridge', 'dbus-daemon'] });
const SENDER = new URL('./fixtures/send-frames.mjs', import.meta.url).pathname;
const GUEST = '52:54:00:00:00:01';
const EVIL = '02:66:66:66:66:66' as MacAddress;
/** A peer is gone after 3 s without a word. */
const LLDP = 'lldp: { tx-interval: 1, tx-hold: 2 }';

interface End {
  host: Host;
  namespace: string;
  link: string;
}

let world: World;
let station: End;
let bridge: End;

beforeEach(async () => {
  if (!ready) return;
  world = await World.wired();
  const profiles = 'profiles: { web: { manager: 1, type: 1, type-version: 1 } }';
  const uplinks = `uplinks: { eth1: { ${LLDP} } }\n${profiles}`;
  station = { host: await Host.create(world, 'sta', uplinks), namespace: 'sta', link: 'eth1' };
  const ports = `ports: { swp1: { enforce: on, ${LLDP} } }`;
  bridge = { host: await Host.create(world, 'br', ports), namespace: 'br', link: 'swp1' };
  await bridge.host.start();
  await station.host.start();
  await station.host.must('associate', 'eth1', '--mac', GUEST, '--profile', 'web');
}, 60_000);
afterEach(() => world?.end());

const peerOf = async ({ host, link }: End) => (await host.link(link)).peer;
const peerIs = (end: End, mac: string | undefined) =>
  eventually(
    () => peerOf(end),
    (peer) => peer.mac === mac,
    `the peer of ${end.link}`,
  );

/** The stranger, at the other end of the wire, says this under that name. */
async function strange(from: End, evb: EvbTlv, name: string, ttl = 65535): Promise<void> {
  const id = macToOctets(name as MacAddress);
  const identity = { chassisId: { subtype: 4, id }, portId: { subtype: 3, id } };
  const { octets: payload } = encodeLldpdu({ ...identity, ttl, others: [], evb });
  const frame = { destination: NEAREST_CUSTOMER_BRIDGE, source: EVIL, etherType: ETHERTYPE_LLDP, payload };
  const file = join(world.folder, 'frames');
  writeFileSync(file, toHex(encodeFrame(frame)));
  const sent = await world.run(from.namespace, process.execPath, SENDER, from.link, file);
  expect(sent).toMatchObject({ status: 0, stderr: '' });
}

describe.runIf(ready)('a stranger on the link', { timeout: 60_000 }, () => {
  const status = { sgid: false, rrreq: true, rrstat: 1 };
  const ends = () =>
    [
      { victim: station, silent: bridge, tlv: bridgeTlv({ stationStatus: status }) },
      { victim: bridge, silent: station, tlv: stationTlv({ rrstat: 1 }) },
    ] as const;

  it.each([
    ['an uplink', 0],
    ['a port', 1],
  ])('takes the place of the silent peer of %s, over restarts, until that speaks again', async (_, at) => {
    const { victim, silent, tlv } = ends()[at]!;
    const { mac } = await peerOf(victim);
    await silent.host.stop('SIGKILL');
    await peerIs(victim, undefined);
    // Under the name of the other and under his own.
    await strange(silent, tlv, mac);
    await strange(silent, tlv, EVIL);
    await peerIs(victim, EVIL);
    expect(await peerOf(victim)).toMatchObject({ ttl: 65535, otherPeers: 1 });
    await victim.host.stop('SIGKILL');
    await victim.host.start();
    await peerIs(victim, EVIL);
    await silent.host.start();
    await peerIs(victim, mac);
    await eventually(
      async () => [await station.host.vsis(), await bridge.host.vsis()].flat().map(({ state }) => state),
      (states) => states.join() === 'associated,associated',
      'VSIs',
    );
    await eventually(
      () => world.staticEntries('br', 'swp1').includes(GUEST),
      (there) => there,
      'the guest in the FDB',
    );
    expect(world.bridgePort('br', 'swp1')).toMatchObject({ hairpin: true });
  });

  it('beside the peer is shown while it is there, and nothing else', async () => {
    const { victim, silent, tlv } = ends()[0];
    const { mac } = await peerOf(victim);
    await strange(silent, tlv, EVIL, 3);
    await eventually(
      () => peerOf(victim),
      ({ otherPeers }) => otherPeers === 1,
      'the stranger',
    );
    await eventually(
      () => peerOf(victim),
      ({ otherPeers }) => otherPeers === undefined,
      'the stranger gone',
    );
    expect(await peerOf(victim)).toMatchObject({ mac });
    expect(await station.host.vsis()).toMatchObject([{ state: 'associated' }]);
  });
});
