import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeFrame,
  encodeFrame,
  NEAREST_BRIDGE,
  NEAREST_CUSTOMER_BRIDGE,
  NEAREST_NON_TPMR_BRIDGE,
} from '../../protocols/ethernet/index.ts';
import { DecodeError, type MacAddress, macFromOctets, toHex } from '../../protocols/octets/index.ts';
import { hex, STATION } from '../fixtures/vectors.ts';

const mac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map(macFromOctets);

describe('Ethernet frames (lldp.md 1)', () => {
  test('padded with zeros to 60 octets, untagged', () => {
    const octets = encodeFrame({
      destination: NEAREST_CUSTOMER_BRIDGE,
      source: STATION,
      etherType: 0x88cc,
      payload: hex('0102'),
    });
    expect(toHex(octets)).toBe(`0180c200000002112233440188cc0102${'00'.repeat(44)}`);
  });

  test('a long frame is not padded', () => {
    const octets = encodeFrame({
      destination: NEAREST_CUSTOMER_BRIDGE,
      source: STATION,
      etherType: 0x8940,
      payload: new Uint8Array(1500).fill(1),
    });
    expect(octets.length).toBe(1514);
  });

  test.each([
    ['priority tag', '8100 e000 88cc 0207', 0],
    ['VLAN 5, priority 7', '8100 e005 88cc 0207', 5],
  ])('lldp.md 1: %s is told apart', (_, tail, vid) => {
    const frame = decodeFrame(hex(`0180c2000000 021122334401 ${tail}`));
    expect(frame).toEqual({
      destination: NEAREST_CUSTOMER_BRIDGE,
      source: STATION,
      etherType: 0x88cc,
      taggedVid: vid,
      payload: hex('0207'),
    });
  });

  test('what was encoded decodes to the same, padding included', () => {
    fc.assert(
      fc.property(
        mac,
        mac,
        fc.nat(0xffff).filter((type) => type !== 0x8100),
        fc.uint8Array({ maxLength: 1500 }),
        (destination: MacAddress, source: MacAddress, etherType, payload) => {
          const octets = encodeFrame({ destination, source, etherType, payload });
          const frame = decodeFrame(octets);
          expect({ ...frame, payload: frame.payload.subarray(0, payload.length) }).toEqual({
            destination,
            source,
            etherType,
            payload,
          });
          expect(frame.payload.subarray(payload.length).every((octet) => octet === 0)).toBe(true);
          expect(encodeFrame(frame)).toEqual(octets);
        },
      ),
    );
  });

  test('any octets: a frame or a DecodeError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (octets) => {
        try {
          expect(decodeFrame(octets).payload.length).toBeLessThanOrEqual(octets.length);
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError);
        }
      }),
    );
  });
});

test('an untagged frame has no taggedVid', () => {
  expect(decodeFrame(new Uint8Array(60))).not.toHaveProperty('taggedVid');
});

test('group addresses (lldp.md 1.1)', () => {
  expect([NEAREST_BRIDGE, NEAREST_NON_TPMR_BRIDGE, NEAREST_CUSTOMER_BRIDGE]).toEqual([
    '01:80:c2:00:00:0e',
    '01:80:c2:00:00:03',
    '01:80:c2:00:00:00',
  ]);
});
