import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeEcpdu, EcpReceiver } from '../../protocols/ecp/index.ts';
import { decodeFrame } from '../../protocols/ethernet/index.ts';
import {
  DecodeError,
  type MacAddress,
  macFromOctets,
  OctetReader,
  toHex,
} from '../../protocols/octets/index.ts';
import {
  commandOf,
  decodeFilterEntry,
  decodeStatus,
  decodeVdp,
  encodeInvalidFormat,
  encodeVdp,
  encodeVsi,
  type FilterEntry,
  filterEntriesMax,
  filterEntrySize,
  filterFormatOf,
  filterProblem,
  filtersMatch,
  idFormatName,
  invalidFormatAnswer,
  lldpadVsiKey,
  parseIpv4,
  parseIpv6,
  requestStatus,
  tlvOf,
  VDP_COUNTLESS,
  VDP_INSUFFICIENT_RESOURCES,
  VDP_INVALID_FILTER,
  VDP_INVALID_FORMAT,
  VDP_MANAGER_UNREACHABLE,
  VDP_OTHER_FAILURE,
  VDP_OVERHEAD,
  VDP_RATIFIED,
  VDP_SUCCESS,
  type VdpHint,
  type VdpPdu,
  type VdpRequest,
  type VsiTlv,
  vdpErrorName,
  vdpTimers,
  vsiIdText,
  vsiKey,
  vsiName,
  withAssignedVids,
} from '../../protocols/vdp/index.ts';
import { hex, MANAGER_12, STATION, timerVectors, V7, vdpVectors } from '../fixtures/vectors.ts';
import { command, filters } from './support.ts';

const A = '52:54:00:00:00:0a' as MacAddress;
const B = '52:54:00:00:00:0b' as MacAddress;

const MANAGER = '0a10 0c000000000000000000000000000000';
const FIXED = '00 123456 21 05 9d3f1c2075b14e0ea4c66b1f20d7e359';
const ENTRY = '5254000a0b0c 002a';
const ASSOC = `0621 ${FIXED} 02 0001 ${ENTRY}`;

describe('vectors.md V13', () => {
  test.each(vdpVectors)('$name: both ways', ({ octets, manager, vsi }) => {
    expect(decodeVdp(octets)).toEqual({ manager, vsis: [vsi], invalid: [], unknown: [] });
    expect(toHex(encodeVdp(manager, [encodeVsi(vsi)]))).toBe(`${toHex(octets)}0000`);
  });

  test.each([
    [0x62, { ack: true, keep: true, hard: false, error: 2 }],
    [0x51, { ack: true, keep: false, hard: true, error: 1 }],
    [0x40, { ack: true, keep: false, hard: false, error: 0 }],
    [0x00, { ack: false, keep: false, hard: false, error: 0 }],
    [0xcf, { ack: true, keep: false, hard: false, error: 15 }],
  ])('vdp.md 1.4: status %i', (status, expected) => expect(decodeStatus(status)).toEqual(expected));

  test.each([
    ['vdp.md 1.4 row 1: bit 7 is ignored', 0x80, {}],
    ['vdp.md 1.4 row 2: ack', 0x40, { ack: true }],
    ['vdp.md 1.4 row 3: Keep', 0x20, { keep: true }],
    ['vdp.md 1.4 row 4: Hard', 0x10, { hard: true }],
    ['vdp.md 1.4 row 5: error code', 0x0f, { error: 15 }],
  ])('%s', (_, status, expected) => {
    expect(decodeStatus(status)).toEqual({ ack: false, keep: false, hard: false, error: 0, ...expected });
  });

  test.each([
    ['vdp.md 1.4 Error row 1', () => VDP_SUCCESS, 0, 'success'],
    ['vdp.md 1.4 Error row 2', () => VDP_INVALID_FORMAT, 1, 'invalid format'],
    ['vdp.md 1.4 Error row 3', () => VDP_INSUFFICIENT_RESOURCES, 2, 'insufficient resources'],
    ['vdp.md 1.4 Error row 4', () => VDP_MANAGER_UNREACHABLE, 3, 'unable to contact the VSI manager'],
    ['vdp.md 1.4 Error row 5', () => VDP_OTHER_FAILURE, 4, 'other failure'],
    ['vdp.md 1.4 Error row 6', () => VDP_INVALID_FILTER, 5, 'invalid VID, GroupID or MAC'],
    ['vdp.md 1.4 Error row 7', () => 15, 15, 'reserved error 15'],
  ])('%s: %s', (_, code, error, name) => expect([code(), vdpErrorName(code())]).toEqual([error, name]));

  test.each([
    ['vdp.md 1.4 row 3: the S bit alone', 0x20, 'from'],
    ['vdp.md 1.4 row 4: the M bit alone', 0x10, 'to'],
    ['both are invalid', 0x30, 'none'],
    ['none', 0x0f, 'none'],
  ])('hint of a request, %s', (_, status, hint) => {
    expect(commandOf({ ...vdpVectors[0]!.vsi, status }, MANAGER_12).hint).toBe(hint);
  });

  test('vdp.md 1.4: error codes have names, reserved ones too', () => {
    const names = Array.from({ length: 16 }, (_, error) => vdpErrorName(error));
    expect(new Set(names).size).toBe(16);
    expect(names[6]).toBe('reserved error 6');
  });

  test.each([
    ['associate', 'none', 0x00],
    ['associate', 'to', 0x10],
    ['reserve', 'from', 0x20],
    ['preassociate', 'to', 0x10],
    ['deassociate', 'to', 0x00],
  ] as [VdpRequest, VdpHint, number][])('vdp.md 1.4: %s with hint %s', (request, hint, status) => {
    const command = { ...vdpVectors[0]!.vsi, manager: MANAGER_12, request, hint };
    expect(requestStatus(command)).toBe(status);
  });
});

