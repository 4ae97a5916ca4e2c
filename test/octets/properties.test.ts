/** What holds for readers, writers and frames, whatever they are given. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeFrame, type EthernetFrame, encodeFrame } from '../../protocols/ethernet/index.ts';
import {
  DecodeError,
  fromHex,
  macFromOctets,
  OctetReader,
  OctetWriter,
  parseMac,
  parseUuid,
  readTlv,
  toHex,
  writeTlv,
} from '../../protocols/octets/index.ts';
import { damaged } from '../support/damaged.ts';

const tlv = fc.record({ type: fc.nat(127), value: fc.uint8Array({ maxLength: 511 }) });

describe('OctetReader', () => {
  type Step = (reader: OctetReader) => unknown;
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.constantFrom<Step[]>(
      (reader) => reader.u8('x'),
      (reader) => reader.u16('x'),
      (reader) => reader.u24('x'),
      (reader) => reader.u32('x'),
      (reader) => readTlv(reader),
    ),
    fc.nat(20).map(
      (length): Step =>
        (reader) =>
          reader.take(length, 'x'),
    ),
    fc.nat(20).map(
      (length): Step =>
        (reader) =>
          reader.sub(length, 'x').rest(),
    ),
  );

  test('whatever is read, nothing comes from beyond the end, and a failed read moves nothing', () => {
    const steps = fc.array(step, { maxLength: 20 });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(60), fc.nat(60), steps, (octets, a, b, reads) => {
        const [start, end] = [Math.min(a, b, octets.length), Math.min(Math.max(a, b), octets.length)];
        const reader = new OctetReader(octets, start, end);
        for (const read of reads) {
          const before = reader.offset;
          try {
            read(reader);
          } catch (error) {
            expect(error).toBeInstanceOf(DecodeError);
            // A TLV whose value lacks has been read up to there.
            expect([before, before + 2]).toContain(reader.offset);
          }
          expect(reader.offset + reader.remaining).toBe(end);
          expect(reader.remaining).toBeGreaterThanOrEqual(0);
        }
        const left = reader.offset;
        expect(reader.rest()).toEqual(octets.slice(left, end));
      }),
    );
  });
});

describe('TLVs', () => {
  const written = fc.array(tlv, { maxLength: 6 }).map((tlvs) => {
    const writer = new OctetWriter();
    for (const { type, value } of tlvs) writeTlv(writer, type, value);
    return { tlvs, octets: writer.finish() };
  });
  const all = (octets: Uint8Array) => {
    const reader = new OctetReader(octets);
    const found = [];
    while (reader.remaining > 0) {
      const { type, value } = readTlv(reader);
      found.push({ type, value: value.rest() });
    }
    return found;
  };

  test('written one after the other they are read one after the other', () => {
    fc.assert(
      fc.property(written, ({ tlvs, octets }) => {
        expect(all(octets)).toEqual(tlvs);
      }),
    );
  });

  test('damaged: TLVs or a DecodeError, and written again they are the same octets', () => {
    fc.assert(
      fc.property(damaged(written.map(({ octets }) => octets)), (octets) => {
        let found: ReturnType<typeof all>;
        try {
          found = all(octets);
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError);
          return;
        }
        const writer = new OctetWriter();
        for (const { type, value } of found) writeTlv(writer, type, value);
        expect(writer.finish()).toEqual(octets);
      }),
      { numRuns: 500 },
    );
  });
});

describe('frames', () => {
  const mac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map(macFromOctets);
  const frame = fc.record({
    destination: mac,
    source: mac,
    etherType: fc.constantFrom(0x88cc, 0x8940, 0x88b7, 0x8100),
    payload: fc.uint8Array({ maxLength: 100 }),
  });

  test('any octets, damaged ones too: a frame or a DecodeError; untagged it is written as it was read', () => {
    const any = fc.oneof(fc.uint8Array({ maxLength: 100 }), damaged(frame.map(encodeFrame)));
    fc.assert(
      fc.property(any, (octets) => {
        let read: EthernetFrame;
        try {
          read = decodeFrame(octets);
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError);
          return;
        }
        expect(read.payload.length).toBe(octets.length - (read.taggedVid === undefined ? 14 : 18));
        if (read.taggedVid === undefined && octets.length >= 60) expect(encodeFrame(read)).toEqual(octets);
      }),
      { numRuns: 500 },
    );
  });
});

describe('what people write', () => {
  test('any text is an address, a UUID, hex digits, or none of them, and what is, comes back', () => {
    const text = fc.oneof(
      fc.string({ maxLength: 40 }),
      fc.stringMatching(/^[0-9a-fA-F:-]{0,40}$/),
      fc.uuid().map((uuid) => uuid.toUpperCase()),
    );
    fc.assert(
      fc.property(text, (written) => {
        const mac = parseMac(written);
        if (mac !== undefined) expect(mac).toBe(written.toLowerCase().replaceAll('-', ':'));
        const uuid = parseUuid(written);
        if (uuid !== undefined) expect(uuid).toBe(written.toLowerCase());
        const octets = fromHex(written);
        if (octets !== undefined) expect(toHex(octets)).toBe(written.toLowerCase());
      }),
      { numRuns: 500 },
    );
  });
});
