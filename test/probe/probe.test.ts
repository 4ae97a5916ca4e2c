import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { decodeFrame } from '../../protocols/ethernet/index.ts';
import { type MacAddress, toHex } from '../../protocols/octets/index.ts';
import {
  decodeTestFrame,
  encodeTestFrame,
  NONCE_LENGTH,
  NONCE_OFFSET,
  throwAwayAddress,
} from '../../src/probe/frame.ts';
import { Probe } from '../../src/probe/probe.ts';
import { probeReport } from '../../src/runtime/status.ts';

const OWN = '52:54:00:00:00:01' as MacAddress;
const LEFT = '02:00:00:00:00:0a' as MacAddress;
const RIGHT = '02:00:00:00:00:0b' as MacAddress;
const NONCE = Uint8Array.from({ length: NONCE_LENGTH }, (_, i) => i + 1);

describe('a test frame', () => {
  const frame = encodeTestFrame({ source: LEFT, destination: RIGHT, nonce: NONCE, sequence: 0x01020304 });
  const tagged = (tci: number) =>
    Uint8Array.of(...frame.subarray(0, 12), 0x81, 0x00, tci >> 8, tci & 0xff, ...frame.subarray(12));

  it('has these octets', () => {
    expect(toHex(frame)).toBe(
      [
        '02000000000b02000000000a88b5',
        '65766270726f6265', // evbprobe
        '0102030405060708090a0b0c0d0e0f10',
        '01020304',
      ]
        .join('')
        .padEnd(120, '0'),
    );
    expect(frame.subarray(NONCE_OFFSET, NONCE_OFFSET + NONCE_LENGTH)).toEqual(NONCE);
  });

  it('is known again, also by a bridge that has tagged it', () => {
    expect(decodeTestFrame(frame, NONCE)).toEqual({ sequence: 0x01020304 });
    expect(decodeTestFrame(tagged(0xe00a), NONCE)).toEqual({ sequence: 0x01020304, taggedVid: 10 });
  });

  it('counts in its own probe only', () => {
    for (let i = 0; i < NONCE_LENGTH; i++) {
      const other = Uint8Array.from(NONCE);
      other[i]! ^= 0x80;
      expect(decodeTestFrame(frame, other)).toBeUndefined();
    }
  });

  it('is nothing else: an octet of Ethertype or magic changed, or an end too early', () => {
    for (let i = 12; i < NONCE_OFFSET; i++) {
      const other = Uint8Array.from(frame);
      other[i]! ^= 1;
      expect(decodeTestFrame(other, NONCE)).toBeUndefined();
    }
    for (let length = 0; length < NONCE_OFFSET + NONCE_LENGTH + 4; length++)
      expect(decodeTestFrame(frame.subarray(0, length), NONCE)).toBeUndefined();
  });

  it('may be any octets: that is no error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (octets) => {
        expect(decodeTestFrame(octets, NONCE)).toBeUndefined();
      }),
    );
  });

  it('goes between addresses that nobody was given, of single stations', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (random) => {
        const hex = toHex(random);
        const mac = throwAwayAddress(random);
        expect(mac.replaceAll(':', '')).toBe(`${hex[0]}2${hex.slice(2)}`);
      }),
    );
  });
});

interface Going {
  at: number;
  octets: Uint8Array;
  source: MacAddress;
  destination: MacAddress;
  sequence: number;
}

/** What a network does with a frame: when it comes back, after so many milliseconds each time. */
type Network = (frame: Going) => number[];

