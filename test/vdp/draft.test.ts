import { describe, expect, test } from 'vitest';
import { DecodeError, toHex } from '../../protocols/octets/index.ts';
import {
  decodeVdpDraft,
  encodeVdpDraft,
  encodeVsiDraft,
  VDP_DRAFT_OVERHEAD,
  VDP_DRAFT_PAIRS_MAX,
  VDP_DRAFT_TIMERS,
  VDP_RATIFIED,
  type VdpDialect,
  type VdpRequest,
  VsiBridge,
  type VsiBridgeEffect,
  type VsiCommand,
  VsiStation,
  type VsiStationEffect,
  vdpDraft,
  vdpDraftResponseName,
} from '../../protocols/vdp/index.ts';
import { hex, MANAGER_12 } from '../fixtures/vectors.ts';
import { answer, command, filters, MAC_A, MAC_B } from './support.ts';

const SECOND = 1000;
const stationSide = vdpDraft('station', 'first');
const bridgeSide = vdpDraft('bridge', 'first');

/** What the switch sends: the TLV of `asked` with its result, as the station reads it. */
function fromSwitch(vsi: VsiStation, asked: VsiCommand, response: number, now: number): VsiStationEffect[] {
  const { request, type, typeVersion, id, filters: entries } = asked;
  const tlv = encodeVsiDraft({ request, response, manager: 12, type, typeVersion, id, filters: entries });
  const { pdus } = stationSide.decode(encodeVdpDraft([tlv]));
  return pdus.flatMap(({ manager, vsis }) => vsis.flatMap((read) => vsi.receive(read, manager, now)));
}
const told = (effects: VsiStationEffect[]) =>
  effects.map((effect) => {
    if (effect.kind === 'send') return `send ${effect.command.request}`;
    if (effect.kind === 'ended') return `ended ${effect.end}`;
    return effect.kind === 'confirmed' && effect.keepalive ? 'keepalive' : effect.kind;
  });

const machine = () => new VsiStation(VDP_DRAFT_TIMERS, stationSide);
function asking(request: VdpRequest, before?: VdpRequest): VsiStation {
  const vsi = before === undefined ? machine() : holding(before);
  vsi.command(command(request), 0);
  return vsi;
}
function holding(request: VdpRequest): VsiStation {
  const vsi = machine();
  vsi.command(command(request), 0);
  fromSwitch(vsi, command(request), 0, 0);
  return vsi;
}

describe('timers (vdp.md 5.2)', () => {
  test('ack timer 3 s, keepalive 10 s; a switch keeps an association for three of them', () => {
    const { ackTimer, respWaitDelay, reinitKeepAlive, toutKeepAlive, resourceWaitDelay } = VDP_DRAFT_TIMERS;
    expect([ackTimer, respWaitDelay, reinitKeepAlive, toutKeepAlive]).toEqual([500, 3000, 10_000, 30_000]);
    expect(resourceWaitDelay).toBe(respWaitDelay / 2);
  });
});

