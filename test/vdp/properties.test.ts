/** What holds for every VDP PDU of either dialect, well-formed or not. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ECP_DRAFT, ECP_RATIFIED } from '../../protocols/ecp/index.ts';
import { DecodeError, macFromOctets, toHex } from '../../protocols/octets/index.ts';
import {
  decodeVdp,
  decodeVdpDraft,
  encodeInvalidFormat,
  encodeVdp,
  encodeVdpDraft,
  encodeVsi,
  encodeVsiDraft,
  type FilterEntry,
  filterEntriesMax,
  filterFormatOf,
  filtersMatch,
  invalidFormatAnswer,
  VDP_DRAFT_PAIRS_MAX,
  VDP_RATIFIED,
  type VdpRequest,
  type VsiDraftTlv,
  type VsiTlv,
  vdpDraft,
  vsiKey,
  vsiName,
  withAssignedVids,
} from '../../protocols/vdp/index.ts';
import { captures, readCapture } from '../fixtures/pcap.ts';
import { damaged } from '../support/damaged.ts';

const octets = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const request = fc.constantFrom<VdpRequest>('preassociate', 'reserve', 'associate', 'deassociate');
const mac = octets(6).map(macFromOctets);

function entry(format: number): fc.Arbitrary<FilterEntry> {
  return fc
    .record({ vid: fc.nat(4095), mac, group: fc.nat(0xffffffff), pcp: fc.option(fc.nat(7)) })
    .map(({ vid, mac, group, pcp }) => ({
      vid,
      ...(format === 2 || format === 4 ? { mac } : {}),
      ...(format >= 3 ? { group } : {}),
      ...(pcp === null ? {} : { pcp }),
    }));
}

const vsi: fc.Arbitrary<VsiTlv> = fc.integer({ min: 1, max: 4 }).chain((filterFormat) =>
  fc.record({
    request,
    status: fc.nat(255),
    type: fc.nat(0xffffff),
    typeVersion: fc.nat(255),
    idFormat: fc.nat(255),
    id: octets(16),
    filterFormat: fc.constant(filterFormat),
    filters: fc.array(entry(filterFormat), {
      minLength: 1,
      maxLength: filterEntriesMax(filterFormat),
      size: 'small',
    }),
  }),
);
const pdu = fc
  .tuple(octets(16), fc.array(vsi, { maxLength: 4 }))
  .map(([manager, vsis]) => encodeVdp(manager, vsis.map(encodeVsi)));

const vsiDraft: fc.Arbitrary<VsiDraftTlv> = fc.record({
  request,
  response: fc.nat(6),
  manager: fc.nat(255),
  type: fc.nat(0xffffff),
  typeVersion: fc.nat(255),
  id: octets(16),
  filters: fc.array(fc.record({ mac, vid: fc.nat(4095) }), { minLength: 1, maxLength: VDP_DRAFT_PAIRS_MAX }),
});
const pduDraft = fc.array(vsiDraft, { maxLength: 4 }).map((vsis) => encodeVdpDraft(vsis.map(encodeVsiDraft)));

/** ULPDUs of recorded requests. */
function recorded(etherType: number): fc.Arbitrary<Uint8Array> {
  const { decode } = etherType === 0x8940 ? ECP_RATIFIED : ECP_DRAFT;
  const payloads = captures.flatMap((name) => readCapture(name).map(({ frame }) => frame));
  const ulpdus = payloads
    .filter((frame) => frame.etherType === etherType)
    .map(({ payload }) => decode(payload))
    .flatMap(({ operation, ulpdu }) => (operation === 'request' ? [ulpdu] : []));
  return fc.constantFrom(...ulpdus);
}

function decodedOrRefused<T>(decode: (from: Uint8Array) => T, from: Uint8Array): T | undefined {
  try {
    return decode(from);
  } catch (error) {
    expect(error).toBeInstanceOf(DecodeError);
    expect((error as DecodeError).offset).toBeLessThanOrEqual(from.length);
    return undefined;
  }
}

