import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeEcpdu, ECP_ULPDU_MAX, type Ecpdu, encodeEcpdu } from '../../protocols/ecp/index.ts';
import {
  decodeFrame,
  ETHERTYPE_ECP,
  encodeFrame,
  FRAME_MAX,
  NEAREST_CUSTOMER_BRIDGE,
} from '../../protocols/ethernet/index.ts';
import { DecodeError, toHex } from '../../protocols/octets/index.ts';
import { decodeVdp, encodeVdp, encodeVsi } from '../../protocols/vdp/index.ts';
import { ecpVectors, hex } from '../fixtures/vectors.ts';

describe('vectors.md V7 to V15', () => {
  test.each(ecpVectors)('$name: octets to value', ({ octets, source, operation, sequence, vdp }) => {
    const frame = decodeFrame(octets);
    expect(frame).toMatchObject({ destination: NEAREST_CUSTOMER_BRIDGE, source, etherType: ETHERTYPE_ECP });
    const ecpdu = decodeEcpdu(frame.payload);
    expect(ecpdu).toMatchObject({ version: 1, operation, subtype: 1, sequence });
    if (vdp === undefined) expect(ecpdu.ulpdu.length).toBe(0);
    else expect(decodeVdp(ecpdu.ulpdu)).toEqual({ ...vdp, invalid: [], unknown: [] });
  });

  test.each(ecpVectors)('$name: value to octets', ({ octets, source, operation, sequence, vdp, endTlv }) => {
    const ulpdu = vdp ? encodeVdp(vdp.manager, vdp.vsis.map(encodeVsi)) : new Uint8Array();
    const payload = encodeEcpdu({ version: 1, operation, subtype: 1, sequence, ulpdu });
    const frame = encodeFrame({
      destination: NEAREST_CUSTOMER_BRIDGE,
      source,
      etherType: ETHERTYPE_ECP,
      payload,
    });
    expect(toHex(frame)).toBe(toHex(octets) + (vdp && !endTlv ? '0000' : ''));
  });
});

describe('ECPDU (ecp.md 1.1, 1.4)', () => {
  test.each([
    ['shorter than its header', '1001 01'],
    ['empty', ''],
    ['vectors.md V20: version 2', '2001 0101 0a10'],
    ['version 0', '0001 0101'],
    ['reserved operation 2', '1801 0101'],
    ['reserved operation 3', '1c01 0101'],
  ])('%s is refused', (_, octets) => expect(() => decodeEcpdu(hex(octets))).toThrow(DecodeError));

  test('an ack needs no padding, and what stands behind its header is none of it', () => {
    expect(decodeEcpdu(hex('1401 0101'))).toEqual(decodeEcpdu(hex('1401 0101 0a10 ffff')));
  });

  test('any subtype and sequence number is read, 0 included', () => {
    expect(decodeEcpdu(hex('13ff 0000'))).toMatchObject({ subtype: 1023, sequence: 0, operation: 'request' });
  });

  test('the largest ULPDU and its End TLV make the largest frame', () => {
    const ecpdu = encodeEcpdu({
      version: 1,
      operation: 'request',
      subtype: 1,
      sequence: 1,
      ulpdu: new Uint8Array(ECP_ULPDU_MAX + 2),
    });
    expect(14 + ecpdu.length).toBe(FRAME_MAX);
  });

  const ecpdu: fc.Arbitrary<Ecpdu> = fc.oneof(
    fc.record({
      version: fc.constant(1),
      operation: fc.constant('request' as const),
      subtype: fc.nat(1023),
      sequence: fc.nat(65535),
      ulpdu: fc.uint8Array({ maxLength: 100 }),
    }),
    fc.record({
      version: fc.constant(1),
      operation: fc.constant('ack' as const),
      subtype: fc.nat(1023),
      sequence: fc.nat(65535),
      ulpdu: fc.constant(new Uint8Array()),
    }),
  );

  test('a generated ECPDU encodes and decodes to itself', () => {
    fc.assert(
      fc.property(ecpdu, (value) => {
        expect(decodeEcpdu(encodeEcpdu(value))).toEqual(value);
      }),
    );
  });

  test('any octets: an ECPDU or a DecodeError, and its canonical form is a fixed point', () => {
    // Half of them with a header that is good, so that they get further.
    const octets = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.uint8Array({ maxLength: 40 }).map((tail) => Uint8Array.of(0x10, 1, ...tail)),
    );
    fc.assert(
      fc.property(octets, (input) => {
        let value: Ecpdu;
        try {
          value = decodeEcpdu(input);
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError);
          return;
        }
        const canonical = encodeEcpdu(value);
        expect(encodeEcpdu(decodeEcpdu(canonical))).toEqual(canonical);
      }),
    );
  });
});
