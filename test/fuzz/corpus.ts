/**
 * What mutation begins with: every frame of the captures and the vectors, and what the pair under test says, which is made here
 * by the same machines on a wire that is none. So a seed draws the same frames every time.
 */

import { ETHERTYPE_ECP, ETHERTYPE_ECP_DRAFT, ETHERTYPE_LLDP } from '../../protocols/ethernet/index.ts';
import { toHex } from '../../protocols/octets/index.ts';
import { VSIID_UUID, type VsiCommand, vsiKey } from '../../protocols/vdp/index.ts';
import type { DialectName } from '../../src/model.ts';
import { captures, readCapture } from '../fixtures/pcap.ts';
import { ecpVectors, lldpVectors } from '../fixtures/vectors.ts';
import { guest, guestMac, Wire } from '../pair/wire.ts';

export interface Sample {
  etherType: number;
  payload: Uint8Array;
}

/** By Ethertype. */
type Samples = Record<number, Sample[]>;

export interface Corpus {
  /** Of this link: its identities, VSIs and both sides' words. */
  own: Samples;
  /** Of other links. */
  foreign: Samples;
}

const VSIS = 12;

/**
 * What the station of the pair wants: one and several filters, hints, and of what the dialect knows every filter format that an
 * enforcing port takes.
 */
export function wanted(dialect: DialectName): VsiCommand[] {
  return Array.from({ length: VSIS }, (_, i) => {
    const id = new Uint8Array(16).fill(0xf2);
    id[15] = i + 1;
    const group = i % 3 === 2 && dialect === 'ratified' ? { group: 0x10000 + i } : {};
    const filters = Array.from({ length: i % 4 === 3 ? 3 : 1 }, (_, k) => ({
      mac: guestMac(0x1000 + 16 * i + k),
      vid: 10 + k,
      ...group,
    }));
    const hint = (['none', 'from', 'to'] as const)[i % 3]!;
    const request = i === 4 ? 'preassociate' : i === 5 ? 'reserve' : 'associate';
    return guest(i, request, { idFormat: VSIID_UUID, id, filters, hint });
  });
}

export const ETHERTYPES = [ETHERTYPE_LLDP, ETHERTYPE_ECP, ETHERTYPE_ECP_DRAFT];

export function corpus(dialect: DialectName): Corpus {
  const recorded = captures.flatMap((name) => readCapture(name).map(({ frame }) => frame));
  const vectors = [...lldpVectors, ...ecpVectors].map(({ octets }) => ({
    etherType: (octets[12]! << 8) | octets[13]!,
    payload: octets.subarray(14),
  }));
  return {
    own: distinct([
      ...ownFrames(dialect),
      // The other one's EVB TLV would withdraw this one's with every frame.
      ...ownFrames(dialect === 'draft' ? 'ratified' : 'draft').filter(
        ({ etherType }) => etherType !== ETHERTYPE_LLDP,
      ),
    ]),
    foreign: distinct([...recorded, ...vectors]),
  };
}

/** A pair that comes up, associates, keeps alive, is refused, changes its mind, loses its bridge and says goodbye. */
function ownFrames(protocol: DialectName): Sample[] {
  const common = { protocol, groupIds: true };
  const wire = new Wire(common, { ...common, vsisPerLink: VSIS + 2 }).up().pass(3_000);
  const [first, second] = wanted(protocol);
  for (const command of wanted(protocol)) wire.ask(command);
  wire.pass(12_000);
  for (let i = 0; i < 4; i++)
    wire.ask({ ...first!, id: new Uint8Array(16).fill(i), filters: [{ mac: guestMac(i), vid: 10 }] });
  wire.pass(2_000);
  wire.throwOut(vsiKey(first!));
  wire.give(vsiKey(second!));
  wire.pass(3_000);
  wire.restartBridge().pass(3_000);
  const goodbyes = [...wire.station.shutdown(wire.now), ...wire.bridge.shutdown(wire.now)];
  const last = goodbyes.flatMap((effect) => (effect.kind === 'send' ? [effect.frame] : []));
  return [...wire.frames.map(({ frame }) => frame), ...last];
}

/** Padded as they travel; each once, whatever its ECP sequence number. */
function distinct(samples: readonly Sample[]): Samples {
  const known = new Map<string, Sample>();
  for (const { etherType, payload } of samples) {
    if (!ETHERTYPES.includes(etherType)) continue;
    const without = payload.slice();
    const at = sequenceAt(etherType);
    if (at !== undefined) without.fill(0, at, at + 2);
    known.set(`${etherType} ${toHex(without)}`, { etherType, payload });
  }
  const all = [...known.values()];
  return Object.fromEntries(
    ETHERTYPES.map((etherType) => [etherType, all.filter((sample) => sample.etherType === etherType)]),
  );
}

/** Where the sequence number stands in the payload. */
export function sequenceAt(etherType: number): number | undefined {
  if (etherType === ETHERTYPE_ECP) return 2;
  return etherType === ETHERTYPE_ECP_DRAFT ? 7 : undefined;
}