describe('vectors.md V20, and what else is malformed (vdp.md 1, 1.2)', () => {
  const payloads: [string, string][] = [
    ['the manager TLV behind the Assoc TLV', `${ASSOC} ${MANAGER}`],
    ['two manager TLVs', `${MANAGER} ${MANAGER} ${ASSOC}`],
    ['a second manager TLV behind the VSI', `${MANAGER} ${ASSOC} ${MANAGER}`],
    ['no manager TLV', ASSOC],
    ['a manager TLV of 15 octets', `0a0f ${'00'.repeat(15)} ${ASSOC}`],
    ['a manager TLV of 17 octets', `0a11 ${'00'.repeat(17)} ${ASSOC}`],
    ['nothing', ''],
    ['a TLV beyond the end', `${MANAGER} ${ASSOC} 0621 00`],
    ['the manager TLV beyond the end', '0a10 00'],
  ];
  test.each(payloads)('payload dropped: %s', (_, octets) => {
    expect(() => decodeVdp(hex(octets))).toThrow(DecodeError);
  });

  test('ECP acknowledges what VDP drops', () => {
    const ecpdu = decodeEcpdu(decodeFrame(V7.octets).payload);
    const receiver = new EcpReceiver({ maxRetries: 3, ackTimer: 1 });
    const effects = receiver.request({ ...ecpdu, ulpdu: hex(`${ASSOC} ${MANAGER}`) }, STATION, 0);
    expect(effects.map(({ kind }) => kind)).toEqual(['send', 'indicate']);
  });

  const tlvs: [string, string, string | undefined][] = [
    [
      'V7 with 06 20: the length does not fit',
      `0620 ${FIXED} 02 0001 5254000a0b0c 00`,
      `0819 41${FIXED.slice(2)} 02 0000`,
    ],
    ['V7 with count 00 02', `0621 ${FIXED} 02 0002 ${ENTRY}`, `0819 41${FIXED.slice(2)} 02 0000`],
    ['more octets than entries', `0622 ${FIXED} 02 0001 ${ENTRY} ff`, `0819 41${FIXED.slice(2)} 02 0000`],
    ['no entries', `0619 ${FIXED} 02 0000`, `0819 41${FIXED.slice(2)} 02 0000`],
    ['filter format 0', `0621 ${FIXED} 00 0001 ${ENTRY}`, `0819 41${FIXED.slice(2)} 00 0000`],
    ['filter format 5', `0621 ${FIXED} 05 0001 ${ENTRY}`, `0819 41${FIXED.slice(2)} 05 0000`],
    ['only the 23 fixed octets', `0617 ${FIXED} 02`, `0819 41${FIXED.slice(2)} 02 0000`],
    ['22 octets: nobody to answer', `0616 ${FIXED}`, undefined],
    ['no octets', '0600', undefined],
  ];
  test.each(tlvs)('VSI set aside: %s', (_, octets, answer) => {
    const good = '081b 00 000030 01 04 74656e616e742d612f766d3700000000 01 0001 004d';
    const pdu = decodeVdp(hex(`${MANAGER} ${octets} ${good} 0000`));
    expect(pdu.vsis.map(({ request }) => request)).toEqual(['deassociate']);
    expect(pdu.invalid.length).toBe(1);
    expect(pdu.invalid[0]).toMatchObject({ request: 'associate' });
    expect(pdu.invalid[0]!.offset).toBeGreaterThanOrEqual(20);
    const bytes = encodeInvalidFormat(pdu.invalid[0]!);
    expect(bytes && toHex(bytes)).toBe(answer?.replaceAll(' ', ''));
  });

  test('an org-specific TLV behind an invalid VSI TLV does not belong to the one before', () => {
    const pdu = decodeVdp(hex(`${MANAGER} ${ASSOC} 0600 fe06 02005e 01 6869 0000`));
    expect([pdu.vsis[0]?.org, pdu.unknown.length]).toEqual([undefined, 1]);
  });

  test('a reserved TLV behind a VSI TLV is no org-specific one', () => {
    const pdu = decodeVdp(hex(`${MANAGER} ${ASSOC} 0c04 02005e01 0000`));
    expect([pdu.vsis[0]?.org, pdu.unknown.length]).toEqual([undefined, 1]);
  });

  test('without an End TLV the last TLV may be empty', () => {
    expect(decodeVdp(hex(`${MANAGER} ${ASSOC} 0c00`)).unknown).toEqual([{ type: 6, value: hex('') }]);
  });

  test.each([
    ['unknown filter info format 5', `0621 ${FIXED} 05 0001 ${ENTRY}`, 22],
    ['no filter info entries', `0619 ${FIXED} 02 0000`, 23],
    ['2 filter info entries of 8 octets in 8', `0621 ${FIXED} 02 0002 ${ENTRY}`, 23],
  ])('%s', (reason, octets, offset) => {
    expect(decodeVdp(hex(`${MANAGER} ${octets}`)).invalid).toMatchObject([{ reason, offset: 20 + offset }]);
  });

  test('an org-specific TLV behind an invalid VSI TLV belongs to nobody', () => {
    const pdu = decodeVdp(hex(`${MANAGER} 0600 fe06 02005e 01 6869 0000`));
    expect([pdu.vsis.length, pdu.unknown.length]).toEqual([0, 1]);
  });

  test.each([
    ['End stops the parser, whatever follows', `${MANAGER} ${ASSOC} 0000 0621 ff`, 1, 0],
    ['no End TLV', `${MANAGER} ${ASSOC}`, 1, 0],
    ['one octet of padding', `${MANAGER} ${ASSOC} 00`, 1, 0],
    ['reserved types are kept', `${MANAGER} 0c02 abcd ${ASSOC} fc00 0000`, 1, 2],
    ['an org-specific TLV too short for its OUI', `${MANAGER} ${ASSOC} fe03 02005e 0000`, 1, 1],
    ['manager only', `${MANAGER} 0000`, 0, 0],
  ])('%s', (_, octets, vsis, unknown) => {
    const pdu = decodeVdp(hex(octets));
    expect([pdu.vsis.length, pdu.unknown.length, pdu.invalid.length]).toEqual([vsis, unknown, 0]);
  });
});