describe('ratified', () => {
  test.each([
    ['any octets', fc.uint8Array({ maxLength: 1500 })],
    ['a generated PDU, damaged', damaged(pdu)],
    ['a recorded one, damaged', damaged(recorded(0x8940))],
  ])('%s: a PDU or a DecodeError, and its canonical form is a fixed point', (_, any) => {
    fc.assert(
      fc.property(any, (input) => {
        const decoded = decodedOrRefused(decodeVdp, input);
        if (decoded === undefined) return;
        const canonical = encodeVdp(decoded.manager, decoded.vsis.map(encodeVsi));
        const again = decodeVdp(canonical);
        expect(again).toEqual({ manager: decoded.manager, vsis: decoded.vsis, invalid: [], unknown: [] });
        expect(encodeVdp(again.manager, again.vsis.map(encodeVsi))).toEqual(canonical);
        for (const { offset } of decoded.invalid) expect(offset).toBeLessThanOrEqual(input.length);
      }),
      { numRuns: 500 },
    );
  });

  test('every answer to what cannot be read is read as such, about the same VSI', () => {
    fc.assert(
      fc.property(damaged(vsi.map((value) => encodeVsi(value))), octets(16), (tlv, manager) => {
        const decoded = decodedOrRefused(decodeVdp, encodeVdp(manager, [tlv]));
        for (const invalid of decoded?.invalid ?? []) {
          const answer = encodeInvalidFormat(invalid);
          expect(answer === undefined).toBe(invalid.value.length < 23);
          if (answer === undefined) continue;
          const [heard] = decodeVdp(encodeVdp(manager, [answer])).invalid;
          const { request: refused, status, id } = invalidFormatAnswer(heard!)!;
          expect([refused, status & 0x4f, toHex(id)]).toEqual([
            'deassociate',
            0x41,
            toHex(invalid.value.subarray(6, 22)),
          ]);
        }
      }),
      { numRuns: 500 },
    );
  });

  test('the format of filters follows from their keys', () => {
    fc.assert(
      fc.property(vsi, ({ filters, filterFormat }) => {
        expect(filterFormatOf(filters)).toBe(filterFormat);
      }),
    );
  });
});

describe('draft 0.2', () => {
  test('generated VSIs come back as they were', () => {
    fc.assert(
      fc.property(fc.array(vsiDraft, { maxLength: 4 }), (vsis) => {
        expect(decodeVdpDraft(encodeVdpDraft(vsis.map(encodeVsiDraft)))).toEqual({
          vsis,
          invalid: [],
          unknown: [],
        });
      }),
    );
  });

  test.each([
    ['any octets', fc.uint8Array({ maxLength: 1500 })],
    ['a generated PDU, damaged', damaged(pduDraft)],
    ['a recorded one, damaged', damaged(recorded(0x88b7))],
  ])('%s: a PDU or a DecodeError, and its canonical form is a fixed point', (_, any) => {
    fc.assert(
      fc.property(any, (input) => {
        const decoded = decodedOrRefused(decodeVdpDraft, input);
        if (decoded === undefined) return;
        for (const { filters } of decoded.vsis)
          expect(filters.length).toBeLessThanOrEqual(VDP_DRAFT_PAIRS_MAX);
        const canonical = encodeVdpDraft(decoded.vsis.map(encodeVsiDraft));
        const again = decodeVdpDraft(canonical);
        expect(again).toEqual({ vsis: decoded.vsis, invalid: [], unknown: [] });
        expect(encodeVdpDraft(again.vsis.map(encodeVsiDraft))).toEqual(canonical);
        for (const { offset } of decoded.invalid) expect(offset).toBeLessThanOrEqual(input.length);
      }),
      { numRuns: 500 },
    );
  });
});

