import { describe, expect, test } from 'vitest';
import { EvbBridge, type EvbEffect } from '../../protocols/evb/index.ts';
import { decodeEvbTlv } from '../../protocols/lldp-codec/index.ts';
import { OctetReader } from '../../protocols/octets/index.ts';
import { hex } from '../fixtures/vectors.ts';
import { bridge, bridgeTlv, octets6to10, PROPOSAL, station, stationTlv } from './peers.ts';

const policy = (reflectiveRelay: boolean, always = false) => ({
  reflectiveRelay,
  always,
  groupIds: true,
  proposal: PROPOSAL,
});

describe('state machine, bridge (evb-tlv.md 1.9)', () => {
  const rows: {
    row: string;
    start?: (us: EvbBridge) => void;
    event: (us: EvbBridge) => EvbEffect[];
    effects: EvbEffect[];
    octets: string;
  }[] = [
    {
      row: 'evb-tlv.md 1.9 row 1: start: RRCTR 0, station status 00, RRCAP and BGID per policy',
      event: () => [],
      effects: [],
      octets: '06 00 6e 54 14',
    },
    {
      row: 'evb-tlv.md 1.9 row 2: TLV received, mode 2, RRREQ: the port is to reflect, RRCTR only when it does',
      event: (us) => us.receive(stationTlv()),
      effects: [
        { kind: 'up' },
        { kind: 'relay', active: true, reason: 'the station requests relay' },
        { kind: 'localChange' },
      ],
      octets: '06 0f 6e 54 14',
    },
    {
      row: 'evb-tlv.md 1.9 row 2: the port reflects: RRCTR 1',
      start: (us) => us.receive(stationTlv()),
      event: (us) => us.applied(true),
      effects: [{ kind: 'localChange' }],
      octets: '07 0f 6e 54 14',
    },
    {
      row: 'evb-tlv.md 1.9 row 2: the port could not: RRCTR stays 0',
      start: (us) => us.receive(stationTlv()),
      event: (us) => us.applied(false),
      effects: [],
      octets: '06 0f 6e 54 14',
    },
    {
      row: 'evb-tlv.md 1.9 row 2: TLV received, no RRREQ: no relay',
      event: (us) => us.receive(stationTlv({ rrreq: false })),
      effects: [{ kind: 'up' }, { kind: 'localChange' }],
      octets: '06 0b 6e 54 14',
    },
    {
      row: 'evb-tlv.md 1.9 row 2: RRREQ withdrawn: the port is to stop; RRCTR 1 as long as it does not',
      start: (us) => {
        us.receive(stationTlv());
        us.applied(true);
      },
      event: (us) => us.receive(stationTlv({ rrreq: false })),
      effects: [
        { kind: 'relay', active: false, reason: 'the station does not request relay' },
        { kind: 'localChange' },
      ],
      octets: '07 0b 6e 54 14',
    },
    {
      row: 'evb-tlv.md 1.9 row 2: operational before up',
      event: (us) => us.receive(stationTlv({ rka: 25, rrreq: false })),
      effects: [
        { kind: 'operational', parameters: { ...PROPOSAL, rka: 25 } },
        { kind: 'up' },
        { kind: 'localChange' },
      ],
      octets: '06 0b 6e 54 39',
    },
    {
      row: 'evb-tlv.md 1.9 row 2: the same again: nothing',
      start: (us) => us.receive(stationTlv()),
      event: (us) => us.receive(stationTlv()),
      effects: [],
      octets: '06 0f 6e 54 14',
    },
    {
      row: 'evb-tlv.md 1.9 row 3: neighbour lost: hairpin off, operational = local, station status 00',
      start: (us) => {
        us.receive(stationTlv({ rwd: 22 }));
        us.applied(true);
      },
      event: (us) => [...us.lost('its TTL ran out'), ...us.applied(false)],
      effects: [
        { kind: 'down', reason: 'its TTL ran out' },
        { kind: 'operational', parameters: PROPOSAL },
        { kind: 'relay', active: false, reason: 'its TTL ran out' },
        { kind: 'localChange' },
        { kind: 'localChange' },
      ],
      octets: '06 00 6e 54 14',
    },
    {
      row: 'evb-tlv.md 1.9 row 3: TLV missing',
      start: (us) => us.receive(stationTlv({ rrreq: false })),
      event: (us) => us.receive(undefined),
      effects: [{ kind: 'down', reason: 'the EVB TLV of the station is gone' }, { kind: 'localChange' }],
      octets: '06 00 6e 54 14',
    },
    {
      row: 'evb-tlv.md 1.9 row 3: mode 1: no peer (evb-tlv.md 1.4 row 2)',
      event: (us) => us.receive(bridgeTlv()),
      effects: [],
      octets: '06 00 6e 54 14',
    },
    {
      row: 'policy takes RRCAP away while the station asks: the port is to stop',
      start: (us) => us.receive(stationTlv()),
      event: (us) => us.setPolicy(policy(false)),
      effects: [{ kind: 'relay', active: false, reason: 'policy changed' }, { kind: 'localChange' }],
      octets: '04 0f 6e 54 14',
    },
    {
      row: 'policy gives RRCAP while the station asks',
      start: (us) => {
        us.setPolicy(policy(false));
        us.receive(stationTlv());
      },
      event: (us) => us.setPolicy(policy(true)),
      effects: [{ kind: 'relay', active: true, reason: 'policy changed' }, { kind: 'localChange' }],
      octets: '06 0f 6e 54 14',
    },
  ];
  test.each(rows.map((row) => [row.row, row] as const))('%s', (_, { start, event, effects, octets }) => {
    const us = bridge();
    start?.(us);
    expect(event(us)).toEqual(effects);
    expect(octets6to10(us.tlv)).toBe(octets);
  });

  test.each([
    ['evb-tlv.md 1.4 row 1: 0', 0, false],
    ['evb-tlv.md 1.4 row 2: bridge', 1, false],
    ['evb-tlv.md 1.4 row 3: station', 2, true],
    ['evb-tlv.md 1.4 row 4: 3', 3, false],
  ])('%s: a peer for a bridge: %d, %s', (_, mode, isPeer) => {
    const us = bridge();
    us.receive(stationTlv({ mode }));
    expect([us.remote !== undefined, us.vdpAgreed, us.relayWanted]).toEqual([isPeer, isPeer, isPeer]);
  });

  test('RRREQ without RRCAP: nothing happens on the port', () => {
    const us = bridge({}, false);
    expect(us.receive(stationTlv()).map(({ kind }) => kind)).toEqual(['up', 'localChange']);
    expect([us.relayWanted, us.relayActive]).toEqual([false, false]);
  });

  test('a port that always reflects says RRCAP and RRCTR, asked or not', () => {
    const us = new EvbBridge(policy(false, true));
    expect(octets6to10(us.tlv)).toBe('07 00 6e 54 14');
    expect(us.receive(stationTlv({ rrreq: false })).map(({ kind }) => kind)).toEqual(['up', 'localChange']);
    expect(us.relayActive).toBe(true);
    us.lost('gone');
    expect(us.relayActive).toBe(true);
  });

  test.each([
    [true, true, true],
    [true, false, false],
    [false, true, false],
  ])('1.7 GroupID: BGID %s, SGID %s: %s', (bgid, sgid, agreed) => {
    const us = bridge({}, true, bgid);
    us.receive(stationTlv({ sgid }));
    expect(us.groupIds).toBe(agreed);
    us.lost('gone');
    expect(us.groupIds).toBe(false);
  });
});

