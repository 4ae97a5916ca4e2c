import { describe, expect, test } from 'vitest';
import type { EvbEffect, EvbStation } from '../../protocols/evb/index.ts';
import { decodeLldpdu, type EvbTlv } from '../../protocols/lldp-codec/index.ts';
import { readCapture } from '../fixtures/pcap.ts';
import { bridgeTlv, LldpadBridge, octets6to10, PROPOSAL, station, stationTlv, ZteBridge } from './peers.ts';

const kinds = (effects: EvbEffect[]) => effects.map(({ kind }) => kind);
const policy = (reflectiveRelay: boolean, groupIds = true) => ({
  reflectiveRelay,
  groupIds,
  proposal: PROPOSAL,
});
/** The bridge has heard us: the TLV with our status echoed. */
const echoing = (us: EvbStation, more: Parameters<typeof bridgeTlv>[0] = {}) =>
  bridgeTlv({ stationStatus: us.tlv.stationStatus, ...more });

describe('state machine, station (evb-tlv.md 1.8)', () => {
  test('evb-tlv.md 1.8 row 1: start: remote absent, RRSTAT unknown (3), bridge status 00, RRREQ and SGID per policy', () => {
    expect(octets6to10(station().tlv)).toBe('00 0f 6e 94 14');
    expect(octets6to10(station({}, false, false).tlv)).toBe('00 03 6e 94 14');
    expect(station().remote).toBeUndefined();
  });

  const rows: {
    row: string;
    start?: (us: EvbStation) => void;
    event: (us: EvbStation) => EvbEffect[];
    effects: EvbEffect[];
    octets: string;
  }[] = [
    {
      row: 'evb-tlv.md 1.8 row 2: TLV received, mode 1: echo, RRSTAT = RRCTR',
      event: (us) => us.receive(bridgeTlv()),
      effects: [
        { kind: 'up' },
        { kind: 'relay', active: true, reason: 'the bridge reflects' },
        { kind: 'localChange' },
      ],
      octets: '07 0d 6e 94 14',
    },
    {
      row: 'evb-tlv.md 1.8 row 2: TLV received, RRCTR 0: RRSTAT 0',
      event: (us) => us.receive(bridgeTlv({ rrctr: false })),
      effects: [{ kind: 'up' }, { kind: 'localChange' }],
      octets: '06 0c 6e 94 14',
    },
    {
      row: 'evb-tlv.md 1.8 row 2: TLV received, RRCAP 0: no relay, VDP still runs',
      event: (us) => us.receive(bridgeTlv({ rrcap: false, rrctr: false, bgid: false })),
      effects: [{ kind: 'up' }, { kind: 'localChange' }],
      octets: '00 0c 6e 94 14',
    },
    {
      row: 'evb-tlv.md 1.8 row 2: TLV received with larger values: operational before up, so that VDP begins with the new timers',
      event: (us) => us.receive(bridgeTlv({ rwd: 24 })),
      effects: [
        { kind: 'operational', parameters: { ...PROPOSAL, rwd: 24 } },
        { kind: 'up' },
        { kind: 'relay', active: true, reason: 'the bridge reflects' },
        { kind: 'localChange' },
      ],
      octets: '07 0d 6e b8 14',
    },
    {
      row: 'evb-tlv.md 1.8 row 2: the same TLV again: nothing',
      start: (us) => us.receive(bridgeTlv()),
      event: (us) => us.receive(bridgeTlv()),
      effects: [],
      octets: '07 0d 6e 94 14',
    },
    {
      row: 'evb-tlv.md 1.8 row 2: RRCTR 0 to 1: relay, RRSTAT 1',
      start: (us) => us.receive(bridgeTlv({ rrctr: false })),
      event: (us) => us.receive(bridgeTlv()),
      effects: [{ kind: 'relay', active: true, reason: 'the bridge reflects' }, { kind: 'localChange' }],
      octets: '07 0d 6e 94 14',
    },
    {
      row: 'evb-tlv.md 1.8 row 2: RRCTR 1 to 0 with RRCAP: relay off, and the bridge has restarted',
      start: (us) => us.receive(bridgeTlv()),
      event: (us) => us.receive(bridgeTlv({ rrctr: false })),
      effects: [
        { kind: 'peerRestarted', reason: 'the bridge turned relay off without being asked: it restarted' },
        { kind: 'relay', active: false, reason: 'the bridge has not turned relay on' },
        { kind: 'localChange' },
      ],
      octets: '06 0c 6e 94 14',
    },
    {
      row: 'evb-tlv.md 1.8 row 2: RRCTR 1 to 0 without RRCAP: a decision of the bridge',
      start: (us) => us.receive(bridgeTlv()),
      event: (us) => us.receive(bridgeTlv({ rrcap: false, rrctr: false })),
      effects: [
        { kind: 'relay', active: false, reason: 'the bridge is not capable of reflective relay' },
        { kind: 'localChange' },
      ],
      octets: '04 0c 6e 94 14',
    },
    {
      row: 'evb-tlv.md 1.8 row 3: mode 2: no peer (evb-tlv.md 1.4 row 3)',
      event: (us) => us.receive(stationTlv()),
      effects: [],
      octets: '00 0f 6e 94 14',
    },
    {
      row: 'evb-tlv.md 1.8 row 3: mode 0 after mode 1: treated as absent (evb-tlv.md 1.4 row 1)',
      start: (us) => us.receive(bridgeTlv({ rwd: 24 })),
      event: (us) => us.receive(bridgeTlv({ mode: 0 }), 'other mode'),
      effects: [
        { kind: 'down', reason: 'other mode' },
        { kind: 'operational', parameters: PROPOSAL },
        { kind: 'relay', active: false, reason: 'other mode' },
        { kind: 'localChange' },
      ],
      octets: '00 0f 6e 94 14',
    },
    {
      row: 'evb-tlv.md 1.8 row 4: LLDPDU without EVB TLV',
      start: (us) => us.receive(bridgeTlv({ rrctr: false })),
      event: (us) => us.receive(undefined),
      effects: [{ kind: 'down', reason: 'the EVB TLV of the bridge is gone' }, { kind: 'localChange' }],
      octets: '00 0f 6e 94 14',
    },
    {
      row: 'evb-tlv.md 1.8 row 4: TTL 0, ageout, port down',
      start: (us) => us.receive(bridgeTlv()),
      event: (us) => us.lost('link down'),
      effects: [
        { kind: 'down', reason: 'link down' },
        { kind: 'relay', active: false, reason: 'link down' },
        { kind: 'localChange' },
      ],
      octets: '00 0f 6e 94 14',
    },
    {
      row: 'evb-tlv.md 1.8 row 4: lost without a peer: nothing',
      event: (us) => us.lost('link down'),
      effects: [],
      octets: '00 0f 6e 94 14',
    },
    {
      row: 'evb-tlv.md 1.8 row 5: RRREQ policy change: localChange',
      event: (us) => us.setPolicy(policy(false)),
      effects: [{ kind: 'localChange' }],
      octets: '00 0b 6e 94 14',
    },
    {
      row: 'evb-tlv.md 1.8 row 5: RRREQ given up while the bridge reflects: no relay in effect',
      start: (us) => us.receive(bridgeTlv()),
      event: (us) => us.setPolicy(policy(false)),
      effects: [{ kind: 'relay', active: false, reason: 'policy changed' }, { kind: 'localChange' }],
      octets: '07 09 6e 94 14',
    },
  ];
  test.each(rows.map((row) => [row.row, row] as const))('%s', (_, { start, event, effects, octets }) => {
    const us = station();
    start?.(us);
    expect(event(us)).toEqual(effects);
    expect(octets6to10(us.tlv)).toBe(octets);
  });

  test.each([
    [true, true, true],
    [true, false, false],
    [false, true, false],
  ])('1.7 GroupID: SGID %s, BGID %s: %s', (sgid, bgid, agreed) => {
    const us = station({}, true, sgid);
    expect(us.groupIds).toBe(false);
    us.receive(bridgeTlv({ bgid }));
    expect(us.groupIds).toBe(agreed);
  });
});

