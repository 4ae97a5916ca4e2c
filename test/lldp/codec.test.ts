import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeFrame, ETHERTYPE_LLDP, encodeFrame } from '../../protocols/ethernet/index.ts';
import {
  CAPABILITY_MAC_BRIDGE,
  CAPABILITY_STATION_ONLY,
  CHASSIS_ID_MAC,
  decodeEvbTlv,
  decodeLldpdu,
  type EvbDraftTlv,
  type EvbTlv,
  encodeEvbTlv,
  encodeLldpdu,
  LLDPDU_MAX,
  type Lldpdu,
  msap,
  PORT_ID_MAC,
  sameIdentifier,
} from '../../protocols/lldp-codec/index.ts';
import { DecodeError, OctetReader, toHex } from '../../protocols/octets/index.ts';
import { evbVectors, hex, lldpVectors, STATION } from '../fixtures/vectors.ts';

const EVB_HEADER = hex('fe09 0080c2 0d');

describe('vectors.md V1 to V4', () => {
  test.each(lldpVectors)('$name: octets to value', ({ octets, destination, lldpdu }) => {
    const frame = decodeFrame(octets);
    expect(frame).toMatchObject({ destination, source: STATION, etherType: ETHERTYPE_LLDP });
    expect(decodeLldpdu(frame.payload)).toEqual({ lldpdu, defects: [] });
  });

  test.each(lldpVectors)('$name: value to octets', ({ octets, destination, lldpdu }) => {
    const payload = encodeLldpdu(lldpdu).octets;
    const frame = encodeFrame({ destination, source: STATION, etherType: ETHERTYPE_LLDP, payload });
    expect(toHex(frame)).toBe(toHex(octets));
  });

  test.each(evbVectors)('EVB TLV, $name: both ways', ({ octets, tlv }) => {
    expect(octets.subarray(0, 6)).toEqual(EVB_HEADER);
    expect(decodeEvbTlv(new OctetReader(octets.subarray(6)))).toEqual(tlv);
    expect(toHex(encodeEvbTlv(tlv))).toBe(toHex(octets.subarray(6)));
  });
});

describe('EVB TLV fields one by one (evb-tlv.md 1.1 to 1.4)', () => {
  const zero = hex('00 00 00 00 00');
  const fields: [string, number, number, (tlv: EvbTlv) => unknown, unknown][] = [
    [
      'evb-tlv.md 1.2 row 2: BGID',
      0,
      0x04,
      (tlv) => tlv.bridgeStatus,
      { bgid: true, rrcap: false, rrctr: false },
    ],
    [
      'evb-tlv.md 1.2 row 3: RRCAP',
      0,
      0x02,
      (tlv) => tlv.bridgeStatus,
      { bgid: false, rrcap: true, rrctr: false },
    ],
    [
      'evb-tlv.md 1.2 row 4: RRCTR',
      0,
      0x01,
      (tlv) => tlv.bridgeStatus,
      { bgid: false, rrcap: false, rrctr: true },
    ],
    [
      'evb-tlv.md 1.3 row 2: SGID',
      1,
      0x08,
      (tlv) => tlv.stationStatus,
      { sgid: true, rrreq: false, rrstat: 0 },
    ],
    [
      'evb-tlv.md 1.3 row 3: RRREQ',
      1,
      0x04,
      (tlv) => tlv.stationStatus,
      { sgid: false, rrreq: true, rrstat: 0 },
    ],
    [
      'evb-tlv.md 1.3 row 4: RRSTAT',
      1,
      0x02,
      (tlv) => tlv.stationStatus,
      { sgid: false, rrreq: false, rrstat: 2 },
    ],
    ['R', 2, 0xe0, ({ r, rte }) => ({ r, rte }), { r: 7, rte: 0 }],
    ['RTE', 2, 0x1f, ({ r, rte }) => ({ r, rte }), { r: 0, rte: 31 }],
    ['mode', 3, 0xc0, ({ mode, rwdRol, rwd }) => ({ mode, rwdRol, rwd }), { mode: 3, rwdRol: false, rwd: 0 }],
    [
      'ROL of RWD',
      3,
      0x20,
      ({ mode, rwdRol, rwd }) => ({ mode, rwdRol, rwd }),
      { mode: 0, rwdRol: true, rwd: 0 },
    ],
    ['RWD', 3, 0x1f, ({ mode, rwdRol, rwd }) => ({ mode, rwdRol, rwd }), { mode: 0, rwdRol: false, rwd: 31 }],
    ['ROL of RKA', 4, 0x20, ({ rkaRol, rka }) => ({ rkaRol, rka }), { rkaRol: true, rka: 0 }],
    ['RKA', 4, 0x1f, ({ rkaRol, rka }) => ({ rkaRol, rka }), { rkaRol: false, rka: 31 }],
  ];
  test.each(fields)('%s', (_, octet, mask, pick, expected) => {
    const octets = zero.slice();
    octets[octet] = mask;
    const tlv = decodeEvbTlv(new OctetReader(octets));
    expect(pick(tlv)).toEqual(expected);
    expect(encodeEvbTlv(tlv)).toEqual(octets);
  });

  test('evb-tlv.md 1.2 row 1: reserved bits are ignored and sent as 0; evb-tlv.md 1.3 row 1 too', () => {
    const tlv = decodeEvbTlv(new OctetReader(hex('f8 f0 00 00 c0')));
    expect(toHex(encodeEvbTlv(tlv))).toBe('0000000000');
  });
});