describe('station states (vdp.md 5.3)', () => {
  test.each(['preassociate', 'reserve'] as const)('vdp.md 5.3 row 1 UNASSOCIATED: request %s', (request) => {
    const vsi = machine();
    expect(told(vsi.command(command(request), 0))).toEqual([`send ${request}`]);
    expect(vsi.state).toBe('STATION_PROCESSING');
  });

  test('vdp.md 5.3 row 2 UNASSOCIATED: request Assoc', () => {
    const vsi = machine();
    expect(told(vsi.command(command('associate'), 0))).toEqual(['send associate']);
    expect(vsi.state).toBe('STATION_PROCESSING');
  });

  test('vdp.md 5.3 row 3 UNASSOCIATED: request DeAssoc: done at once, nothing is sent', () => {
    expect(told(machine().command(command('deassociate'), 0))).toEqual(['ended asked']);
  });

  test.each([
    ['preassociate', 'PreAssoc'],
    ['reserve', 'PreAssocRR'],
    ['associate', 'Assoc'],
  ] as const)('vdp.md 5.3 row 4: %s, response 0', (request, vsiState) => {
    const vsi = asking(request);
    expect(vsi.nextDeadline()).toBe(3 * SECOND);
    expect(told(fromSwitch(vsi, command(request), 0, 1))).toEqual(['confirmed']);
    expect([vsi.state, vsi.vsiState, vsi.nextDeadline()]).toEqual([
      'WAIT_SYSTEM_CMD',
      vsiState,
      10 * SECOND + 1,
    ]);
  });

  test.each([1, 2, 3, 4, 5, 6])('vdp.md 5.3 row 5: response %i', (response) => {
    const vsi = asking('associate');
    const [ended] = fromSwitch(vsi, command('associate'), response, 1);
    expect(ended).toMatchObject({
      kind: 'ended',
      end: 'refused',
      reason: `the bridge refused: ${vdpDraftResponseName(response)}`,
    });
    expect(vsi.state).toBe('INIT');
  });

  test('vdp.md 5.3 row 5: VDP ack timer = 0', () => {
    const vsi = asking('associate');
    expect(vsi.advance(3 * SECOND - 1)).toEqual([]);
    expect(told(vsi.advance(3 * SECOND))).toEqual(['ended timeout']);
  });

  test('vdp.md 5.3 row 6 PREASSOCIATED: request Assoc', () => {
    const vsi = holding('preassociate');
    expect(told(vsi.command(command('associate'), 0))).toEqual(['send associate']);
    expect(told(fromSwitch(vsi, command('associate'), 0, 0))).toEqual(['confirmed']);
    expect(vsi.vsiState).toBe('Assoc');
  });

  test('vdp.md 5.3 row 7 PREASSOCIATED: request DeAssoc', () => {
    expect(told(holding('preassociate').command(command('deassociate'), 0))).toEqual(['send deassociate']);
  });

  test.each([0, 4])('vdp.md 5.3 row 7 PREASSOCIATED: DeAssoc from the switch, response %i', (response) => {
    const vsi = holding('preassociate');
    expect(told(fromSwitch(vsi, command('deassociate'), response, 5))).toEqual(['ended bridge']);
    expect(vsi.state).toBe('INIT');
  });

  test('vdp.md 5.3 row 8 PREASSOCIATED: keepalive 10 s', () => {
    const vsi = holding('preassociate');
    expect(told(vsi.advance(10 * SECOND))).toEqual(['send preassociate']);
    expect(told(fromSwitch(vsi, command('preassociate'), 0, 10 * SECOND))).toEqual(['keepalive']);
  });

  test('vdp.md 5.3 row 9 ASSOCIATED: request PreAssoc', () => {
    const vsi = holding('associate');
    expect(told(vsi.command(command('preassociate'), 0))).toEqual(['send preassociate']);
  });

  test('vdp.md 5.3 row 10 ASSOCIATED: request DeAssoc', () => {
    expect(told(holding('associate').command(command('deassociate'), 0))).toEqual(['send deassociate']);
  });

  test('vdp.md 5.3 row 10 ASSOCIATED: DeAssoc from the switch', () => {
    expect(told(fromSwitch(holding('associate'), command('deassociate'), 0, 5))).toEqual(['ended bridge']);
  });

  test('vdp.md 5.3 row 10 ASSOCIATED: negative response from the switch', () => {
    const vsi = holding('associate');
    expect(told(fromSwitch(vsi, command('associate'), 4, 5))).toEqual(['ended bridge']);
    expect(vsi.state).toBe('INIT');
  });

  test('vdp.md 5.3 row 11 ASSOCIATED: keepalive 10 s', () => {
    const vsi = holding('associate');
    expect(vsi.advance(10 * SECOND - 1)).toEqual([]);
    expect(told(vsi.advance(10 * SECOND))).toEqual(['send associate']);
    expect(told(fromSwitch(vsi, command('associate'), 3, 10 * SECOND + 1))).toEqual(['ended refused']);
  });

  test.each([0, 3])('vdp.md 5.3 row 12 DEASSOC_PROCESSING: response TLV %i', (response) => {
    const vsi = asking('deassociate', 'associate');
    expect(told(fromSwitch(vsi, command('deassociate'), response, 1))).toEqual(['ended asked']);
  });

  test('vdp.md 5.3 row 12 DEASSOC_PROCESSING: timer = 0', () => {
    expect(told(asking('deassociate', 'associate').advance(3 * SECOND))).toEqual(['ended asked']);
  });

  test('vdp.md 5.3 row 13 EXIT: the owner is told, nothing remains', () => {
    const vsi = asking('associate');
    expect(told(fromSwitch(vsi, command('associate'), 2, 1))).toEqual(['ended refused']);
    expect([vsi.state, vsi.operCmd, vsi.sysCmd]).toEqual(['INIT', undefined, undefined]);
    expect([vsi.nextDeadline(), vsi.awaiting]).toEqual([Number.POSITIVE_INFINITY, undefined]);
  });
});