describe('VSI TLVs without the number of their filters (interop-notes.md 3)', () => {
  const [GROUP, MAC_VID] = ['00000a00 002a', `${ENTRY}`];
  const tlv = (format: number, entries: string) => {
    const value = hex(`${FIXED} 0${format} ${entries}`);
    return hex(`06 ${toHex(Uint8Array.of(value.length))} ${toHex(value)}`);
  };
  const read = (format: number, entries: string, dialect = VDP_COUNTLESS) => {
    const { pdus, invalid } = dialect.decode(hex(`${MANAGER} ${toHex(tlv(format, entries))} 0000`));
    return invalid > 0 ? 'invalid' : pdus.flatMap(({ vsis }) => vsis.map(({ filters }) => filters.length));
  };

  test.each([
    { format: 1, entries: 'c00a', says: [1] },
    { format: 1, entries: 'c00a 000b', says: [2] },
    { format: 1, entries: '0001 c00a', says: [1] },
    { format: 1, entries: '0002 c00a 000b', says: [2] },
    { format: 1, entries: '0001 c00a 000b', says: [3] },
    { format: 2, entries: MAC_VID, says: [1] },
    { format: 2, entries: `${MAC_VID} ${MAC_VID}`, says: [2] },
    { format: 2, entries: `0001 ${MAC_VID}`, says: [1] },
    { format: 2, entries: `0002 ${MAC_VID}`, says: 'invalid' },
    { format: 2, entries: `${MAC_VID} 00`, says: 'invalid' },
    { format: 3, entries: GROUP, says: [1] },
    { format: 4, entries: `00000a00 ${MAC_VID}`, says: [1] },
    { format: 2, entries: '', says: 'invalid' },
    { format: 2, entries: '0000', says: 'invalid' },
  ])('filter format $format, $entries: $says', ({ format, entries, says }) => {
    expect(read(format, entries)).toEqual(says);
  });

  test('the standard wants the number', () => {
    expect(read(2, MAC_VID, VDP_RATIFIED)).toBe('invalid');
    expect(decodeVdp(hex(`${MANAGER} ${toHex(tlv(2, MAC_VID))} 0000`)).invalid).toHaveLength(1);
  });

  test('they are sent so; all else is as in the standard', () => {
    const [vsi] = decodeVdp(hex(`${MANAGER} ${ASSOC} 0000`)).vsis;
    expect(VDP_COUNTLESS.encodeVsi(vsi!, MANAGER_12)).toEqual(tlv(2, MAC_VID));
    expect(VDP_RATIFIED.encodeVsi(vsi!, MANAGER_12)).toEqual(tlv(2, `0001 ${MAC_VID}`));
    for (const dialect of [VDP_RATIFIED, VDP_COUNTLESS]) {
      expect(dialect).toMatchObject({ overhead: VDP_OVERHEAD, oneManager: true, keeps: true });
      expect(dialect.encodePdu(MANAGER_12, [tlv(2, MAC_VID)])).toEqual(
        encodeVdp(MANAGER_12, [tlv(2, MAC_VID)]),
      );
      expect(dialect.objection(command('associate'))).toBeUndefined();
      expect(dialect.errorName(VDP_INVALID_FORMAT)).toBe(vdpErrorName(VDP_INVALID_FORMAT));
    }
  });
});

