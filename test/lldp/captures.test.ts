import { describe, expect, test } from 'vitest';
import { ETHERTYPE_LLDP, encodeFrame, NEAREST_CUSTOMER_BRIDGE } from '../../protocols/ethernet/index.ts';
import { decodeLldpdu, encodeLldpdu } from '../../protocols/lldp-codec/index.ts';
import { toHex } from '../../protocols/octets/index.ts';
import { captures, readCapture } from '../fixtures/pcap.ts';

/** Every LLDP frame that we would write otherwise, and why. lldpad's are all as ours would be. */
const NOT_CANONICAL: Record<string, Record<number, string>> = {};

const lldpFrames = captures.flatMap((name) => {
  const frames = readCapture(name).filter(({ frame }) => frame.etherType === ETHERTYPE_LLDP);
  return frames.length > 0 ? [{ name, frames }] : [];
});

describe('LLDP of every capture', () => {
  test('there are as many as were recorded, ratified and draft', () => {
    const lldpdus = lldpFrames.flatMap(({ frames }) =>
      frames.map(({ frame }) => decodeLldpdu(frame.payload).lldpdu),
    );
    expect(lldpdus.filter(({ evb }) => evb !== undefined).length).toBe(75);
    expect(lldpdus.filter(({ evbDraft }) => evbDraft !== undefined).length).toBe(19);
    expect(lldpdus.length).toBe(75 + 19);
  });

  test.each(lldpFrames)(
    '$name: decodes without a defect, and encodes to the same octets unless listed',
    ({ name, frames }) => {
      for (const { number, frame, octets } of frames) {
        const { lldpdu, defects } = decodeLldpdu(frame.payload);
        expect([number, defects]).toEqual([number, []]);
        expect([frame.destination, lldpdu.ttl]).toEqual([NEAREST_CUSTOMER_BRIDGE, 120]);
        const payload = encodeLldpdu(lldpdu).octets;
        expect(decodeLldpdu(payload).lldpdu).toEqual(lldpdu);
        const same = toHex(encodeFrame({ ...frame, payload })) === toHex(octets);
        expect([number, same ? undefined : 'differs']).toEqual([
          number,
          NOT_CANONICAL[name]?.[number] && 'differs',
        ]);
      }
    },
  );

  test('evb-tlv.md 3.1: the draft TLV of a negotiation that has ended', () => {
    const drafts = readCapture('evb-draft-negotiate').flatMap(({ frame }) =>
      frame.etherType === ETHERTYPE_LLDP ? [decodeLldpdu(frame.payload).lldpdu.evbDraft] : [],
    );
    expect(drafts[0]).toEqual({ smode: 0x40, scap: 7, cmode: 0x40, ccap: 0, svsi: 0, cvsi: 0, rte: 15 });
    expect(drafts[1]).toEqual({ smode: 0x40, scap: 7, cmode: 0x40, ccap: 7, svsi: 3295, cvsi: 0, rte: 15 });
  });
});
