/**
 * The stream of hostile frames: a seed, and it is the same to the last octet, but for ECP sequence numbers that are to be near
 * those in use, which only the sender can know (`live`).
 */

import {
  ETHERTYPE_ECP,
  ETHERTYPE_ECP_DRAFT,
  ETHERTYPE_LLDP,
  NEAREST_BRIDGE,
  NEAREST_CUSTOMER_BRIDGE,
  NEAREST_NON_TPMR_BRIDGE,
} from '../../protocols/ethernet/index.ts';
import { CHASSIS_ID_MAC, PORT_ID_MAC } from '../../protocols/lldp-codec/index.ts';
import { type MacAddress, macToOctets } from '../../protocols/octets/index.ts';
import type { DialectName } from '../../src/model.ts';
import { Random } from '../simulation/random.ts';
import { type Corpus, ETHERTYPES, type Sample, sequenceAt, wanted } from './corpus.ts';

/** peer: what the other end of the wire could say; stranger: anybody else; self: what the target said, coming back. */
export type Sender = 'peer' | 'stranger' | 'self';

export interface Mutant {
  octets: Uint8Array;
  /** The sequence number at this octet becomes `delta` more than the target's last request or ack. */
  live?: { at: number; of: 'request' | 'ack'; delta: number };
}

/** The wire as it is: who is at its ends, what they speak. */
export interface Ends {
  target: MacAddress;
  peer: MacAddress;
  dialect: DialectName;
}

const MTU = 1500;
/** Of an octet, and of a word. */
const EDGES = [0, 1, 2, 3, 4, 5, 6, 9, 0x0f, 0x10, 0x20, 0x40, 0x60, 0x7f, 0x80, 0xc0, 0xfe, 0xff];
const KNOWN_TYPES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 127];
const ORGANIZATIONS = [0x0080c20d, 0x0080c20e, 0x001b3f00, 0x001b3f02, 0x00000000, 0x02005e01, 0x0080c2ff];
const GUEST = wanted('ratified')[0]!.filters[0]!.mac!;
const STRANGERS = [
  '02:66:66:66:66:66',
  '02:66:66:66:66:67',
  GUEST,
  '00:00:00:00:00:00',
  'ff:ff:ff:ff:ff:ff',
] as MacAddress[];

interface Tlv {
  type: number;
  /** As the header says; another number of octets may follow. */
  length: number;
  value: number[];
}

/** A payload taken apart as far as it can be. */
interface Parts {
  head: number[];
  tlvs: Tlv[];
  /** From the End TLV, or from where the TLVs cannot be followed. */
  tail: number[];
}

export class Mutator {
  readonly #random: Random;
  readonly #corpus: Corpus;
  readonly #ends: Ends;
  /** Longest TTL of an LLDPDU, in seconds: who is believed for hours keeps the wire for hours. */
  readonly #ttlMax: number;

  constructor(seed: number, stream: number, corpus: Corpus, ends: Ends, ttlMax = 65535) {
    this.#random = new Random(seed, stream);
    this.#corpus = corpus;
    this.#ends = ends;
    this.#ttlMax = ttlMax;
  }