describe('TLV types', () => {
  test.each([
    ['vdp.md 1 row 2: PreAssociate', 'preassociate', '02'],
    ['vdp.md 1 row 3: PreAssociate with Resource Reservation', 'reserve', '04'],
    ['vdp.md 1 row 4: Associate', 'associate', '06'],
    ['vdp.md 1 row 5: DeAssociate', 'deassociate', '08'],
  ] as [string, VdpRequest, string][])('%s', (_, request, first) => {
    const vsi = { ...vdpVectors[0]!.vsi, request };
    const short = toHex(encodeVsi(vsi));
    expect(short.slice(0, 2)).toBe(first);
    expect(decodeVdp(hex(`${MANAGER} ${short}`)).vsis).toEqual([vsi]);
    const many = {
      ...vsi,
      filterFormat: 2,
      filters: Array.from({ length: 60 }, () => ({ mac: A, vid: 42 })),
    };
    const long = toHex(encodeVsi(many));
    expect(Number.parseInt(long.slice(0, 2), 16)).toBe(Number.parseInt(first, 16) + 1);
    expect(decodeVdp(hex(`${MANAGER} ${long}`)).vsis).toEqual([many]);
  });

  test('vdp.md 1 row 1: End stops the parser', () => {
    expect(decodeVdp(hex(`${MANAGER} 0000 ${ASSOC}`)).vsis).toEqual([]);
  });

  test('vdp.md 1 row 6: VSI Manager ID', () => {
    expect(toHex(encodeVdp(MANAGER_12, []))).toBe(`${MANAGER.replaceAll(' ', '')}0000`);
  });

  test('vdp.md 1 row 7: reserved types are passed over', () => {
    const { vsis, unknown } = decodeVdp(hex(`${MANAGER} 0c00 ${ASSOC} fc01 ff 0000`));
    expect([vsis.length, unknown]).toEqual([
      1,
      [
        { type: 6, value: hex('') },
        { type: 126, value: hex('ff') },
      ],
    ]);
  });

  test('vdp.md 1 row 8: an organizationally specific TLV belongs to the VSI TLV before it', () => {
    const octets = hex(`${MANAGER} ${ASSOC} fe06 02005e 01 6869 fe04 02005e 02 0000`);
    const { vsis } = decodeVdp(octets);
    expect(vsis.map(({ org }) => org)).toEqual([
      [
        { kind: 0x02005e01, payload: hex('6869') },
        { kind: 0x02005e02, payload: hex('') },
      ],
    ]);
    expect(encodeVdp(MANAGER_12, vsis.map(encodeVsi))).toEqual(octets);
  });
});

describe('filter info (vdp.md 1.2, 1.5)', () => {
  test.each([
    ['vdp.md 1.2 Format row 1: VID; vdp.md 1.2 Format N=1 row 1', 2, 243],
    ['vdp.md 1.2 Format row 2: MAC/VID; vdp.md 1.2 Format N=1 row 2', 8, 60],
    ['vdp.md 1.2 Format row 3: GroupID/VID; vdp.md 1.2 Format N=1 row 3', 6, 81],
    ['vdp.md 1.2 Format row 4: GroupID/MAC/VID; vdp.md 1.2 Format N=1 row 4', 12, 40],
  ])('%s: entries of %d octets, at most %d', (row, size, most) => {
    const format = Number(/row (\d)/.exec(row)![1]);
    expect([filterEntrySize(format), filterEntriesMax(format)]).toEqual([size, most]);
  });

  test.each([0, 5, 255])('format %d is none', (format) => expect(filterEntrySize(format)).toBeUndefined());

  test.each([
    [[{ vid: 1 }], 1],
    [[{ vid: 1, mac: A }], 2],
    [[{ vid: 1, group: 0 }], 3],
    [[{ vid: 1, group: 0, mac: A }], 4],
    [[{ vid: 1, mac: A }, { vid: 1 }], undefined],
    [[], undefined],
  ] as [FilterEntry[], number | undefined][])('format of %j', (filters, format) => {
    expect(filterFormatOf(filters)).toBe(format);
  });

  test.each([
    ['VID 4095', [{ mac: A, vid: 4095 }], true, 'VID 4095 is reserved'],
    ['VID 4094', [{ mac: A, vid: 4094 }], true, undefined],
    ['VID 1', [{ mac: A, vid: 1 }], true, undefined],
    [
      'a group MAC',
      [{ mac: '01:00:5e:00:00:04' as MacAddress, vid: 1 }],
      true,
      'a group address is no guest MAC',
    ],
    ['GroupID not agreed', [{ group: 0, vid: 1 }], false, 'group ids are not agreed on this link'],
    ['GroupID agreed', [{ group: 0, vid: 1 }], true, undefined],
    [
      'two null VIDs, format 1',
      [{ vid: 0 }, { vid: 0 }],
      true,
      'only one VID may be left to the bridge without a MAC',
    ],
    ['one null VID, format 1', [{ vid: 0 }, { vid: 5 }], true, undefined],
    [
      'two null VIDs, format 2',
      [
        { mac: A, vid: 0 },
        { mac: B, vid: 0 },
      ],
      true,
      undefined,
    ],
    [
      'two null VIDs, format 3',
      [
        { group: 1, vid: 0 },
        { group: 2, vid: 0 },
      ],
      true,
      undefined,
    ],
  ] as [string, FilterEntry[], boolean, string | undefined][])('%s', (_, filters, agreed, problem) => {
    expect(filterProblem(filters, agreed)).toBe(problem);
  });

  test.each([
    ['equal', [{ mac: A, vid: 5 }], [{ mac: A, vid: 5 }], true],
    ['another VID', [{ mac: A, vid: 5 }], [{ mac: A, vid: 6 }], false],
    ['a null VID matches any', [{ mac: A, vid: 0 }], [{ mac: A, vid: 6 }], true],
    ['a null VID in the answer only', [{ mac: A, vid: 5 }], [{ mac: A, vid: 0 }], false],
    ['another MAC', [{ mac: A, vid: 0 }], [{ mac: B, vid: 0 }], false],
    ['another GroupID', [{ group: 1, vid: 0 }], [{ group: 2, vid: 0 }], false],
    [
      'GroupID 2^31 and above is unsigned',
      [{ group: 0x80000000, vid: 0 }],
      [{ group: 2147483648, vid: 0 }],
      true,
    ],
    [
      'another order',
      [
        { mac: A, vid: 5 },
        { mac: B, vid: 5 },
      ],
      [
        { mac: B, vid: 5 },
        { mac: A, vid: 5 },
      ],
      false,
    ],
    [
      'one more',
      [{ mac: A, vid: 5 }],
      [
        { mac: A, vid: 5 },
        { mac: B, vid: 5 },
      ],
      false,
    ],
    ['PCP asked and another given', [{ vid: 5, pcp: 1 }], [{ vid: 5, pcp: 2 }], false],
    ['PCP asked and none given', [{ vid: 5, pcp: 1 }], [{ vid: 5 }], false],
    ['PCP given without being asked', [{ vid: 5 }], [{ vid: 5, pcp: 2 }], true],
  ] as [string, FilterEntry[], FilterEntry[], boolean][])('match: %s', (_, asked, answered, matches) => {
    expect(filtersMatch(asked, answered)).toBe(matches);
  });
});