describe('responses', () => {
  test.each([
    ['vdp.md 5.1 Response row 1', 0, 'success'],
    ['vdp.md 5.1 Response row 2', 1, 'invalid format'],
    ['vdp.md 5.1 Response row 3', 2, 'insufficient resources'],
    ['vdp.md 5.1 Response row 4', 3, 'unused VTID'],
    ['vdp.md 5.1 Response row 5', 4, 'VTID violation'],
    ['vdp.md 5.1 Response row 6', 5, 'VTID version violation'],
    ['vdp.md 5.1 Response row 7', 6, 'out of sync'],
  ])('%s: %i, %s', (_, response, name) => {
    expect(stationSide.errorName(response)).toBe(name);
    const tlv = draftTlv({ response });
    const [read] = stationSide.decode(encodeVdpDraft([tlv])).pdus[0]!.vsis;
    expect(read).toMatchObject({
      request: response === 0 ? 'associate' : 'deassociate',
      status: 0x40 | response,
      idFormat: 5,
      filterFormat: 2,
    });
  });

  test.each([
    ['success', 0x40, 0],
    ['invalid format', 0x41, 1],
    ['insufficient resources', 0x42, 2],
    ['the manager is out of reach', 0x43, 6],
    ['other failure: no profile fits', 0x44, 3],
    ['invalid filter', 0x45, 4],
    ['a code that is reserved', 0x4f, 0],
    ['hard', 0x54, 3],
  ])('ours in the words of the draft: %s', (_, status, response) => {
    const octets = bridgeSide.encodeVsi(answer(command('associate'), status), MANAGER_12);
    expect(octets[7]).toBe(response);
  });

  test('what a station claims as a result says nothing', () => {
    const [read] = bridgeSide.decode(encodeVdpDraft([draftTlv({ response: 4 })])).pdus[0]!.vsis;
    expect(read).toMatchObject({ request: 'associate', status: 0 });
  });
});

const draftTlv = (more: Partial<Parameters<typeof encodeVsiDraft>[0]> = {}) => {
  const { request, type, typeVersion, id, filters: entries } = command('associate');
  return encodeVsiDraft({
    request,
    response: 0,
    manager: 12,
    type,
    typeVersion,
    id,
    filters: entries,
    ...more,
  });
};

describe('the dialect', () => {
  test('what a PDU needs besides its VSI TLVs', () => {
    const sizes = (dialect: VdpDialect) => [dialect.overhead, dialect.encodePdu(MANAGER_12, []).length];
    expect(sizes(stationSide)).toEqual([VDP_DRAFT_OVERHEAD, 2]);
    expect(sizes(VDP_RATIFIED)).toEqual([20, 20]);
    expect(VDP_DRAFT_OVERHEAD).toBe(2);
  });

  test('how they differ', () => {
    const made = vdpDraft('station', 'first');
    expect([made.oneManager, made.keeps, made.overhead]).toEqual([false, false, 2]);
    expect([0, 6, 7].map(made.errorName)).toEqual(['success', 'out of sync', 'reserved response 7']);
    expect(VDP_DRAFT_PAIRS_MAX).toBe(60);
    expect([VDP_RATIFIED.oneManager, VDP_RATIFIED.keeps]).toEqual([true, true]);
    expect([stationSide.oneManager, stationSide.keeps]).toEqual([false, false]);
    expect(VDP_RATIFIED.objection(command('associate', { idFormat: 1 }))).toBeUndefined();
  });

  test('ratified: PDU and what of it could not be read', () => {
    const good = VDP_RATIFIED.encodeVsi(answer(command('associate'), 0), MANAGER_12);
    const { pdus, invalid } = VDP_RATIFIED.decode(
      VDP_RATIFIED.encodePdu(MANAGER_12, [good, hex('0600'), good]),
    );
    expect([pdus.length, pdus[0]!.vsis.length, invalid]).toEqual([1, 2, 1]);
  });

  test.each([
    ['first', '0c', 0],
    ['last', '07', 15],
  ] as const)('manager id: the %s octet', (managerOctet, octet, at) => {
    const dialect = vdpDraft('station', managerOctet);
    const manager = new Uint8Array(16);
    manager[at] = Number.parseInt(octet, 16);
    const tlv = dialect.encodeVsi(answer(command('associate'), 0x40), manager);
    expect(toHex(tlv).slice(16, 18)).toBe(octet);
    const { pdus } = dialect.decode(dialect.encodePdu(manager, [tlv]));
    expect(pdus).toMatchObject([{ manager, invalid: [], unknown: [] }]);
    expect(dialect.objection(command('associate', { manager }))).toBeUndefined();
  });

  test('VSIs of several managers in one PDU, in their order; one that cannot be read is counted', () => {
    const octets = encodeVdpDraft([
      draftTlv(),
      draftTlv({ manager: 3 }),
      draftTlv({ request: 'reserve' }),
      hex('fe05 001b3f 02 09'),
    ]);
    const { pdus, invalid } = bridgeSide.decode(octets);
    expect(invalid).toBe(1);
    expect(pdus.map(({ manager, vsis }) => [manager[0], vsis.map(({ request }) => request)])).toEqual([
      [12, ['associate', 'reserve']],
      [3, ['associate']],
    ]);
  });

  test('a TLV beyond the end is a DecodeError', () => {
    expect(() => bridgeSide.decode(hex('fe26 00'))).toThrow(DecodeError);
  });

  test.each([
    ['a VSIID that is no UUID', { idFormat: 4 }, 'draft 0.2 knows a VSI by its UUID only'],
    ['a filter without MAC', { filters: [{ vid: 1 }] }, 'draft 0.2 knows only filters of MAC and VID'],
    [
      'a group id',
      { filters: [{ mac: MAC_A, vid: 1, group: 0 }] },
      'draft 0.2 knows only filters of MAC and VID',
    ],
    [
      'one of two with a PCP',
      {
        filters: [
          { mac: MAC_A, vid: 1 },
          { mac: MAC_B, vid: 1, pcp: 0 },
        ],
      },
      'draft 0.2 has no PCP in its filters',
    ],
    [
      'one filter too many',
      { filters: Array.from({ length: VDP_DRAFT_PAIRS_MAX + 1 }, () => ({ mac: MAC_A, vid: 1 })) },
      'draft 0.2 takes 60 filters for a VSI',
    ],
    [
      'as many as fit',
      { filters: Array.from({ length: VDP_DRAFT_PAIRS_MAX }, () => ({ mac: MAC_A, vid: 1 })) },
      undefined,
    ],
    [
      'a manager of 16 octets',
      { manager: Uint8Array.of(12, ...new Uint8Array(14), 1) },
      'draft 0.2 has manager ids from 0 to 255 only',
    ],
    [
      'one of two without MAC',
      { filters: [{ mac: MAC_A, vid: 1 }, { vid: 1 }] },
      'draft 0.2 knows only filters of MAC and VID',
    ],
    ['what it has words for', { filters: filters(42, 43) }, undefined],
  ] as [string, Partial<VsiCommand>, string | undefined][])('objection to %s', (_, more, objection) => {
    expect(stationSide.objection(command('associate', more))).toBe(objection);
  });
});