describe('EVB mode', () => {
  test.each([
    ['evb-tlv.md 1.4 row 1: 0', 0, false],
    ['evb-tlv.md 1.4 row 2: bridge', 1, true],
    ['evb-tlv.md 1.4 row 3: station', 2, false],
    ['evb-tlv.md 1.4 row 4: 3', 3, false],
  ])('%s: a peer for a station: %d, %s', (_, mode, isPeer) => {
    const us = station();
    expect(us.vdpAgreed).toBe(false);
    us.receive(bridgeTlv({ mode }));
    expect([us.remote !== undefined, us.vdpAgreed, us.relayPossible]).toEqual([isPeer, isPeer, isPeer]);
  });

  test('evb-tlv.md 1.8 row 3: mode 3: our TLV is transmitted as before', () => {
    const us = station();
    const before = us.tlv;
    expect(us.receive(bridgeTlv({ mode: 3 }))).toEqual([]);
    expect(us.tlv).toEqual(before);
  });

  test('a bridge that is not capable of relay', () => {
    const us = station();
    us.receive(bridgeTlv({ rrcap: false, rrctr: false }));
    expect(us.relayPossible).toBe(false);
  });
});

describe('a bridge that restarts with the same identity (evb-tlv.md 1.8)', () => {
  const restarts = (effects: EvbEffect[]) => kinds(effects).filter((kind) => kind === 'peerRestarted').length;
  const heardAll = (us: EvbStation, tlvs: EvbTlv[]) => tlvs.flatMap((tlv) => us.receive(tlv));

  test('its first LLDPDUs, RRCTR 0 and then 1, are no restart', () => {
    const us = station();
    expect(restarts(us.receive(bridgeTlv({ rrctr: false })))).toBe(0);
    expect(restarts(us.receive(echoing(us, { rrctr: false })))).toBe(0);
    expect(restarts(us.receive(echoing(us)))).toBe(0);
    expect(restarts(us.receive(echoing(us)))).toBe(0);
  });

  test('our status no longer echoed, although RRCTR stays 1', () => {
    const us = station();
    us.receive(bridgeTlv());
    us.receive(echoing(us));
    expect(us.receive(bridgeTlv())).toContainEqual({
      kind: 'peerRestarted',
      reason: 'the bridge no longer echoes our status: it restarted',
    });
  });

  test('relay turned off although our request is echoed', () => {
    const us = station();
    us.receive(bridgeTlv());
    us.receive(echoing(us));
    expect(us.receive(echoing(us, { rrctr: false }))).toContainEqual({
      kind: 'peerRestarted',
      reason: 'the bridge turned relay off without being asked: it restarted',
    });
  });

  test.each([
    ['only RRSTAT', false, false, true],
    ['only SGID', false, true, false],
  ])('a status with %s is none that was never filled in', (_, relay, groupIds, rrctr) => {
    const us = station({}, relay, groupIds);
    us.receive(bridgeTlv({ rrctr }));
    us.receive(echoing(us, { rrctr }));
    expect(restarts(us.receive(bridgeTlv({ rrctr })))).toBe(1);
  });

  test('what a peer echoed that was lost since is forgotten', () => {
    const us = station();
    us.receive(bridgeTlv());
    us.receive(echoing(us));
    us.lost('link down');
    us.receive(bridgeTlv());
    expect(restarts(us.receive(bridgeTlv()))).toBe(0);
  });

  test('told once: until it has echoed again there is no second', () => {
    const us = station();
    us.receive(bridgeTlv());
    us.receive(echoing(us));
    const gone = bridgeTlv({ rrctr: false });
    expect(restarts(heardAll(us, [gone, gone, gone]))).toBe(1);
    us.receive(echoing(us));
    us.receive(echoing(us));
    expect(restarts(us.receive(bridgeTlv()))).toBe(1);
  });

  test('an echo of an older status of ours is none', () => {
    const us = station();
    const older = us.tlv.stationStatus;
    us.receive(bridgeTlv());
    us.receive(echoing(us));
    expect(restarts(us.receive(bridgeTlv({ stationStatus: older })))).toBe(0);
  });

  test.each([
    ['relay requested', true, true],
    ['only group ids', false, true],
    ['nothing', false, false],
  ])('a bridge that never echoes (ZTE) never counts as restarted: %s', (_, relay, groups) => {
    const us = station({}, relay, groups);
    const peer = new ZteBridge(PROPOSAL);
    const effects: EvbEffect[] = [];
    for (const wanted of [relay, !relay, relay]) {
      effects.push(...us.setPolicy(policy(wanted, groups)));
      // A periodic LLDPDU that crosses ours, and the answer; RRCTR going off is asked for.
      for (let i = 0; i < 3; i++) {
        effects.push(...us.receive(peer.tlv));
        peer.receive(us.tlv);
      }
    }
    expect(restarts(effects)).toBe(0);
  });

  test.each([
    ['blank to RRREQ', [false, false], [true, false]],
    ['blank to SGID', [false, false], [false, true]],
    ['RRREQ to blank and back', [true, false], [false, false], [true, false]],
    ['off and on', [true, true], [false, true], [true, true]],
  ] as [string, ...[boolean, boolean][]][])(
    'our own change of policy is no restart: %s',
    (_, first, ...changes) => {
      const us = station({}, ...first);
      const peer = new LldpadBridge(PROPOSAL);
      const exchange = () => {
        const crossing = peer.tlv;
        peer.receive(us.tlv);
        return [...us.receive(crossing), ...us.receive(peer.tlv)];
      };
      const effects = [exchange(), exchange()].flat();
      for (const [relay, groups] of changes) {
        us.setPolicy(policy(relay, groups));
        effects.push(...exchange(), ...exchange());
      }
      expect(restarts(effects)).toBe(0);
    },
  );

  test('RRREQ off and on again before the bridge answers: its answer to the first is no restart', () => {
    const us = station();
    const peer = new LldpadBridge(PROPOSAL);
    for (let i = 0; i < 3; i++) {
      peer.receive(us.tlv);
      us.receive(peer.tlv);
    }
    us.setPolicy(policy(false));
    peer.receive(us.tlv);
    us.setPolicy(policy(true));
    expect(peer.tlv.bridgeStatus.rrctr).toBe(false);
    expect(restarts(us.receive(peer.tlv))).toBe(0);
    peer.receive(us.tlv);
    expect(restarts(us.receive(peer.tlv))).toBe(0);
    // A real one is still noticed.
    peer.receive(us.tlv);
    us.receive(peer.tlv);
    expect(restarts(us.receive(new LldpadBridge(PROPOSAL).tlv))).toBe(1);
  });

  test('relay off because we no longer ask is no restart', () => {
    const us = station();
    us.receive(bridgeTlv());
    us.setPolicy(policy(false));
    expect(restarts(us.receive(echoing(us, { rrctr: false })))).toBe(0);
  });

  test('a peer that was lost in between is a new one', () => {
    const us = station();
    us.receive(bridgeTlv());
    us.receive(echoing(us));
    us.lost('its TTL ran out');
    const effects = us.receive(bridgeTlv({ rrctr: false }));
    expect(kinds(effects)).toContain('up');
    expect(restarts(effects)).toBe(0);
  });

  test.each([
    // lldpad heard our fast start before it spoke: its restart does not show, keepalives find out.
    ['bridge-restart-short', 0],
    ['evb-ratified-rr-gpid', 0],
    ['evb-ratified-no-rrcap', 0],
    ['evb-ratified-params-mismatch', 0],
    ['evb-ratified-linux-bridge-stp-off', 0],
  ])('lldpad in capture %s: %d', (name, expected) => {
    const us = station({ rte: 8 });
    const tlvs = readCapture(name).flatMap(({ frame }) => {
      if (frame.etherType !== 0x88cc || !frame.source.endsWith(':02')) return [];
      return [decodeLldpdu(frame.payload).lldpdu.evb!];
    });
    expect(tlvs.length).toBeGreaterThan(3);
    const effects = heardAll(us, tlvs);
    expect(kinds(effects)).toContain('up');
    expect(restarts(effects)).toBe(expected);
  });
});