describe('filter entries', () => {
  test.each([
    [1, '002a', { vid: 42 }],
    [2, '5254000a0b0c b02a', { mac: '52:54:00:0a:0b:0c', vid: 42, pcp: 3 }],
    [3, 'ffffffff 702a', { group: 0xffffffff, vid: 42 }],
    [4, '00000001 5254000a0b0c 802a', { group: 1, mac: '52:54:00:0a:0b:0c', vid: 42, pcp: 0 }],
  ])('format %d: just the keys of the format', (format, octets, entry) => {
    expect(decodeFilterEntry(new OctetReader(hex(octets)), format)).toStrictEqual(entry);
  });

  test.each([
    [
      'VID 4095',
      [
        { mac: A, vid: 1 },
        { mac: A, vid: 4095 },
      ],
      true,
    ],
    [
      'a group address',
      [
        { mac: A, vid: 1 },
        { mac: '01:00:5e:00:00:01' as MacAddress, vid: 1 },
      ],
      true,
    ],
    [
      'a group id',
      [
        { mac: A, vid: 1 },
        { mac: A, vid: 1, group: 1 },
      ],
      false,
    ],
  ] as [string, FilterEntry[], boolean][])('one of two with %s is enough', (_, entries, agreed) => {
    expect(filterProblem(entries, agreed)).toBeDefined();
  });

  test('without group ids nothing is to be agreed', () => {
    expect(filterProblem([{ mac: A, vid: 1 }], false)).toBeUndefined();
  });

  test('an assigned word is given to one that names its VID, once (vdp.md 1.5)', () => {
    const known = [{ mac: A, vid: 42, pcp: 3 }];
    expect(withAssignedVids([{ mac: A, vid: 42 }], known)).toEqual(known);
  });
});