  next(shares: Record<Sender, number>): Mutant {
    const random = this.#random;
    const source = this.#source(shares);
    let { etherType, payload } = this.#sample();
    if (etherType === ETHERTYPE_LLDP && (shares.peer > 0 || random.chance(0.3)) && !random.chance(0.1))
      payload = named(payload, source);
    if (random.chance(0.05)) payload = this.#noise(random.integer(0, MTU));
    else if (!random.chance(0.04)) payload = this.#mutated(etherType, payload);
    if (random.chance(0.01)) etherType = random.pick(ETHERTYPES);
    const header = [...macToOctets(this.#destination(etherType)), ...macToOctets(source)];
    // A priority tag, or a VLAN that is not ours.
    const tag = random.chance(0.02) ? [0x81, 0, random.integer(0, 255), random.pick([0, 0, 1, 10])] : [];
    const front = [...header, ...tag, etherType >> 8, etherType & 0xff];
    const octets = new Uint8Array(
      Math.max(random.chance(0.5) ? 60 : 0, front.length + Math.min(MTU, payload.length)),
    );
    octets.set(front);
    octets.set(payload.subarray(0, MTU), front.length);
    if (etherType === ETHERTYPE_LLDP) this.#limitTtl(octets.subarray(front.length));
    const at = sequenceAt(etherType);
    if (at === undefined || payload.length < at + 2 || !random.chance(0.7)) return { octets };
    const delta = random.pick([0, 0, 1, 1, 1, 2, -1, -2, 100, random.integer(-9, 9)]);
    const isAck = etherType === ETHERTYPE_ECP ? (payload[0]! & 0x0c) === 0x04 : payload[6] === 1;
    return { octets, live: { at: front.length + at, of: isAck ? 'request' : 'ack', delta } };
  }

  #source(shares: Record<Sender, number>): MacAddress {
    const random = this.#random;
    const drawn = random.next() * (shares.peer + shares.stranger + shares.self);
    if (drawn < shares.peer) return this.#ends.peer;
    if (drawn < shares.peer + shares.self) return this.#ends.target;
    if (random.chance(0.6)) return random.pick(STRANGERS);
    const any = Array.from({ length: 6 }, () => random.integer(0, 255).toString(16).padStart(2, '0'));
    return any.join(':') as MacAddress;
  }

  /** What the target's socket filter lets through: else nothing of it would be tried. */
  #destination(etherType: number): MacAddress {
    const usual = etherType === ETHERTYPE_ECP_DRAFT ? NEAREST_BRIDGE : NEAREST_CUSTOMER_BRIDGE;
    if (this.#random.chance(0.9)) return usual;
    const all = [NEAREST_CUSTOMER_BRIDGE, NEAREST_BRIDGE, NEAREST_NON_TPMR_BRIDGE, this.#ends.target];
    return this.#random.pick(all);
  }

  /** Three of four are about this link; the Ethertypes take turns by weight, not by how many samples there are. */
  #sample(): Sample {
    const random = this.#random;
    const spoken = this.#ends.dialect === 'draft' ? ETHERTYPE_ECP_DRAFT : ETHERTYPE_ECP;
    const etherType = random.pick([...ETHERTYPES, ETHERTYPE_LLDP, spoken]);
    const { own, foreign } = this.#corpus;
    const of = ({ [etherType]: samples = [] }: Corpus['own']) => samples;
    return random.chance(0.75) ? random.pick(of(own)) : random.pick(of(foreign));
  }

  #mutated(etherType: number, payload: Uint8Array): Uint8Array {
    const random = this.#random;
    let parts = takeApart(etherType, payload);
    // Few changes get far, many get everywhere.
    for (let count = random.pick([1, 1, 1, 1, 1, 2, 2, 3, 8]); count > 0; count--) {
      if (parts.tlvs.length > 0 && random.chance(0.75)) this.#changeTlvs(etherType, parts);
      else parts = takeApart(etherType, this.#changeOctets(putTogether(parts)));
    }
    return putTogether(parts);
  }

  #changeOctets(octets: Uint8Array): Uint8Array {
    const random = this.#random;
    const at = () => random.integer(0, Math.max(0, octets.length - 1));
    switch (random.integer(0, 6)) {
      case 0:
        for (let bits = random.integer(1, 8); bits > 0 && octets.length > 0; bits--)
          octets[at()]! ^= 1 << random.integer(0, 7);
        return octets;
      case 1:
        if (octets.length > 0) octets[at()] = random.pick(EDGES);
        return octets;
      case 2:
        return octets.slice(0, at());
      case 3: {
        const more = random.pick([1, 2, 3, random.integer(0, 40), MTU]);
        return joined([octets, random.chance(0.5) ? new Uint8Array(more) : this.#noise(more)]);
      }
      case 4: {
        const [from, to] = [at(), at()].sort((a, b) => a - b) as [number, number];
        return joined([octets.subarray(0, from), octets.subarray(to)]);
      }
      case 5: {
        const from = at();
        return joined([octets.subarray(0, from), this.#noise(random.integer(1, 9)), octets.subarray(from)]);
      }
      default: {
        // The head: version, operation, subtype of an ECPDU, or the first TLV header.
        const front = Math.min(octets.length - 1, 8);
        if (front >= 0) octets[random.integer(0, front)] = random.integer(0, 255);
        return octets;
      }
    }
  }

  #changeTlvs(etherType: number, parts: Parts): void {
    const random = this.#random;
    const { tlvs } = parts;
    // Behind the mandatory TLVs of LLDP and the Manager ID of VDP there is more to try.
    const mandatory = etherType === ETHERTYPE_LLDP ? 3 : 1;
    const first = random.chance(0.85) ? Math.min(mandatory, tlvs.length - 1) : 0;
    const at = random.integer(first, tlvs.length - 1);
    const tlv = tlvs[at]!;
    switch (random.integer(0, 10)) {
      case 0:
        tlv.length = random.pick([tlv.length + 1, tlv.length - 1, 0, 1, 511, random.integer(0, 511)]) & 0x1ff;
        break;
      case 1:
        tlv.type = random.pick([...KNOWN_TYPES, random.integer(0, 127)]);
        break;
      case 2: {
        const copies = random.pick([1, 1, 2, 5, 100]);
        tlvs.splice(
          random.integer(first, tlvs.length),
          0,
          ...Array.from({ length: copies }, () => clone(tlv)),
        );
        break;
      }
      case 3:
        tlvs.splice(at, 1);
        break;
      case 4: {
        tlvs.splice(at, 1);
        tlvs.splice(random.integer(first, tlvs.length), 0, tlv);
        break;
      }
      case 5: {
        const type = random.pick([...KNOWN_TYPES, random.integer(0, 127)]);
        const value = [...this.#noise(random.pick([0, 1, 2, 4, 16, 23, 25, 33, random.integer(0, 511)]))];
        if (type === 127 && value.length >= 4) {
          const organization = random.pick(ORGANIZATIONS);
          for (let i = 0; i < 4; i++) value[i] = (organization >>> (24 - 8 * i)) & 0xff;
        }
        tlvs.splice(random.integer(first, tlvs.length), 0, { type, length: value.length, value });
        break;
      }
      case 6: {
        const donor = this.#sample();
        const { tlvs: theirs } = takeApart(donor.etherType, donor.payload);
        if (theirs.length > 0) tlvs.splice(random.integer(0, tlvs.length), 0, clone(random.pick(theirs)));
        break;
      }
      case 7:
      case 8:
        // A field of the value: the length is right.
        if (tlv.value.length > 0) tlv.value[random.integer(0, tlv.value.length - 1)] = random.pick(EDGES);
        break;
      case 9: {
        // Its length with it.
        const length = random.integer(0, tlv.value.length);
        tlv.value = random.chance(0.5)
          ? tlv.value.slice(0, length)
          : [...tlv.value, ...this.#noise(random.pick([1, 2, 4, 8, 12, 100]))].slice(0, 511);
        tlv.length = tlv.value.length;
        break;
      }
      default:
        if (etherType === ETHERTYPE_LLDP) tlvs.push(...tlvs.splice(first).reverse());
        else this.#changeVsi(tlv);
    }
  }

  /** Fields of a VSI TLV of either dialect that decide how it is read: request, status, formats, count; and which VSI it is. */
  #changeVsi(tlv: Tlv): void {
    const random = this.#random;
    if (tlv.type <= 4) {
      tlv.type = random.integer(1, 4);
      const field = random.pick([0, 0, 5, 21, 22, 23, 24]);
      if (field < tlv.value.length) tlv.value[field] = random.pick(EDGES);
    } else if (tlv.type === 127) {
      const field = random.pick([4, 5, 6, 26, 27, 28, 29]);
      if (field < tlv.value.length) tlv.value[field] = random.pick(EDGES);
    }
  }

  /** Of an LLDPDU whose first three TLVs stand. */
  #limitTtl(payload: Uint8Array): void {
    const { tlvs } = takeApart(ETHERTYPE_LLDP, payload);
    const at = 2 + (tlvs[0]?.length ?? 0) + 2 + (tlvs[1]?.length ?? 0) + 2;
    const ttl = (payload[at]! << 8) | payload[at + 1]!;
    if (tlvs[2]?.type !== 3 || tlvs[2].length < 2 || ttl <= this.#ttlMax) return;
    payload[at] = 0;
    payload[at + 1] = 1 + (ttl % this.#ttlMax);
  }

  #noise(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.#random.integer(0, 255));
  }
}

/**
 * An LLDPDU of who sends it. Else most are passed over: neighbours are few, and where the peer is not known for a moment a
 * stranger who tells its name is believed to be it.
 */
function named(payload: Uint8Array, source: MacAddress): Uint8Array {
  const parts = takeApart(ETHERTYPE_LLDP, payload);
  const name = (type: number, subtype: number): Tlv => ({
    type,
    length: 7,
    value: [subtype, ...macToOctets(source)],
  });
  parts.tlvs.splice(0, 2, name(1, CHASSIS_ID_MAC), name(2, PORT_ID_MAC));
  return putTogether(parts);
}

const HEADS: Record<number, number> = { [ETHERTYPE_ECP]: 4, [ETHERTYPE_ECP_DRAFT]: 9 };

function takeApart(etherType: number, payload: Uint8Array): Parts {
  const head = HEADS[etherType] ?? 0;
  const parts: Parts = { head: [...payload.subarray(0, head)], tlvs: [], tail: [] };
  let at = head;
  while (at + 2 <= payload.length) {
    const word = (payload[at]! << 8) | payload[at + 1]!;
    const [type, length] = [word >> 9, word & 0x1ff];
    if (type === 0 || at + 2 + length > payload.length) break;
    parts.tlvs.push({ type, length, value: [...payload.subarray(at + 2, at + 2 + length)] });
    at += 2 + length;
  }
  parts.tail = [...payload.subarray(Math.min(at, payload.length))];
  return parts;
}

function putTogether({ head, tlvs, tail }: Parts): Uint8Array {
  const octets = [...head];
  for (const { type, length, value } of tlvs) {
    if (octets.length > MTU) break;
    octets.push(((type << 1) | (length >> 8)) & 0xff, length & 0xff, ...value);
  }
  return Uint8Array.from([...octets, ...tail].slice(0, MTU));
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(pieces.flatMap((piece) => [...piece]));
}

function clone({ type, length, value }: Tlv): Tlv {
  return { type, length, value: [...value] };
}
