/** What holds for every ECPDU of either dialect, well-formed or not. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ECP_DRAFT, ECP_RATIFIED, type EcpPdu } from '../../protocols/ecp/index.ts';
import { DecodeError } from '../../protocols/octets/index.ts';
import { captures, readCapture } from '../fixtures/pcap.ts';
import { damaged } from '../support/damaged.ts';

describe.each([
  ['ratified', ECP_RATIFIED, 0x8940, 0x3ff],
  ['draft', ECP_DRAFT, 0x88b7, 0xffff],
] as const)('%s', (_, dialect, etherType, subtypeMax) => {
  const number = fc.nat(65535);
  const request: fc.Arbitrary<EcpPdu> = fc.record({
    operation: fc.constant('request' as const),
    subtype: fc.nat(subtypeMax),
    sequence: number,
    ulpdu: fc.uint8Array({ maxLength: dialect.ulpduMax }),
  });
  const recorded = captures.flatMap((name) =>
    readCapture(name)
      .filter(({ frame }) => frame.etherType === etherType)
      .map(({ frame }) => frame.payload),
  );

  test('a request comes back as it was, and fits a frame', () => {
    fc.assert(
      fc.property(request, (pdu) => {
        const octets = dialect.encode(pdu);
        expect(octets.length).toBeLessThanOrEqual(1500);
        expect(dialect.decode(octets)).toMatchObject(pdu);
      }),
    );
  });

  test('the ack of a request names it, carries nothing and is no longer than it', () => {
    fc.assert(
      fc.property(request, (pdu) => {
        const ack = dialect.encodeAck(pdu);
        const { subtype, sequence } = pdu;
        expect(dialect.decode(ack)).toMatchObject({
          operation: 'ack',
          subtype,
          sequence,
          ulpdu: new Uint8Array(),
        });
        expect(ack.length).toBeLessThanOrEqual(dialect.encode(pdu).length);
      }),
    );
  });

  test.each([
    ['any octets', fc.uint8Array({ maxLength: 1500 })],
    ['a generated one, damaged', damaged(request.map((pdu) => dialect.encode(pdu)))],
    ['a recorded one, damaged', damaged(fc.constantFrom(...recorded))],
  ])('%s: a PDU or a DecodeError, and its canonical form is a fixed point', (_kind, any) => {
    fc.assert(
      fc.property(any, (octets) => {
        let pdu: EcpPdu;
        try {
          pdu = dialect.decode(octets);
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError);
          expect((error as DecodeError).offset).toBeLessThanOrEqual(octets.length);
          return;
        }
        const canonical = dialect.encode(pdu);
        expect(dialect.decode(canonical)).toEqual(pdu);
        expect(dialect.encode(dialect.decode(canonical))).toEqual(canonical);
        // What a request carries is there to the last octet; an ack carries nothing.
        if (pdu.operation === 'request') expect(canonical).toEqual(octets);
      }),
      { numRuns: 500 },
    );
  });
});
