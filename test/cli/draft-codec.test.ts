import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { decodeEcpDraftPdu, encodeEcpDraftPdu } from '../../protocols/ecp/index.ts';
import {
  decodeFrame,
  ETHERTYPE_ECP_DRAFT,
  encodeFrame,
  NEAREST_BRIDGE,
} from '../../protocols/ethernet/index.ts';
import { DecodeError, type MacAddress } from '../../protocols/octets/index.ts';
import {
  decodeVdpDraft,
  encodeVdpDraft,
  encodeVsiDraft,
  VDP_DRAFT_PAIRS_MAX,
  type VsiDraftTlv,
} from '../../protocols/vdp/index.ts';
import { captures, readCapture } from '../fixtures/pcap.ts';
import { BRIDGE, hex, STATION, UUID_OCTETS } from '../fixtures/vectors.ts';

const mac = (last: string) => `52:54:00:0a:0b:${last}` as MacAddress;

/** vectors.md V16, V17 */
const vectors: {
  name: string;
  octets: Uint8Array;
  source: MacAddress;
  sequence: number;
  vsi: VsiDraftTlv;
}[] = [
  {
    name: 'V16 Associate, sequence 1',
    octets: hex(`0180c200000e 021122334401 88b7 001b3f 00 0000 00 0001 fe26 001b3f 02 02 00 0c 123456 21
      9d3f1c2075b14e0ea4c66b1f20d7e359 02 0001 5254000a0b0c 002a 0000`),
    source: STATION,
    sequence: 1,
    vsi: {
      request: 'associate',
      response: 0,
      manager: 12,
      type: 0x123456,
      typeVersion: 0x21,
      id: UUID_OCTETS,
      filters: [{ mac: mac('0c'), vid: 42 }],
    },
  },
  {
    name: 'V17 DeAssociate from the switch, two entries, sequence 9',
    octets: hex(`0180c200000e 021122334481 88b7 001b3f 00 0000 00 0009 fe2e 001b3f 02 03 04 01 000102 07
      9d3f1c2075b14e0ea4c66b1f20d7e359 02 0002 5254000a0b0c 002a 5254000a0b0d 002b 0000`),
    source: BRIDGE,
    sequence: 9,
    vsi: {
      request: 'deassociate',
      response: 4,
      manager: 1,
      type: 0x000102,
      typeVersion: 7,
      id: UUID_OCTETS,
      filters: [
        { mac: mac('0c'), vid: 42 },
        { mac: mac('0d'), vid: 43 },
      ],
    },
  },
];

describe('draft ECP and VDP', () => {
  test.each(vectors)('$name', ({ octets, source, sequence, vsi }) => {
    const frame = decodeFrame(octets);
    const ecpdu = decodeEcpDraftPdu(frame.payload);
    expect(ecpdu).toMatchObject({ operation: 'request', subtype: 0, sequence });
    expect(decodeVdpDraft(ecpdu.ulpdu)).toEqual({ vsis: [vsi], invalid: [], unknown: [] });
    const payload = encodeEcpDraftPdu({
      operation: 'request',
      subtype: 0,
      sequence,
      ulpdu: encodeVdpDraft([encodeVsiDraft(vsi)]),
    });
    expect(
      encodeFrame({ destination: NEAREST_BRIDGE, source, etherType: ETHERTYPE_ECP_DRAFT, payload }),
    ).toEqual(octets);
  });

  test('an ack carries nothing', () => {
    const ack = hex('001b3f 00 0000 01 0001 ffffff');
    expect(decodeEcpDraftPdu(ack)).toEqual({
      operation: 'ack',
      subtype: 0,
      sequence: 1,
      ulpdu: new Uint8Array(),
    });
  });

  test.each([
    ['another OUI (V20)', '001b40 00 0000 00 0001', 0],
    ['another protocol', '001b3f 01 0000 00 0001', 3],
    ['an unknown mode', '001b3f 00 0000 02 0001', 6],
    ['half a header', '001b3f 00 0000 00 00', 7],
  ])('%s', (_, octets, offset) => {
    expect(() => decodeEcpDraftPdu(hex(octets))).toThrow(
      expect.objectContaining({ name: 'DecodeError', offset }),
    );
  });

  test('every recorded request survives decoding and encoding', () => {
    let seen = 0;
    for (const name of captures) {
      for (const { frame } of readCapture(name)) {
        if (frame.etherType !== ETHERTYPE_ECP_DRAFT) continue;
        const ecpdu = decodeEcpDraftPdu(frame.payload);
        const vdp = decodeVdpDraft(ecpdu.ulpdu);
        expect(vdp).toMatchObject({ invalid: [], unknown: [] });
        if (ecpdu.operation === 'ack') continue;
        const again = encodeVdpDraft(vdp.vsis.map(encodeVsiDraft));
        expect(ecpdu.ulpdu.subarray(0, again.length)).toEqual(again);
        seen += vdp.vsis.length;
      }
    }
    expect(seen).toBeGreaterThan(10);
  });

  test('what cannot be read is set aside, the others stand', () => {
    const good = encodeVdpDraft([encodeVsiDraft(vectors[0]!.vsi)]);
    const spoil = (at: number, value: number) => {
      const copy = good.slice(0, -2);
      copy[at] = value;
      return copy;
    };
    const octets = Uint8Array.from(
      Buffer.concat([
        spoil(6, 4), // mode
        spoil(29, 1), // format (V20)
        spoil(31, 0), // no entries
        spoil(31, 2), // more entries than octets
        spoil(5, 9), // another subtype of the OUI
        good,
      ]),
    );
    const { vsis, invalid, unknown } = decodeVdpDraft(octets);
    expect(vsis).toEqual([vectors[0]!.vsi]);
    expect(unknown).toHaveLength(1);
    expect(invalid.map(({ reason, offset }) => [reason, offset])).toEqual([
      ['unknown mode 4', 6],
      ['filter format 1, not MAC/VID', 40 + 29],
      ['0 MAC/VID pairs in 8 octets', 80 + 30],
      ['2 MAC/VID pairs in 8 octets', 120 + 30],
    ]);
  });

  test('as many pairs as fit', () => {
    const vsi = { ...vectors[0]!.vsi, filters: Array(VDP_DRAFT_PAIRS_MAX).fill({ mac: mac('0c'), vid: 1 }) };
    expect(VDP_DRAFT_PAIRS_MAX).toBe(60);
    expect(decodeVdpDraft(encodeVdpDraft([encodeVsiDraft(vsi)])).vsis).toEqual([vsi]);
    expect(() => encodeVsiDraft({ ...vsi, filters: [...vsi.filters, vsi.filters[0]] })).toThrow(RangeError);
  });

  test('no octets make them throw anything but DecodeError', () => {
    const only = (decode: (octets: Uint8Array) => unknown, octets: Uint8Array) => {
      try {
        decode(octets);
      } catch (error) {
        expect(error).toBeInstanceOf(DecodeError);
      }
    };
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (octets) => {
        only(decodeEcpDraftPdu, octets);
        only(decodeVdpDraft, octets);
        only(decodeVdpDraft, Buffer.concat([hex('fe26001b3f02'), octets]));
      }),
    );
  });
});