describe('VSI identity (vdp.md 1.3, 2.1)', () => {
  const id = hex('00000000000000000000ffffc0000207');
  test('format and VSIID make the key', () => {
    expect(vsiKey({ idFormat: 1, id })).not.toBe(vsiKey({ idFormat: 2, id }));
    expect(vsiKey({ idFormat: 1, id })).not.toBe(
      vsiKey({ idFormat: 1, id: hex('00000000000000000000ffffc0000208') }),
    );
    expect(vsiKey({ idFormat: 1, id })).toBe(vsiKey({ idFormat: 1, id: id.slice() }));
  });

  test.each([
    ['vdp.md 1.3 row 1', 1, '00000000000000000000ffffc0000207', 'ipv4', '192.0.2.7'],
    ['vdp.md 1.3 row 1', 1, '000000000000000000000000c0000207', 'ipv4', '192.0.2.7'],
    ['vdp.md 1.3 row 2', 2, '20010db80000000000000000000a0001', 'ipv6', '2001:db8::a:1'],
    ['vdp.md 1.3 row 2', 2, '00000000000000000000000000000000', 'ipv6', '::'],
    ['vdp.md 1.3 row 2', 2, '20010db8000000010000000000000001', 'ipv6', '2001:db8:0:1::1'],
    ['vdp.md 1.3 row 2', 2, '00010002000300040005000600070008', 'ipv6', '1:2:3:4:5:6:7:8'],
    ['vdp.md 1.3 row 2', 2, '00010000000300040005000600070008', 'ipv6', '1:0:3:4:5:6:7:8'],
    ['vdp.md 1.3 row 3', 3, '00000000000000000000525400aabbcc', 'mac', '52:54:00:aa:bb:cc'],
    ['vdp.md 1.3 row 4', 4, '74656e616e742d612f766d3700000000', 'local', '74656e616e742d612f766d3700000000'],
    [
      'vdp.md 1.3 row 5',
      5,
      '9d3f1c2075b14e0ea4c66b1f20d7e359',
      'uuid',
      '9d3f1c20-75b1-4e0e-a4c6-6b1f20d7e359',
    ],
    [
      'vdp.md 1.3, reserved',
      9,
      '00000000000000000000000000000001',
      'reserved 9',
      '00000000000000000000000000000001',
    ],
  ])('%s: format %d, %s', (_, idFormat, octets, name, text) => {
    expect([idFormatName(idFormat), vsiIdText({ idFormat, id: hex(octets) })]).toEqual([name, text]);
  });

  test.each([
    ['20010db8000000000001000100010001', '2001:db8::1:1:1:1'],
    ['20010db8000000010001000100010000', '2001:db8:0:1:1:1:1:0'],
    ['00010000000000020000000000000003', '1:0:0:2::3'],
    ['00010001000100010001000100000000', '1:1:1:1:1:1::'],
  ])('RFC 5952: %s', (octets, text) => {
    expect(vsiIdText({ idFormat: 2, id: hex(octets) })).toBe(text);
  });

  test.each([
    [1, '00000000000000000000ffffc0000207', '192.0.2.7'],
    [1, '000000000000000000000000c0000207', '1:000000000000000000000000c0000207'],
    [1, '00000000000000000001ffffc0000207', '1:00000000000000000001ffffc0000207'],
    [1, '00000000000000000000fffec0000207', '1:00000000000000000000fffec0000207'],
    [1, '00000000000000000000feffc0000207', '1:00000000000000000000feffc0000207'],
    [2, '20010db80000000000000000000a0001', '2001:db8::a:1'],
    [3, '00000000000000000000525400aabbcc', '52:54:00:aa:bb:cc'],
    [3, '00000000000000000001525400aabbcc', '3:00000000000000000001525400aabbcc'],
    [4, '74656e616e742d612f766d3700000000', '74656e616e742d612f766d3700000000'],
    [5, '9d3f1c2075b14e0ea4c66b1f20d7e359', '9d3f1c20-75b1-4e0e-a4c6-6b1f20d7e359'],
    [0, '00000000000000000000000000000001', '0:00000000000000000000000000000001'],
    [6, '00000000000000000000000000000001', '6:00000000000000000000000000000001'],
  ])('name of format %d, %s', (idFormat, octets, name) => {
    expect(vsiName({ idFormat, id: hex(octets) })).toBe(name);
  });

  test.each([
    ['VSIID', { id: new Uint8Array(16) }],
    ['Manager ID', { manager: new Uint8Array(16) }],
    ['type id', { type: 7 }],
    ['type version', { typeVersion: 2 }],
    ['filter format', { filters: [{ vid: 42 }] }],
  ] as [string, object][])('another %s is another VSI to lldpad (vdp.md 2.1)', (_, more) => {
    expect(lldpadVsiKey(command('associate', more))).not.toBe(lldpadVsiKey(command('associate')));
  });

  test('to lldpad other filters of one format are the same VSI', () => {
    const key = lldpadVsiKey(command('associate', { filters: filters(1, 2) }));
    expect(lldpadVsiKey(command('associate'))).toBe(key);
  });

  test('IPv6 text comes back as the same octets', () => {
    const group = fc.oneof(fc.constant(0), fc.nat(0xffff));
    fc.assert(
      fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), (groups) => {
        const octets = Uint8Array.from(groups.flatMap((value) => [value >> 8, value & 255]));
        expect(parseIpv6(vsiIdText({ idFormat: 2, id: octets }))).toEqual(octets);
      }),
    );
  });

  test.each([
    ['::ffff:192.0.2.7', '00000000000000000000ffffc0000207'],
    ['1:2:3:4:5:6:7::', '00010002000300040005000600070000'],
    ['2001:DB8::35', '20010db8000000000000000000000035'],
  ])('%s', (text, octets) => expect(toHex(parseIpv6(text)!)).toBe(octets));

  test.each([
    '',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '12345::',
    '123456::',
    'zz\n::1.2.3.4',
    'g::',
    '::1.2.3',
    '::1.2.3.4.5',
    '::1.2.3.256',
    '::1.2.3.4x',
    'x1::',
    '1x::',
    '::12345',
  ])('"%s" is no IPv6 address', (text) => expect(parseIpv6(text)).toBeUndefined());

  test.each([
    '',
    '1.2.3',
    '1.2.3.4.5',
    '256.0.0.1',
    '1.2.3.x',
    '1..2.3',
    '1.2.3.+4',
    '1.2.3.4 ',
    '1.2.3.0004',
    '1.2.3.1e1',
  ])('"%s" is no IPv4 address', (text) => {
    expect(parseIpv4(text)).toBeUndefined();
  });
});