describe('as the machines speak it', () => {
  const station = vdpDraft('station', 'first');
  const bridge = vdpDraft('bridge', 'first');

  test.each([
    ['ratified', VDP_RATIFIED, damaged(pdu)],
    ['draft, station', station, damaged(pduDraft)],
    ['draft, bridge', bridge, damaged(pduDraft)],
  ])('%s: whatever is understood can be said', (_, dialect, any) => {
    fc.assert(
      fc.property(any, (input) => {
        const decoded = decodedOrRefused(dialect.decode, input);
        for (const { manager, vsis } of decoded?.pdus ?? []) {
          for (const tlv of vsis) {
            expect(
              dialect.objection({ manager, idFormat: tlv.idFormat, filters: tlv.filters }),
            ).toBeUndefined();
            const said = dialect.encodePdu(manager, [dialect.encodeVsi({ ...tlv, status: 0 }, manager)]);
            expect(dialect.decode(said).pdus[0]!.vsis[0]).toMatchObject({
              request: tlv.request,
              id: tlv.id,
              filters: tlv.filters,
            });
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  test('draft: what it has no objection to, a bridge reads as the station said it', () => {
    fc.assert(
      fc.property(vsi, octets(16), (tlv, manager) => {
        const refused = station.objection({ manager, idFormat: tlv.idFormat, filters: tlv.filters });
        const command = refused === undefined ? { tlv, manager } : simple(tlv, manager);
        const { request: asked, id, type, typeVersion, filters } = command.tlv;
        const said = station.encodePdu(command.manager, [station.encodeVsi(command.tlv, command.manager)]);
        const [heard] = bridge.decode(said).pdus;
        expect(heard!.manager).toEqual(command.manager);
        expect(heard!.vsis).toMatchObject([{ request: asked, id, type, typeVersion, filters }]);
      }),
    );
  });
});

describe('VSIs', () => {
  const identity = fc.record({
    idFormat: fc.oneof(fc.integer({ min: 1, max: 5 }), fc.nat(255)),
    // Addresses in their usual place, and nearly so.
    id: fc.oneof(
      octets(16),
      octets(6).map((tail) => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ...tail)),
      octets(4).map((tail) => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...tail)),
    ),
  });

  test('two that differ have different names and keys', () => {
    fc.assert(
      fc.property(identity, identity, (a, b) => {
        const same = a.idFormat === b.idFormat && toHex(a.id) === toHex(b.id);
        expect(vsiKey(a) === vsiKey(b)).toBe(same);
        expect(vsiName(a) === vsiName(b)).toBe(same);
        const { id } = a;
        // The same octets in another format are another VSI.
        if (a.idFormat !== b.idFormat) expect(vsiName({ ...b, id })).not.toBe(vsiName(a));
      }),
      { numRuns: 1000 },
    );
  });

  test('VIDs that were assigned answer what is asked, entry by entry', () => {
    const few = fc.record({
      mac: fc.constantFrom(...[1, 2].map((n) => `52:54:00:00:00:0${n}`)),
      vid: fc.nat(2),
    });
    const list = fc.array(few as unknown as fc.Arbitrary<FilterEntry>, { maxLength: 4 });
    fc.assert(
      fc.property(list, list, (asked, known) => {
        const given = withAssignedVids(asked, known);
        expect(filtersMatch(asked, given)).toBe(true);
        expect(filtersMatch(given, given)).toBe(true);
      }),
    );
  });
});

/** As near to `tlv` as draft 0.2 has words for. */
function simple(tlv: VsiTlv, manager: Uint8Array): { tlv: VsiTlv; manager: Uint8Array } {
  const filters = tlv.filters.map(({ vid }, i) => ({
    mac: macFromOctets(Uint8Array.of(2, 0, 0, 0, 0, i)),
    vid,
  }));
  const small = new Uint8Array(16);
  small[0] = manager[0]!;
  return {
    tlv: { ...tlv, idFormat: 5, filterFormat: 2, filters: filters.slice(0, VDP_DRAFT_PAIRS_MAX) },
    manager: small,
  };
}