describe('what cannot be read, and what is not ours (vdp.md 5.1)', () => {
  const value = toHex(draftTlv().subarray(2));
  const read = (octets: string) => decodeVdpDraft(hex(octets));

  test('response 7 is none', () => {
    const octets = toHex(draftTlv({ response: 7 }));
    expect(read(`${octets} 0000`)).toEqual({
      vsis: [],
      invalid: [{ value: hex(octets.slice(4)), reason: 'reserved response 7', offset: 7 }],
      unknown: [],
    });
  });

  test.each([
    ['another type with the same octets', `0c26 ${value} 0000`, 6, value],
    ['three octets of type 127', 'fe03 001b3f 0000', 127, '001b3f'],
    ['another OUI', 'fe04 001b3e 02 0000', 127, '001b3e02'],
    ['another subtype', 'fe04 001b3f 01 0000', 127, '001b3f01'],
  ])('passed over: %s', (_, octets, type, kept) => {
    expect(read(octets)).toEqual({ vsis: [], invalid: [], unknown: [{ type, value: hex(kept) }] });
  });

  test('four octets are a VSI TLV without content', () => {
    expect(read('fe04 001b3f 02 0000').invalid.map(({ value: octets }) => toHex(octets))).toEqual([
      '001b3f02',
    ]);
  });

  test('no End TLV: the last TLV may be empty, one octet is padding', () => {
    expect(read('0c00').unknown).toEqual([{ type: 6, value: hex('') }]);
    expect(read('0c00 00').unknown.length).toBe(1);
  });
});

describe('bridge machine', () => {
  const processing = (before?: VdpRequest) => {
    const vsi = new VsiBridge(VDP_DRAFT_TIMERS, bridgeSide);
    if (before) {
      vsi.request(command(before), 0);
      vsi.resource({ outcome: 'success', filters: command(before).filters }, 0);
    }
    vsi.request(command('associate', { filters: filters(42, 43) }), 0);
    return vsi;
  };
  const sent = (effects: VsiBridgeEffect[]) =>
    effects.flatMap((effect) => (effect.kind === 'send' ? [[effect.tlv.request, effect.tlv.status]] : []));

  test('a refusal repeats the request`s mode (vdp.md 5.1)', () => {
    const vsi = processing();
    expect(sent(vsi.resource({ outcome: 'deassoc', error: 4, hard: false }, 1))).toEqual([
      ['associate', 0x44],
    ]);
    expect(vsi.state).toBe('END');
  });

  test('there is no Keep: what is refused is over', () => {
    const vsi = processing('associate');
    expect(sent(vsi.resource({ outcome: 'keep', error: 2 }, 1))).toEqual([['associate', 0x42]]);
    expect(vsi.state).toBe('END');
  });

  test('no decision in time: over', () => {
    const vsi = processing('associate');
    expect(sent(vsi.advance(VDP_DRAFT_TIMERS.resourceWaitDelay))).toEqual([['deassociate', 0]]);
    expect(vsi.state).toBe('END');
  });
});