test('IPv4 text up to 255.255.255.255', () => {
  expect(parseIpv4('255.0.10.255')).toEqual(hex('ff000aff'));
});

test('a command and its TLV say the same', () => {
  const wanted = command('reserve', { idFormat: 4, hint: 'to' });
  expect(commandOf(tlvOf(wanted, 0x10), wanted.manager)).toEqual(wanted);
  expect(tlvOf(command('associate', { filters: [] }), 0).filterFormat).toBe(0);
});

describe('timers (vdp.md 2, vectors.md V19)', () => {
  test('vdp.md 2 row 1: resourceWaitDelay: RWD alone', () => {
    expect(vdpTimers({ r: 7, rte: 31, rwd: 17, rka: 31 }).resourceWaitDelay).toBe(1310.72);
  });

  test('vdp.md 2 row 2: respWaitDelay: 1.5 times RWD and 2R+1 ack timers', () => {
    expect(vdpTimers({ r: 2, rte: 10, rwd: 12, rka: 31 }).respWaitDelay).toBeCloseTo(
      1.5 * (40.96 + 5 * 10.24),
      9,
    );
  });

  test('vdp.md 2 row 3: reinitKeepAlive: RKA alone', () => {
    expect(vdpTimers({ r: 7, rte: 31, rwd: 31, rka: 17 }).reinitKeepAlive).toBe(1310.72);
  });

  test('vdp.md 2 row 4: toutKeepAlive: 1.5 times RKA and 2R+1 ack timers', () => {
    expect(vdpTimers({ r: 2, rte: 10, rwd: 31, rka: 12 }).toutKeepAlive).toBeCloseTo(
      1.5 * (40.96 + 5 * 10.24),
      9,
    );
  });

  test.each(timerVectors)('R $r RTE $rte RWD $rwd RKA $rka', (row) => {
    const { ackTimer, resourceWaitDelay, respWaitDelay, reinitKeepAlive, toutKeepAlive } = vdpTimers(row);
    const seconds = [ackTimer, resourceWaitDelay, respWaitDelay, reinitKeepAlive, toutKeepAlive].map(
      (ms) => ms / 1000,
    );
    const expected = [
      row.ackTimer,
      row.resourceWaitDelay,
      row.respWaitDelay,
      row.reinitKeepAlive,
      row.toutKeepAlive,
    ];
    for (const [i, value] of expected.entries()) expect(seconds[i]).toBeCloseTo(value, 9);
  });

  test('evb-tlv.md 1.5: the largest exponents', () => {
    const timers = vdpTimers({ r: 7, rte: 31, rwd: 31, rka: 31 });
    expect(timers.resourceWaitDelay).toBeCloseTo(21_474_836.48, 3);
    expect(timers.respWaitDelay).toBeCloseTo(1.5 * 16 * 21_474_836.48, 3);
  });

  test('evb-tlv.md 1.5: the smallest exponent is 10 us', () => {
    expect(vdpTimers({ r: 0, rte: 0, rwd: 0, rka: 0 })).toMatchObject({
      ackTimer: 0.01,
      reinitKeepAlive: 0.01,
    });
  });
});

const octets16 = fc.uint8Array({ minLength: 16, maxLength: 16 });

const vsiTlv: fc.Arbitrary<VsiTlv> = fc.integer({ min: 1, max: 4 }).chain((filterFormat) => {
  const keys: Record<string, fc.Arbitrary<unknown>> = { vid: fc.nat(4095) };
  if (filterFormat === 2 || filterFormat === 4) {
    keys['mac'] = fc.uint8Array({ minLength: 6, maxLength: 6 }).map(macFromOctets);
  }
  if (filterFormat >= 3) keys['group'] = fc.integer({ min: 0, max: 0xffffffff });
  const entry = fc
    .tuple(fc.record(keys), fc.option(fc.nat(7)))
    .map(([fields, pcp]) => (pcp === null ? fields : { ...fields, pcp }) as unknown as FilterEntry);
  return fc.record(
    {
      request: fc.constantFrom<VdpRequest>('preassociate', 'reserve', 'associate', 'deassociate'),
      status: fc.nat(255),
      type: fc.nat(0xffffff),
      typeVersion: fc.nat(255),
      idFormat: fc.nat(255),
      id: octets16,
      filterFormat: fc.constant(filterFormat),
      filters: fc.array(entry, { minLength: 1, maxLength: filterEntriesMax(filterFormat), size: 'small' }),
      org: fc.array(
        fc.record({
          kind: fc.integer({ min: 0, max: 0xffffffff }),
          payload: fc.uint8Array({ maxLength: 20 }),
        }),
        { minLength: 1, maxLength: 2 },
      ),
    },
    {
      requiredKeys: ['request', 'status', 'type', 'typeVersion', 'idFormat', 'id', 'filterFormat', 'filters'],
    },
  );
});