describe('TLV types', () => {
  const full: Lldpdu = {
    chassisId: { subtype: 7, id: new Uint8Array(255).fill(0x61) },
    portId: { subtype: 3, id: hex('021122334401') },
    ttl: 121,
    evb: evbVectors[0]!.tlv,
    portDescription: 'd',
    systemName: 'na',
    systemDescription: 'x'.repeat(255),
    capabilities: { supported: 0x0084, enabled: 0x0080 },
    others: [
      { type: 8, value: hex('05 01 c0000207 02 00000003 00') },
      { type: 9, value: hex('') },
      { type: 126, value: hex('ff') },
      { type: 127, value: Uint8Array.of(2, 0, 0x5e, 1, ...new Uint8Array(507)) },
    ],
  };
  const { octets, dropped } = encodeLldpdu(full);
  const headers: string[] = [];
  for (const reader = new OctetReader(octets); reader.remaining > 0; ) {
    headers.push(toHex(reader.take(2, 'header')));
    reader.take(Number.parseInt(headers.at(-1)!, 16) & 0x1ff, 'value');
  }

  test.each([
    ['lldp.md 2 row 1: End', -1, '0000'],
    ['lldp.md 2 row 2: Chassis ID of 256 octets', 0, '0300'],
    ['lldp.md 2 row 3: Port ID', 1, '0407'],
    ['lldp.md 2 row 4: Time To Live', 2, '0602'],
    ['lldp.md 2 row 5: Port Description', 4, '0801'],
    ['lldp.md 2 row 6: System Name', 5, '0a02'],
    ['lldp.md 2 row 7: System Description', 6, '0cff'],
    ['lldp.md 2 row 8: System Capabilities', 7, '0e04'],
    ['lldp.md 2 row 9: Management Address', 8, '100c'],
    ['lldp.md 2 row 10: reserved, the first', 9, '1200'],
    ['lldp.md 2 row 10: reserved, the last', 10, 'fc01'],
    ['lldp.md 2 row 11: organizationally specific, short', 3, 'fe09'],
    ['lldp.md 2 row 11: organizationally specific, of 511 octets', 11, 'ffff'],
  ])('%s', (_, at, header) => expect(headers.at(at)).toBe(header));

  test('all of them come back', () => {
    expect(dropped).toBe(0);
    expect(decodeLldpdu(octets).lldpdu).toEqual(full);
  });

  test.each([
    ['Port Description', '0801 61 0801 62', { portDescription: 'a' }],
    ['System Name', '0a01 61 0a01 62', { systemName: 'a' }],
    ['System Description', '0c01 61 0c01 62', { systemDescription: 'a' }],
    ['System Capabilities', '0e04 0004 0000 0e04 0080 0080', { capabilities: { supported: 4, enabled: 0 } }],
  ])('of two %s TLVs the first counts', (_, tlvs, expected) => {
    const { lldpdu } = decodeLldpdu(hex(`0207 04 021122334401 0407 03 021122334401 0602 0079 ${tlvs} 0000`));
    expect(lldpdu).toMatchObject(expected);
  });

  test('a second draft EVB TLV is discarded and counted', () => {
    const draft = (rte: string) => `fe0d 001b3f 00 c0 07 40 07 0cdf 0001 ${rte}`;
    const { lldpdu, defects } = decodeLldpdu(
      hex(`0207 04 021122334401 0407 03 021122334401 0602 0079 ${draft('0f')} ${draft('10')} 0000`),
    );
    expect(lldpdu.evbDraft?.rte).toBe(15);
    expect(defects.map(({ counters }) => counters)).toEqual([['statsTLVsDiscardedTotal']]);
  });

  test('what evbd says of itself (lldp.md 2)', () => {
    expect([CHASSIS_ID_MAC, PORT_ID_MAC]).toEqual([4, 3]);
    expect([CAPABILITY_MAC_BRIDGE, CAPABILITY_STATION_ONLY, LLDPDU_MAX]).toEqual([0x0004, 0x0080, 1500]);
  });

  test('a defect says which organization it was', () => {
    const { defects } = decodeLldpdu(encodeLldpdu({ ...full, others: full.others.slice(3) }).octets);
    expect(defects[0]?.reason).toBe('unknown organizationally specific TLV 02005e01');
  });
});