describe('worked exchange (evb-tlv.md 1.10), with our ROL 0 on a tie', () => {
  test('relay requested and granted', () => {
    const [sta, br] = [station({ rte: 8 }), bridge({ rte: 8 })];
    expect(octets6to10(sta.tlv)).toBe('00 0f 68 94 14');
    br.receive(sta.tlv);
    expect(octets6to10(br.tlv)).toBe('06 0f 68 54 14');
    br.applied(true);
    expect(octets6to10(br.tlv)).toBe('07 0f 68 54 14');
    sta.receive(br.tlv);
    expect(octets6to10(sta.tlv)).toBe('07 0d 68 94 14');
    expect([sta.relayActive, br.relayActive, sta.groupIds, br.groupIds]).toEqual([true, true, true, true]);
    br.receive(sta.tlv);
    expect(octets6to10(br.tlv)).toBe('07 0d 68 54 14');
    expect(sta.receive(br.tlv)).toEqual([]);
  });

  test('without RRCAP', () => {
    const [sta, br] = [station({ rte: 8 }, true, false), bridge({ rte: 8 }, false, false)];
    expect(octets6to10(sta.tlv)).toBe('00 07 68 94 14');
    br.receive(sta.tlv);
    expect(octets6to10(br.tlv)).toBe('00 07 68 54 14');
    sta.receive(br.tlv);
    expect(octets6to10(sta.tlv)).toBe('00 04 68 94 14');
    expect(sta.relayActive).toBe(false);
  });

  test('lldpad`s own TLVs of that exchange, ROL 1 on the tie', () => {
    const sta = station({ rte: 8 });
    sta.receive(decodeEvbTlv(new OctetReader(hex('07 0f 68 74 34'))));
    expect(octets6to10(sta.tlv)).toBe('07 0d 68 94 14');
    expect(sta.operational).toEqual({ r: 3, rte: 8, rwd: 20, rka: 20 });
    const br = bridge({ rte: 8 });
    br.receive(decodeEvbTlv(new OctetReader(hex('00 0f 68 94 14'))));
    br.applied(true);
    br.receive(decodeEvbTlv(new OctetReader(hex('07 0d 68 b4 34'))));
    expect(octets6to10(br.tlv)).toBe('07 0d 68 54 14');
  });
});