describe('properties', () => {
  test('generated VSIs encode and decode to themselves', () => {
    fc.assert(
      fc.property(octets16, fc.array(vsiTlv, { maxLength: 3 }), (manager, vsis) => {
        const pdu = decodeVdp(encodeVdp(manager, vsis.map(encodeVsi)));
        expect(pdu).toEqual({ manager, vsis, invalid: [], unknown: [] });
      }),
    );
  });

  test.each([1, 2, 3, 4])(
    'format %d: the largest number of entries fits a TLV, one more does not',
    (filterFormat) => {
      const entry: FilterEntry = { vid: 5 };
      if (filterFormat === 2 || filterFormat === 4) entry.mac = A;
      if (filterFormat >= 3) entry.group = 1;
      const most = filterEntriesMax(filterFormat);
      const vsi = (entries: number): VsiTlv => ({
        ...vdpVectors[0]!.vsi,
        filterFormat,
        filters: Array<FilterEntry>(entries).fill(entry),
      });
      expect(decodeVdp(encodeVdp(MANAGER_12, [encodeVsi(vsi(most))])).vsis[0]!.filters.length).toBe(most);
      expect(() => encodeVsi(vsi(most + 1))).toThrow(RangeError);
    },
  );

  // A VSI TLV with an octet or two changed gets much further than noise.
  const damaged = fc
    .tuple(vsiTlv, fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { minLength: 1, maxLength: 2 }))
    .map(([vsi, changes]) => {
      const octets = encodeVdp(MANAGER_12, [encodeVsi(vsi)]);
      for (const [at, value] of changes) octets[at % octets.length] = value;
      return octets;
    });

  test.each([
    ['any octets', fc.uint8Array({ maxLength: 80 })],
    ['a damaged PDU', damaged],
  ])('%s: a PDU or a DecodeError, and its canonical form is a fixed point', (_, arbitrary) => {
    fc.assert(
      fc.property(arbitrary, (octets) => {
        let pdu: VdpPdu;
        try {
          pdu = decodeVdp(octets);
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError);
          return;
        }
        const canonical = encodeVdp(pdu.manager, pdu.vsis.map(encodeVsi));
        const again = decodeVdp(canonical);
        expect(again.vsis).toEqual(pdu.vsis);
        expect(encodeVdp(again.manager, again.vsis.map(encodeVsi))).toEqual(canonical);
        for (const invalid of pdu.invalid) {
          const answer = encodeInvalidFormat(invalid);
          expect(answer === undefined).toBe(invalid.value.length < 23);
          if (answer) expect(decodeVdp(encodeVdp(pdu.manager, [answer])).invalid.length).toBe(1);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('what a station takes for the answer to a VSI TLV that could not be read', () => {
  const invalid = (status: string, octets = `${FIXED.slice(2)} 02`) => ({
    request: 'deassociate' as const,
    value: hex(`${status}${octets}`),
    reason: '',
    offset: 0,
  });
  test('all that its 23 octets say', () => {
    expect(invalidFormatAnswer(invalid('41'))).toEqual({
      request: 'deassociate',
      status: 0x41,
      type: 0x123456,
      typeVersion: 0x21,
      idFormat: 5,
      id: hex('9d3f1c2075b14e0ea4c66b1f20d7e359'),
      filterFormat: 2,
      filters: [],
    });
  });
  test.each([
    ['no ack', invalid('01')],
    ['no error', invalid('40')],
    ['22 octets', invalid('41', FIXED.slice(2))],
    ['no octet', { ...invalid('41'), value: hex('') }],
  ])('not with %s', (_, other) => expect(invalidFormatAnswer(other)).toBeUndefined());
});

describe('the answer to a VSI TLV that could not be read (vdp.md 1.2)', () => {
  const answered = (status: number) => {
    const unreadable = tlvOf(command('associate', { filters: filters(42) }), status);
    const broken = encodeVsi(unreadable);
    broken[26] = 9;
    const [invalid] = decodeVdp(encodeVdp(MANAGER_12, [broken])).invalid;
    return { invalid: invalid!, unreadable };
  };

  test('is read by the station, filters or not', () => {
    const { invalid, unreadable } = answered(0);
    const answer = decodeVdp(encodeVdp(MANAGER_12, [encodeInvalidFormat(invalid)!]));
    expect(answer.vsis).toEqual([]);
    const read = invalidFormatAnswer(answer.invalid[0]!);
    expect(read).toMatchObject({ request: 'deassociate', status: 0x41, id: unreadable.id, filters: [] });
  });

  test('is neither a request nor a success', () => {
    expect(invalidFormatAnswer(answered(0).invalid)).toBeUndefined();
    expect(invalidFormatAnswer(answered(0x40).invalid)).toBeUndefined();
  });
});

test('no two VSIs have the same name, though their short forms may be alike', () => {
  const ids = ['000000000000000000005254000a0b0c', '010000000000000000005254000a0b0c'].map(hex);
  const zeros = hex('000000000000000000000000c0000207');
  const mapped = hex('00000000000000000000ffffc0000207');
  const vsis = [3, 4, 9].flatMap((idFormat) => ids.map((id) => ({ idFormat, id })));
  const names = [...vsis, { idFormat: 1, id: zeros }, { idFormat: 1, id: mapped }].map(vsiName);
  expect(new Set(names).size).toBe(names.length);
  expect(names[0]).toBe('52:54:00:0a:0b:0c');
  expect(names.at(-1)).toBe('192.0.2.7');
});