const text = fc.string({ unit: 'binary', maxLength: 60 });

const evbTlv: fc.Arbitrary<EvbTlv> = fc.record({
  bridgeStatus: fc.record({ bgid: fc.boolean(), rrcap: fc.boolean(), rrctr: fc.boolean() }),
  stationStatus: fc.record({ sgid: fc.boolean(), rrreq: fc.boolean(), rrstat: fc.nat(3) }),
  r: fc.nat(7),
  rte: fc.nat(31),
  mode: fc.nat(3),
  rwdRol: fc.boolean(),
  rwd: fc.nat(31),
  rkaRol: fc.boolean(),
  rka: fc.nat(31),
});

const evbDraftTlv: fc.Arbitrary<EvbDraftTlv> = fc.record({
  smode: fc.nat(255),
  scap: fc.nat(255),
  cmode: fc.nat(255),
  ccap: fc.nat(255),
  svsi: fc.nat(65535),
  cvsi: fc.nat(65535),
  rte: fc.nat(255),
});

const identifier = fc.record({
  subtype: fc.nat(255),
  id: fc.uint8Array({ minLength: 1, maxLength: 255 }),
});

const otherTlv = fc.oneof(
  fc.record({ type: fc.integer({ min: 9, max: 126 }), value: fc.uint8Array({ maxLength: 60 }) }),
  fc.record({ type: fc.constant(8), value: fc.uint8Array({ minLength: 9, maxLength: 60 }) }),
  // An OUI that nobody knows.
  fc.record({
    type: fc.constant(127),
    value: fc.uint8Array({ maxLength: 40 }).map((tail) => Uint8Array.of(2, 0, 0x5e, 1, ...tail)),
  }),
);

const lldpdu: fc.Arbitrary<Lldpdu> = fc.record(
  {
    chassisId: identifier,
    portId: identifier,
    ttl: fc.integer({ min: 1, max: 65535 }),
    evb: evbTlv,
    evbDraft: evbDraftTlv,
    portDescription: text,
    systemName: text,
    systemDescription: text,
    capabilities: fc.record({ supported: fc.nat(65535), enabled: fc.nat(65535) }),
    others: fc.array(otherTlv, { maxLength: 4 }),
  },
  { requiredKeys: ['chassisId', 'portId', 'ttl', 'others'] },
);

/** Mostly well-formed TLVs, so that the decoder gets past the first three. */
const tlvSoup = fc
  .array(
    fc
      .tuple(fc.oneof(fc.nat(9), fc.constant(127)), fc.uint8Array({ maxLength: 16 }), fc.nat(2))
      .map(([type, value, lie]) => [(type << 1) | 0, value.length + (lie === 2 ? 1 : 0), ...value]),
    { maxLength: 6 },
  )
  .map((tlvs) =>
    Uint8Array.from([...hex('0207 04 021122334401 0407 03 021122334401 0602 0079'), ...tlvs.flat()]),
  );

describe('properties', () => {
  test('a generated LLDPDU encodes and decodes to itself', () => {
    fc.assert(
      fc.property(lldpdu, (value) => {
        const { octets, dropped } = encodeLldpdu(value);
        expect(dropped).toBe(0);
        expect(decodeLldpdu(octets).lldpdu).toEqual(value);
      }),
    );
  });

  test.each([
    ['any octets', fc.uint8Array({ maxLength: 80 })],
    ['TLVs of any type behind good mandatory ones', tlvSoup],
  ])('%s: an LLDPDU or a DecodeError, and its canonical form is a fixed point', (_, arbitrary) => {
    fc.assert(
      fc.property(arbitrary, (octets) => {
        let value: Lldpdu;
        try {
          value = decodeLldpdu(octets).lldpdu;
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError);
          return;
        }
        const canonical = encodeLldpdu(value).octets;
        expect(encodeLldpdu(decodeLldpdu(canonical).lldpdu).octets).toEqual(canonical);
      }),
      { numRuns: 300 },
    );
  });
});