/** Runs a probe to its end on a network. */
function run(network: Network, vid?: number): { probe: Probe; sent: Going[]; ended: number } {
  let now = 1_000;
  const probe = new Probe({ own: OWN, addresses: [LEFT, RIGHT], nonce: NONCE }, now);
  const sent: Going[] = [];
  let coming: { at: number; octets: Uint8Array }[] = [];
  for (let steps = 0; !probe.done; steps++) {
    if (steps > 10_000) throw new Error('it does not end');
    now = Math.max(now, Math.min(probe.nextDeadline(), ...coming.map(({ at }) => at)));
    for (const { octets } of coming.filter(({ at }) => at <= now)) probe.receive(octets, vid, now);
    coming = coming.filter(({ at }) => at > now);
    const octets = probe.advance(now);
    if (octets === undefined) continue;
    const { source, destination } = decodeFrame(octets);
    const frame = { at: now, octets, source, destination, ...decodeTestFrame(octets, NONCE)! };
    sent.push(frame);
    coming.push(...network(frame).map((delay) => ({ at: now + delay, octets })));
  }
  expect(probe.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  expect(probe.advance(now + 10_000)).toBeUndefined();
  return { probe, sent, ended: now - 1_000 };
}

const NOTHING: Network = () => [];

/** A bridge that learns; `reflects` may depend on the frame. */
function bridge(reflects: boolean, admits: (frame: Going) => boolean = () => true): Network {
  return (frame) => (reflects && admits(frame) ? [0.5] : []);
}

describe('a probe', () => {
  it('makes both addresses known, then tries both ways', () => {
    const { sent, ended } = run(bridge(true));
    const there = [LEFT, RIGHT];
    const back = [RIGHT, LEFT];
    const tests = [there, back, there, back, there, back, there, back, there, back];
    expect(sent.map(({ source, destination }) => [source, destination])).toEqual([back, there, ...tests]);
    expect(sent.map(({ sequence }) => sequence)).toEqual(sent.map((_, i) => i));
    expect(sent.map(({ at }) => at - 1_000)).toEqual(sent.map((_, i) => i * 20));
    expect(ended).toBe(12 * 20 + 200);
  });

  it('that gets everything back', () => {
    expect(run(bridge(true)).probe.outcome()).toEqual({
      reflects: true,
      enforced: false,
      sent: 10,
      received: 10,
      duplicates: 0,
      vlan: 0,
      latencies: Array(10).fill(0.5),
    });
  });

  it('that gets nothing back tries its own address, and waits each time', () => {
    const { probe, sent, ended } = run(NOTHING);
    expect(sent).toHaveLength(22);
    expect(sent.slice(12).every(({ source, destination }) => source === OWN && destination === RIGHT)).toBe(
      true,
    );
    expect(ended).toBe(12 * 20 + 1_000 + 10 * 20 + 1_000);
    expect(probe.outcome()).toEqual({
      reflects: false,
      enforced: false,
      sent: 20,
      received: 0,
      duplicates: 0,
      vlan: 0,
      latencies: [],
    });
  });

  it('of a bridge that lets in only known addresses', () => {
    const enforcing = bridge(true, ({ source }) => source === OWN);
    expect(run(enforcing).probe.outcome()).toMatchObject({
      reflects: true,
      enforced: true,
      sent: 10,
      received: 10,
    });
  });

  it('that loses some waits for them, and tries no other address', () => {
    const { probe, sent, ended } = run(({ sequence }) => (sequence % 3 === 0 ? [] : [sequence]));
    expect(sent).toHaveLength(12);
    expect(ended).toBe(12 * 20 + 1_000);
    expect(probe.outcome()).toMatchObject({ reflects: true, sent: 10, received: 7 });
    expect(probe.outcome().latencies).toEqual([2, 4, 5, 7, 8, 10, 11]);
  });

  it('that gets back only what was flooded is not reflected, and not by an enforcing bridge', () => {
    const { probe, sent } = run(({ sequence }) => (sequence === 0 ? [1, 2] : []));
    expect(sent).toHaveLength(12);
    expect(probe.outcome()).toMatchObject({ reflects: false, enforced: false, received: 0, duplicates: 1 });
  });

  it('that gets an answer after it has given up on it takes it for what it is', () => {
    const late: Network = ({ sequence }) => (sequence === 2 ? [1_250] : []);
    expect(run(late).probe.outcome()).toMatchObject({
      reflects: true,
      enforced: false,
      sent: 10,
      received: 1,
    });
  });

  it('counts what comes back again, with the time of the first', () => {
    const { probe } = run(() => [1, 3, 40]);
    expect(probe.outcome()).toMatchObject({ received: 10, duplicates: 24, latencies: Array(10).fill(1) });
  });

  it('is over when copies have no end', () => {
    const { probe, sent } = run(() => Array.from({ length: 1_000 }, (_, i) => 1 + i / 100));
    expect(sent).toHaveLength(1);
    expect(probe.outcome()).toMatchObject({ reflects: false, sent: 0, duplicates: 100 });
  });

  it('says with which tag frames come back', () => {
    expect(run(bridge(true), 10).probe.outcome().vlan).toBe(10);
    expect(run(bridge(true), 0).probe.outcome().vlan).toBe(0);
  });

  it('does not count what it never sent, or could not', () => {
    const probe = new Probe({ own: OWN, addresses: [LEFT, RIGHT], nonce: NONCE }, 0);
    const frame = (sequence: number) =>
      encodeTestFrame({ source: LEFT, destination: RIGHT, nonce: NONCE, sequence });
    for (const sequence of [0, 5, 22, 0xffffffff]) probe.receive(frame(sequence), undefined, 1);
    for (let at = 0; probe.advance(at) !== undefined; at += 20) if (at > 20) probe.notSent();
    for (let sequence = 2; sequence < 12; sequence++) probe.receive(frame(sequence), undefined, 250);
    expect(probe.outcome()).toMatchObject({ reflects: false, sent: 0, received: 0, duplicates: 0 });
  });

  it('ends in time, whatever the network does', () => {
    const fate = fc.array(fc.double({ min: 0, max: 3_000, noNaN: true }), { maxLength: 3 });
    fc.assert(
      fc.property(fc.array(fate, { minLength: 22, maxLength: 22 }), (fates) => {
        const { probe, sent, ended } = run(({ sequence }) => fates[sequence]!);
        const { received, sent: tests, latencies, reflects } = probe.outcome();
        expect(ended).toBeLessThanOrEqual(2_440);
        expect(sent.length).toBeLessThanOrEqual(22);
        expect(received).toBe(latencies.length);
        expect(received).toBeLessThanOrEqual(tests);
        expect(reflects).toBe(received > 0);
        expect(latencies).toEqual([...latencies].sort((a, b) => a - b));
      }),
    );
  });
});

test.each<[number[], object]>([
  [[], {}],
  [[3], { latencyMin: 0.003, latencyMedian: 0.003, latencyMax: 0.003 }],
  [[1, 2, 6], { latencyMin: 0.001, latencyMedian: 0.002, latencyMax: 0.006 }],
  [[1, 2, 6, 50], { latencyMin: 0.001, latencyMedian: 0.004, latencyMax: 0.05 }],
])('the latencies %j are told in seconds', (latencies, told) => {
  const outcome = { reflects: true, enforced: false, sent: 4, received: 4, duplicates: 0, vlan: 0 };
  const addresses = [LEFT, RIGHT];
  expect(probeReport('eth1', { ...outcome, latencies }, addresses, 'active')).toEqual({
    ...{ link: 'eth1', relay: 'active', addresses },
    ...outcome,
    ...told,
  });
});
