/** What holds for every LLDPDU, well-formed or not. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeEvbDraftTlv,
  decodeEvbTlv,
  decodeLldpdu,
  encodeEvbDraftTlv,
  encodeEvbTlv,
  encodeLldpdu,
  type Lldpdu,
  LldpduError,
  msap,
} from '../../protocols/lldp-codec/index.ts';
import { OctetReader } from '../../protocols/octets/index.ts';
import { captures, readCapture } from '../fixtures/pcap.ts';
import { damaged } from '../support/damaged.ts';

const octets = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const read = <T>(decode: (reader: OctetReader) => T, from: Uint8Array) => decode(new OctetReader(from));
const identifier = fc.record({
  subtype: fc.nat(255),
  id: fc.uint8Array({ minLength: 1, maxLength: 255 }),
});
const text = fc.string({ unit: 'binary', maxLength: 300 });
const lldpdu: fc.Arbitrary<Lldpdu> = fc.record(
  {
    chassisId: identifier,
    portId: identifier,
    ttl: fc.nat(65535),
    evb: octets(5).map((from) => read(decodeEvbTlv, from)),
    evbDraft: octets(9).map((from) => read(decodeEvbDraftTlv, from)),
    portDescription: text,
    systemName: text,
    systemDescription: text,
    capabilities: fc.record({ supported: fc.nat(65535), enabled: fc.nat(65535) }),
    others: fc.array(
      fc.record({ type: fc.integer({ min: 9, max: 126 }), value: fc.uint8Array({ maxLength: 511 }) }),
      { maxLength: 4 },
    ),
  },
  { requiredKeys: ['chassisId', 'portId', 'ttl', 'others'] },
);
const encoded = lldpdu.map((value) => encodeLldpdu(value).octets);
const recorded = captures.flatMap((name) =>
  readCapture(name)
    .filter(({ frame }) => frame.etherType === 0x88cc)
    .map(({ frame }) => frame.payload),
);

describe('LLDPDU', () => {
  test.each([
    ['any octets', fc.uint8Array({ maxLength: 1500 })],
    ['a generated one, damaged', damaged(encoded)],
    ['a recorded one, damaged', damaged(fc.constantFrom(...recorded))],
  ])('%s: read, or refused with what is to be counted; its canonical form is a fixed point', (_, any) => {
    fc.assert(
      fc.property(any, (input) => {
        let decoded: ReturnType<typeof decodeLldpdu>;
        try {
          decoded = decodeLldpdu(input);
        } catch (error) {
          expect(error).toBeInstanceOf(LldpduError);
          const { counters, offset } = error as LldpduError;
          expect(counters).toContain('statsFramesDiscardedTotal');
          expect(offset).toBeLessThanOrEqual(input.length);
          return;
        }
        for (const { counters, offset } of decoded.defects) {
          expect(counters.length).toBeGreaterThan(0);
          expect(offset).toBeLessThan(input.length);
        }
        const canonical = encodeLldpdu(decoded.lldpdu, 65535).octets;
        const again = decodeLldpdu(canonical).lldpdu;
        expect(encodeLldpdu(again, 65535).octets).toEqual(canonical);
        expect(msap(again)).toBe(msap(decoded.lldpdu));
      }),
      { numRuns: 500 },
    );
  });

  test('fits the frame it is made for, and what was left out is counted', () => {
    fc.assert(
      fc.property(lldpdu, fc.integer({ min: 540, max: 1500 }), (value, maximum) => {
        const whole = encodeLldpdu(value, 65535);
        const fitted = encodeLldpdu(value, maximum);
        expect(whole.dropped).toBe(0);
        expect(fitted.octets.length).toBeLessThanOrEqual(maximum);
        if (whole.octets.length <= maximum) expect(fitted).toEqual(whole);
        const count = (from: Uint8Array) => tlvsOf(from).length;
        expect(count(fitted.octets) + fitted.dropped).toBe(count(whole.octets));
        const { chassisId, portId, ttl } = decodeLldpdu(fitted.octets).lldpdu;
        expect({ chassisId, portId, ttl }).toEqual({
          chassisId: value.chassisId,
          portId: value.portId,
          ttl: value.ttl,
        });
      }),
    );
  });

  test('a name that is too long is cut between characters', () => {
    fc.assert(
      fc.property(text, (systemName) => {
        const mandatory = {
          chassisId: { subtype: 4, id: new Uint8Array(6) },
          portId: { subtype: 3, id: new Uint8Array(6) },
        };
        const { lldpdu } = decodeLldpdu(
          encodeLldpdu({ ...mandatory, ttl: 1, systemName, others: [] }).octets,
        );
        expect(systemName.startsWith(lldpdu.systemName!)).toBe(true);
        const cut =
          new TextEncoder().encode(systemName).length - new TextEncoder().encode(lldpdu.systemName).length;
        if (cut > 0) expect(new TextEncoder().encode(lldpdu.systemName).length).toBeGreaterThan(255 - 4);
      }),
    );
  });

  test('what stands behind the End TLV is padding', () => {
    fc.assert(
      fc.property(encoded, fc.uint8Array({ maxLength: 46 }), (from, padding) => {
        expect(decodeLldpdu(Uint8Array.of(...from, ...padding))).toEqual(decodeLldpdu(from));
      }),
    );
  });
});

describe('EVB TLVs', () => {
  test('ratified: every octet string is a TLV, and comes back without its reserved bits', () => {
    fc.assert(
      fc.property(octets(5), (from) => {
        const meaningful = from.map((octet, i) => octet & [0x07, 0x0f, 0xff, 0xff, 0x3f][i]!);
        expect(encodeEvbTlv(read(decodeEvbTlv, from))).toEqual(meaningful);
      }),
    );
  });

  test('draft: every octet string is a TLV, and comes back', () => {
    fc.assert(
      fc.property(octets(9), (from) => {
        expect(encodeEvbDraftTlv(read(decodeEvbDraftTlv, from))).toEqual(from);
      }),
    );
  });
});

function tlvsOf(from: Uint8Array): number[] {
  const types: number[] = [];
  for (let at = 0; at < from.length; ) {
    types.push(from[at]! >> 1);
    at += 2 + (((from[at]! & 1) << 8) | from[at + 1]!);
  }
  return types;
}