describe('encoding', () => {
  const mandatory: Lldpdu = {
    chassisId: { subtype: 4, id: hex('021122334401') },
    portId: { subtype: 3, id: hex('021122334401') },
    ttl: 121,
    others: [],
  };

  test('lldp.md 5: EVB comes first among the optional TLVs, End last', () => {
    const { octets } = encodeLldpdu({
      ...mandatory,
      systemName: 'host',
      capabilities: { supported: 0x0080, enabled: 0x0080 },
      evb: evbVectors[0]!.tlv,
    });
    expect(toHex(octets.subarray(22))).toBe(
      `${toHex(evbVectors[0]!.octets)}0a04${toHex(new TextEncoder().encode('host'))}0e04008000800000`,
    );
  });

  test('lldp.md 5: a shutdown LLDPDU has no optional TLV', () => {
    const { octets } = encodeLldpdu({ ...mandatory, ttl: 0, systemName: 'host', evb: evbVectors[0]!.tlv });
    expect(toHex(octets)).toBe('0207040211223344010407030211223344010602' + '0000' + '0000');
  });

  test('lldp.md 5: what exceeds the maximum is left out and counted, the mandatory TLVs stay', () => {
    const others = [1, 2, 3, 4].map((n) => ({ type: 100 + n, value: new Uint8Array(500) }));
    const { octets, dropped } = encodeLldpdu({ ...mandatory, others });
    expect(dropped).toBe(2);
    expect(octets.length).toBeLessThanOrEqual(LLDPDU_MAX);
    expect(decodeLldpdu(octets).lldpdu.others.map(({ type }) => type)).toEqual([101, 102]);
  });

  test('the maximum is used to its last octet', () => {
    const room = LLDPDU_MAX - 22 - 2;
    const fill = [511, 511].map((length) => ({ type: 100, value: new Uint8Array(length) }));
    const last = { type: 101, value: new Uint8Array(room - 2 * 513 - 2) };
    expect(encodeLldpdu({ ...mandatory, others: [...fill, last] })).toMatchObject({ dropped: 0 });
    expect(encodeLldpdu({ ...mandatory, others: [...fill, last] }).octets.length).toBe(LLDPDU_MAX);
    const longer = { type: 101, value: new Uint8Array(last.value.length + 1) };
    expect(encodeLldpdu({ ...mandatory, others: [...fill, longer] })).toMatchObject({ dropped: 1 });
  });

  test('lldp.md 2: text ends at a character within 255 octets', () => {
    const { octets } = encodeLldpdu({ ...mandatory, systemName: 'ä'.repeat(200) });
    expect(decodeLldpdu(octets).lldpdu.systemName).toBe('ä'.repeat(127));
  });

  test('lldp.md 2 row 7: text of 255 octets is whole', () => {
    const systemDescription = 'x'.repeat(255);
    expect(decodeLldpdu(encodeLldpdu({ ...mandatory, systemDescription }).octets).lldpdu).toMatchObject({
      systemDescription,
    });
  });

  test('text keeps a leading byte order mark', () => {
    const { octets } = encodeLldpdu({ ...mandatory, systemName: '\uFEFFhost' });
    expect(decodeLldpdu(octets).lldpdu.systemName).toBe('\uFEFFhost');
  });
});

describe('identity (lldp.md 6)', () => {
  const a = { chassisId: { subtype: 4, id: hex('01') }, portId: { subtype: 3, id: hex('02') } };
  test.each([
    ['the chassis subtype', { ...a, chassisId: { subtype: 5, id: hex('01') } }],
    ['the chassis id', { ...a, chassisId: { subtype: 4, id: hex('11') } }],
    ['the port subtype', { ...a, portId: { subtype: 4, id: hex('02') } }],
    ['the port id', { ...a, portId: { subtype: 3, id: hex('0200') } }],
  ])('%s makes another MSAP', (_, b) => {
    expect(msap(b)).not.toBe(msap(a));
    expect(sameIdentifier(a.chassisId, b.chassisId) && sameIdentifier(a.portId, b.portId)).toBe(false);
  });

  test('equal ones are the same', () => {
    const b = { chassisId: { subtype: 4, id: hex('01') }, portId: { subtype: 3, id: hex('02') } };
    expect(msap(b)).toBe(msap(a));
    expect(sameIdentifier(a.chassisId, b.chassisId)).toBe(true);
  });
});
