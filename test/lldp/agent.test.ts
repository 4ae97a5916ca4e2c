import { describe, expect, test } from 'vitest';
import {
  LLDP_TIMING,
  LldpAgent,
  type LldpEffect,
  type LldpTiming,
  type LocalSystem,
} from '../../protocols/lldp-agent/index.ts';
import { decodeLldpdu, encodeLldpdu, type Lldpdu } from '../../protocols/lldp-codec/index.ts';
import type { MacAddress } from '../../protocols/octets/index.ts';
import { evbVectors, hex } from '../fixtures/vectors.ts';
import { type At, runUntil } from '../support/virtual-time.ts';

const SECOND = 1000;

const local: LocalSystem = {
  chassisId: { subtype: 4, id: hex('021122334401') },
  portId: { subtype: 3, id: hex('021122334401') },
  systemName: 'station',
};

/** LLDPDU of neighbour number `n`. */
function pdu(n: number, ttl = 121, more: Partial<Lldpdu> = {}): Uint8Array {
  const id = Uint8Array.of(2, 0, 0, 0, 0, n);
  return encodeLldpdu({ chassisId: { subtype: 4, id }, portId: { subtype: 3, id }, ttl, others: [], ...more })
    .octets;
}

function agent(timing: Partial<LldpTiming> = {}): LldpAgent {
  return new LldpAgent(local, { ...LLDP_TIMING, ...timing });
}

/** Port up at 0 with the first LLDPDU out. */
function running(timing: Partial<LldpTiming> = {}): LldpAgent {
  const lldp = agent(timing);
  lldp.setPortEnabled(true, 0);
  return lldp;
}

const ttls = (effects: LldpEffect[]) =>
  effects.flatMap((effect) => (effect.kind === 'send' ? [decodeLldpdu(effect.lldpdu).lldpdu.ttl] : []));
const sentAt = (effects: At<LldpEffect>[]) =>
  effects.flatMap(({ kind, at }) => (kind === 'send' ? [at / SECOND] : []));
const heard = (effects: LldpEffect[]) =>
  effects.flatMap((effect) =>
    effect.kind === 'neighbour' ? [effect.event] : effect.kind === 'neighbourGone' ? [effect.reason] : [],
  );

describe('states (lldp.md 4, 5, 6)', () => {
  const starts = {
    'port down': () => agent(),
    'port up': () => running(),
    'port up, neighbour 1': () => {
      const lldp = running();
      lldp.receive(pdu(1), 0);
      return lldp;
    },
    'port up, TxOnly': () => {
      const lldp = running();
      lldp.setAdminStatus('enabledTxOnly');
      return lldp;
    },
    'port up, RxOnly': () => {
      const lldp = agent();
      lldp.setAdminStatus('enabledRxOnly');
      lldp.setPortEnabled(true, 0);
      return lldp;
    },
    'port up, just disabled': () => {
      const lldp = running();
      lldp.setAdminStatus('disabled');
      return lldp;
    },
    'port down, TxOnly': () => {
      const lldp = agent();
      lldp.setAdminStatus('enabledTxOnly');
      return lldp;
    },
  };
  const IDLE = ['TX_TIMER_IDLE', 'TX_IDLE', 'RX_WAIT_FOR_FRAME'];
  const DOWN = ['TX_TIMER_INITIALIZE', 'TX_LLDP_INITIALIZE', 'LLDP_WAIT_PORT_OPERATIONAL'];
  const rows: {
    row: string;
    start: keyof typeof starts;
    event: (lldp: LldpAgent) => void;
    target: string[];
  }[] = [
    {
      row: 'lldp.md 4 row 1 TX_TIMER_INITIALIZE: port not enabled',
      start: 'port down',
      event: () => {},
      target: DOWN,
    },
    {
      row: 'lldp.md 4 row 2 TX_TIMER_IDLE: portEnabled, RxTx',
      start: 'port down',
      event: (lldp) => lldp.setPortEnabled(true, 0),
      target: IDLE,
    },
    {
      row: 'lldp.md 6 row 1 LLDP_WAIT_PORT_OPERATIONAL: portEnabled false',
      start: 'port up',
      event: (lldp) => lldp.setPortEnabled(false, 0),
      target: DOWN,
    },
    {
      row: 'lldp.md 6 row 3 RX_LLDP_INITIALIZE: portEnabled, TxOnly: reception waits',
      start: 'port down, TxOnly',
      event: (lldp) => lldp.setPortEnabled(true, 0),
      target: ['TX_TIMER_IDLE', 'TX_IDLE', 'RX_LLDP_INITIALIZE'],
    },
    {
      row: 'lldp.md 6 row 1 LLDP_WAIT_PORT_OPERATIONAL: TxOnly on a port that is down: reception still waits for the port',
      start: 'port down',
      event: (lldp) => lldp.setAdminStatus('enabledTxOnly'),
      target: DOWN,
    },
    {
      row: 'lldp.md 6 row 4 RX_WAIT_FOR_FRAME: adminStatus TxOnly',
      start: 'port up',
      event: (lldp) => lldp.setAdminStatus('enabledTxOnly'),
      target: ['TX_TIMER_IDLE', 'TX_IDLE', 'RX_LLDP_INITIALIZE'],
    },
    {
      row: 'lldp.md 6 row 3 RX_LLDP_INITIALIZE: adminStatus RxTx again',
      start: 'port up, TxOnly',
      event: (lldp) => lldp.setAdminStatus('enabledRxTx'),
      target: IDLE,
    },
    {
      row: 'lldp.md 5 row 2 TX_IDLE: adminStatus RxOnly',
      start: 'port up',
      event: (lldp) => lldp.setAdminStatus('enabledRxOnly'),
      target: ['TX_TIMER_INITIALIZE', 'TX_SHUTDOWN_FRAME', 'RX_WAIT_FOR_FRAME'],
    },
    {
      row: 'lldp.md 5 row 1 TX_LLDP_INITIALIZE: portEnabled, RxOnly: never transmits',
      start: 'port up, RxOnly',
      event: () => {},
      target: ['TX_TIMER_INITIALIZE', 'TX_LLDP_INITIALIZE', 'RX_WAIT_FOR_FRAME'],
    },
    {
      row: 'lldp.md 5 row 2 TX_IDLE: adminStatus disabled',
      start: 'port up',
      event: (lldp) => lldp.setAdminStatus('disabled'),
      target: ['TX_TIMER_INITIALIZE', 'TX_SHUTDOWN_FRAME', 'RX_LLDP_INITIALIZE'],
    },
    {
      row: 'lldp.md 5 row 4 TX_SHUTDOWN_FRAME: txShutdownWhile still runs',
      start: 'port up, just disabled',
      event: (lldp) => runUntil(lldp, 0, 1.9 * SECOND),
      target: ['TX_TIMER_INITIALIZE', 'TX_SHUTDOWN_FRAME', 'RX_LLDP_INITIALIZE'],
    },
    {
      row: 'lldp.md 5 row 4 TX_SHUTDOWN_FRAME: txShutdownWhile = 0',
      start: 'port up, just disabled',
      event: (lldp) => runUntil(lldp, 0, 2 * SECOND),
      target: ['TX_TIMER_INITIALIZE', 'TX_LLDP_INITIALIZE', 'RX_LLDP_INITIALIZE'],
    },
    {
      row: 'lldp.md 5 row 4 TX_SHUTDOWN_FRAME: link down',
      start: 'port up, just disabled',
      event: (lldp) => lldp.setPortEnabled(false, 0),
      target: DOWN,
    },
    {
      row: 'lldp.md 6 row 4 RX_WAIT_FOR_FRAME, row 5 RX_FRAME: rcvFrame',
      start: 'port up',
      event: (lldp) => lldp.receive(pdu(1), 0),
      target: IDLE,
    },
    {
      row: 'lldp.md 6 row 4 RX_WAIT_FOR_FRAME: rxInfoAge',
      start: 'port up, neighbour 1',
      event: (lldp) => runUntil(lldp, 0, 121 * SECOND),
      target: IDLE,
    },
  ];
  test.each(rows.map((row) => [row.row, row.start, row] as const))(
    '%s (%s)',
    (_, start, { event, target }) => {
      const lldp = starts[start]();
      event(lldp);
      expect([lldp.txTimerState, lldp.txState, lldp.rxState]).toEqual(target);
    },
  );
});

describe('transmit timer machine (lldp.md 4)', () => {
  test('lldp.md 4 row 1 TX_TIMER_INITIALIZE: txTTR = 0, so that the first LLDPDU leaves as the port comes up', () => {
    expect(ttls(agent().setPortEnabled(true, 0))).toEqual([121]);
  });

  test('lldp.md 4 row 1 TX_TIMER_INITIALIZE holds while the port is down', () => {
    const lldp = agent();
    expect(lldp.localChanged(local)).toEqual([]);
    expect(lldp.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
    expect(lldp.advance(100 * SECOND)).toEqual([]);
  });

  test('lldp.md 4 row 3 TX_TIMER_EXPIRES: txTTR = 0 every msgTxInterval', () => {
    expect(sentAt(runUntil(running(), 0, 100 * SECOND))).toEqual([30, 60, 90]);
    expect(sentAt(runUntil(running({ msgTxInterval: 7 }), 0, 30 * SECOND))).toEqual([7, 14, 21, 28]);
  });

  test('nothing leaves a millisecond early', () => {
    const lldp = running();
    expect(sentAt(runUntil(lldp, 0, 30 * SECOND - 1))).toEqual([]);
    expect(ttls(lldp.advance(30 * SECOND))).toEqual([121]);
  });

  test('lldp.md 4 row 5 SIGNAL_TX: localChange leaves at once and starts txTTR anew', () => {
    const lldp = running();
    runUntil(lldp, 0, 10 * SECOND);
    expect(ttls(lldp.localChanged({ ...local, systemName: 'renamed' }))).toEqual([121]);
    expect(sentAt(runUntil(lldp, 10 * SECOND, 75 * SECOND))).toEqual([40, 70]);
  });

  test('lldp.md 4 row 5 SIGNAL_TX: what leaves is the content of now', () => {
    const sent = running().localChanged({ ...local, systemName: 'renamed', evb: evbVectors[0]!.tlv });
    const [effect] = sent;
    if (effect?.kind !== 'send') throw new Error('nothing was sent');
    expect(decodeLldpdu(effect.lldpdu).lldpdu).toMatchObject({
      systemName: 'renamed',
      evb: evbVectors[0]!.tlv,
    });
  });

  test('lldp.md 4 row 6 TX_FAST_START: txFastInit LLDPDUs msgFastTx apart, then msgTxInterval', () => {
    const lldp = running();
    runUntil(lldp, 0, 10 * SECOND);
    lldp.receive(pdu(1), 10 * SECOND);
    expect(sentAt(runUntil(lldp, 10 * SECOND, 80 * SECOND))).toEqual([10, 11, 12, 13, 43, 73]);
  });

  test('lldp.md 4 row 6 TX_FAST_START: the numbers are the configured ones', () => {
    const lldp = running({ txFastInit: 2, msgFastTx: 3 });
    runUntil(lldp, 0, 10 * SECOND);
    lldp.receive(pdu(1), 10 * SECOND);
    expect(sentAt(runUntil(lldp, 10 * SECOND, 45 * SECOND))).toEqual([10, 13, 43]);
  });

  test('lldp.md 4 row 6 TX_FAST_START: a second neighbour within it does not prolong it (txFast = 0 only)', () => {
    const lldp = running();
    runUntil(lldp, 0, 10 * SECOND);
    lldp.receive(pdu(1), 10 * SECOND);
    const first = sentAt(runUntil(lldp, 10 * SECOND, 11 * SECOND));
    lldp.receive(pdu(2), 11 * SECOND);
    expect(first).toEqual([10, 11]);
    expect(sentAt(runUntil(lldp, 11 * SECOND, 60 * SECOND))).toEqual([11, 12, 42]);
  });

  test('lldp.md 4 row 6 TX_FAST_START: a neighbour heard again starts none', () => {
    const lldp = running();
    lldp.receive(pdu(1), 0);
    runUntil(lldp, 0, 10 * SECOND);
    lldp.receive(pdu(1), 10 * SECOND);
    lldp.receive(pdu(1, 121, { systemName: 'changed' }), 10 * SECOND);
    expect(sentAt(runUntil(lldp, 10 * SECOND, 40 * SECOND))).toEqual([33]);
  });

  test('lldp.md 4 row 5 SIGNAL_TX within a fast start: txTTR = msgFastTx, no LLDPDU of it is used up', () => {
    const lldp = running();
    lldp.receive(pdu(1), 0);
    expect(sentAt(runUntil(lldp, 0, 1 * SECOND))).toEqual([0, 1]);
    lldp.localChanged(local);
    expect(sentAt(runUntil(lldp, 1 * SECOND, 40 * SECOND))).toEqual([2, 3, 33]);
  });

  test('what a neighbour makes us say and the fast start share one LLDPDU', () => {
    const lldp = running();
    runUntil(lldp, 0, 10 * SECOND);
    expect(ttls(lldp.receive(pdu(1), 10 * SECOND))).toEqual([]);
    expect(lldp.nextDeadline()).toBeLessThanOrEqual(10 * SECOND);
    expect(ttls(lldp.localChanged(local))).toEqual([121]);
    expect(lldp.nextDeadline()).toBe(11 * SECOND);
  });

  test('lldp.md 4 row 4 TX_TICK: txCredit bounds a burst to txCreditMax, then one a second; the newest content wins', () => {
    const lldp = running();
    const burst = Array.from({ length: 9 }, (_, i) =>
      lldp.localChanged({ ...local, systemName: `name ${i}` }),
    ).flat();
    expect(burst.length).toBe(4);
    const later = runUntil(lldp, 0, 20 * SECOND);
    expect(sentAt(later)).toEqual([1]);
    const [last] = later;
    if (last?.kind !== 'send') throw new Error('nothing was sent');
    expect(decodeLldpdu(last.lldpdu).lldpdu.systemName).toBe('name 8');
  });

  test('lldp.md 4 row 4 TX_TICK: txCredit grows by one a second, up to txCreditMax', () => {
    const burst = (lldp: LldpAgent) =>
      Array.from({ length: 20 }, () => lldp.localChanged(local)).flat().length;
    const lldp = running({ txCreditMax: 3 });
    expect(burst(lldp)).toBe(2);
    // A tick's credit goes to the LLDPDU that waits; the next two are saved.
    runUntil(lldp, 0, 3 * SECOND);
    expect(burst(lldp)).toBe(2);
    runUntil(lldp, 3 * SECOND, 20 * SECOND);
    expect(burst(lldp)).toBe(3);
  });

  test('a port that comes back begins anew: one LLDPDU at once, ticks from there', () => {
    const lldp = running();
    lldp.receive(pdu(1), 0);
    runUntil(lldp, 0, 1 * SECOND);
    lldp.setPortEnabled(false, 1500);
    expect(runUntil(lldp, 1500, 100 * SECOND)).toEqual([]);
    expect(ttls(lldp.setPortEnabled(true, 100_250))).toEqual([121]);
    expect(sentAt(runUntil(lldp, 100_250, 170 * SECOND))).toEqual([130.25, 160.25]);
  });

  test('lldp.md 4 row 1 TX_TIMER_INITIALIZE: newNeighbor = false: one heard while we were silent starts no fast start', () => {
    const lldp = running();
    lldp.receive(pdu(1), 0);
    lldp.setAdminStatus('enabledRxOnly');
    lldp.receive(pdu(2), 1);
    runUntil(lldp, 1, 10 * SECOND);
    expect(ttls(lldp.setAdminStatus('enabledRxTx'))).toEqual([121]);
    expect(sentAt(runUntil(lldp, 10 * SECOND, 45 * SECOND))).toEqual([40]);
  });

  test('port state told twice is told once', () => {
    const lldp = running();
    expect(lldp.setPortEnabled(true, 10 * SECOND)).toEqual([]);
    expect(sentAt(runUntil(lldp, 0, 31 * SECOND))).toEqual([30]);
  });

  test('a changed msgTxInterval holds at once', () => {
    const lldp = running();
    runUntil(lldp, 0, 5 * SECOND);
    expect(ttls(lldp.setTiming({ ...LLDP_TIMING, msgTxInterval: 5 }))).toEqual([21]);
    expect(sentAt(runUntil(lldp, 5 * SECOND, 16 * SECOND))).toEqual([10, 15]);
  });

  test.each([[30], [600]])(
    'after a long sleep one LLDPDU is due at once (msgTxInterval %d)',
    (msgTxInterval) => {
      const lldp = running({ msgTxInterval });
      runUntil(lldp, 0, 10 * SECOND);
      expect(ttls(lldp.advance(10_000 * SECOND)).length).toBeGreaterThan(0);
      expect(lldp.nextDeadline()).toBeGreaterThan(10_000 * SECOND);
      expect(lldp.nextDeadline()).toBeLessThanOrEqual(10_001 * SECOND);
    },
  );
});

describe('txTTL (lldp.md 3)', () => {
  test.each([
    [30, 4, 121],
    [5, 2, 11],
    [3600, 10, 36001],
    [32768, 10, 65535],
  ])('msgTxInterval %d x msgTxHold %d: %d s', (msgTxInterval, msgTxHold, ttl) => {
    const lldp = agent({ msgTxInterval, msgTxHold });
    expect(ttls(lldp.setPortEnabled(true, 0))).toEqual([ttl]);
  });
});

describe('transmit machine (lldp.md 5)', () => {
  test('lldp.md 5 row 3 TX_INFO_FRAME: statsFramesOutTotal', () => {
    const lldp = running();
    runUntil(lldp, 0, 60 * SECOND);
    expect(lldp.counters.statsFramesOutTotal).toBe(3);
  });

  test('lldp.md 5 row 4 TX_SHUTDOWN_FRAME: chassis and port as before, TTL 0, nothing else; then silence', () => {
    const lldp = running();
    const [effect, ...rest] = lldp.shutdown();
    if (effect?.kind !== 'send') throw new Error('nothing was sent');
    expect(rest).toEqual([]);
    expect(decodeLldpdu(effect.lldpdu).lldpdu).toEqual({
      chassisId: local.chassisId,
      portId: local.portId,
      ttl: 0,
      others: [],
    });
    expect(effect.lldpdu.length).toBe(9 + 9 + 4 + 2);
    expect(lldp.counters.statsFramesOutTotal).toBe(2);
    expect(lldp.localChanged(local)).toEqual([]);
    expect(runUntil(lldp, 0, 100 * SECOND)).toEqual([]);
    expect(lldp.shutdown()).toEqual([]);
  });

  test('lldp.md 5 row 4 TX_SHUTDOWN_FRAME: enabled again, the first LLDPDU waits for reinitDelay', () => {
    const lldp = running({ reinitDelay: 3 });
    runUntil(lldp, 0, 10 * SECOND);
    expect(ttls(lldp.setAdminStatus('enabledRxOnly'))).toEqual([0]);
    expect(lldp.setAdminStatus('enabledRxTx')).toEqual([]);
    expect(sentAt(runUntil(lldp, 10 * SECOND, 20 * SECOND))).toEqual([13]);
  });

  test('no shutdown LLDPDU on a port that is down', () => {
    expect(agent().shutdown()).toEqual([]);
    const lldp = running();
    lldp.setPortEnabled(false, 0);
    expect(lldp.shutdown()).toEqual([]);
  });

  test('lldpduLengthErrors: optional TLVs that do not fit', () => {
    // Identifiers longer than the standard allows leave room for two of three texts.
    const id = new Uint8Array(500).fill(65);
    const big: LocalSystem = {
      chassisId: { subtype: 7, id },
      portId: { subtype: 7, id },
      portDescription: 'p'.repeat(200),
      systemName: 'n'.repeat(200),
      systemDescription: 'd'.repeat(200),
    };
    const lldp = new LldpAgent(big);
    lldp.setPortEnabled(true, 0);
    expect(lldp.counters.lldpduLengthErrors).toBe(1);
    lldp.localChanged(big);
    expect(lldp.counters.lldpduLengthErrors).toBe(2);
  });
});

describe('receive machine (lldp.md 6)', () => {
  test('lldp.md 6 row 7 UPDATE_INFO: new, refreshed, changed', () => {
    const lldp = running();
    expect(heard(lldp.receive(pdu(1), 0))).toEqual(['new']);
    expect(heard(lldp.receive(pdu(1), 1))).toEqual(['refreshed']);
    expect(heard(lldp.receive(pdu(1, 121, { systemName: 'b' }), 2))).toEqual(['changed']);
    expect([...lldp.neighbours.values()].map(({ lldpdu }) => lldpdu.systemName)).toEqual(['b']);
  });

  test('lldp.md 6 row 6 DELETE_INFO: rxTTL = 0 removes that neighbour only, without a counter', () => {
    const lldp = running();
    lldp.receive(pdu(1), 0);
    lldp.receive(pdu(2), 0);
    expect(heard(lldp.receive(pdu(1, 0), 1))).toEqual(['shutdown LLDPDU']);
    expect(heard(lldp.receive(pdu(1, 0), 1))).toEqual([]);
    expect([...lldp.neighbours.values()].map(({ lldpdu }) => lldpdu.chassisId.id[5])).toEqual([2]);
    expect(lldp.counters).toMatchObject({ statsAgeoutsTotal: 0, statsFramesDiscardedTotal: 0 });
  });

  test('lldp.md 6 row 2 DELETE_AGED_INFO: rxTTL: per neighbour, restarted by each LLDPDU; at 0 rxInfoAge, statsAgeoutsTotal', () => {
    const lldp = running();
    lldp.receive(pdu(1, 10), 0);
    lldp.receive(pdu(2, 20), 0);
    lldp.receive(pdu(1, 10), 5500);
    const gone = runUntil(lldp, 5500, 60 * SECOND).filter(({ kind }) => kind === 'neighbourGone');
    expect(gone.map((effect) => [effect.at, heard([effect])[0]])).toEqual([
      [15_500, 'its TTL ran out'],
      [20_000, 'its TTL ran out'],
    ]);
    expect(lldp.counters.statsAgeoutsTotal).toBe(2);
    expect(lldp.neighbours.size).toBe(0);
  });

  test('lldp.md 6 row 2 DELETE_AGED_INFO: link down: every neighbour goes, at once', () => {
    const lldp = running();
    lldp.receive(pdu(1), 0);
    lldp.receive(pdu(2), 0);
    expect(heard(lldp.setPortEnabled(false, 5))).toEqual(['link down', 'link down']);
    expect(lldp.receive(pdu(1), 6)).toEqual([]);
    expect(lldp.counters).toMatchObject({ statsAgeoutsTotal: 0, statsFramesInTotal: 2 });
  });

  test('lldp.md 6 row 3 RX_LLDP_INITIALIZE: reception off drops the neighbours and hears nothing', () => {
    const lldp = running();
    lldp.receive(pdu(1), 0);
    expect(heard(lldp.setAdminStatus('enabledTxOnly'))).toEqual(['LLDP is off on this side']);
    expect(lldp.receive(pdu(1), 0)).toEqual([]);
    expect(lldp.counters.statsFramesInTotal).toBe(1);
  });

  describe('tooManyNeighbors', () => {
    const full = () => {
      const lldp = running();
      for (let n = 1; n <= 8; n++) lldp.receive(pdu(n, n === 1 ? 20 : 1000), 0);
      runUntil(lldp, 0, 10 * SECOND);
      return lldp;
    };

    test('no room: the LLDPDU is discarded and counted, the known ones live on', () => {
      const lldp = full();
      expect(lldp.tooManyNeighbors).toBe(false);
      expect(lldp.receive(pdu(9, 30), 10 * SECOND)).toEqual([]);
      expect(lldp.tooManyNeighbors).toBe(true);
      expect(lldp.neighbours.size).toBe(8);
      expect(lldp.counters.statsFramesDiscardedTotal).toBe(1);
      expect(heard(lldp.receive(pdu(2), 10 * SECOND))).toEqual(['changed']);
    });

    test('tooManyNeighborsTimer: the longest rxTTL of what was discarded', () => {
      const lldp = full();
      lldp.receive(pdu(9, 30), 10 * SECOND);
      lldp.receive(pdu(10, 5), 10 * SECOND);
      runUntil(lldp, 10 * SECOND, 39 * SECOND);
      expect(lldp.tooManyNeighbors).toBe(true);
      runUntil(lldp, 39 * SECOND, 41 * SECOND);
      expect(lldp.tooManyNeighbors).toBe(false);
    });

    test('newNeighbor stays false while tooManyNeighbors: no fast start', () => {
      const lldp = full();
      lldp.receive(pdu(9, 100), 10 * SECOND);
      runUntil(lldp, 10 * SECOND, 20 * SECOND);
      expect(lldp.neighbours.size).toBe(7);
      expect(heard(lldp.receive(pdu(9, 100), 20 * SECOND))).toEqual(['new']);
      expect(sentAt(runUntil(lldp, 20 * SECOND, 32 * SECOND))).toEqual([]);
    });

    test('rxInitializeLLDP clears it', () => {
      const lldp = full();
      lldp.receive(pdu(9, 100), 10 * SECOND);
      lldp.setPortEnabled(false, 11 * SECOND);
      lldp.setPortEnabled(true, 12 * SECOND);
      expect(lldp.tooManyNeighbors).toBe(false);
    });
  });

  describe('resume after a restart of the daemon', () => {
    test('the neighbour lives as long as its TTL still ran', () => {
      const lldp = running();
      expect(heard(lldp.resume(pdu(1, 121), 7 * SECOND, 0))).toEqual(['new']);
      const gone = runUntil(lldp, 0, 20 * SECOND).filter(({ kind }) => kind === 'neighbourGone');
      expect(gone.map(({ at }) => at)).toEqual([7 * SECOND]);
    });

    test('each neighbour keeps its own time', () => {
      const lldp = running();
      lldp.receive(pdu(1, 100), 0);
      lldp.resume(pdu(2), 50 * SECOND, 0);
      lldp.resume(pdu(3), 9 * SECOND, 0);
      const left = [...lldp.neighbours.values()].map(({ expires }) => expires / SECOND);
      expect(left).toEqual([100, 50, 9]);
    });

    test('what has been heard meanwhile is newer', () => {
      const lldp = running();
      lldp.receive(pdu(1, 121, { systemName: 'now' }), 0);
      expect(lldp.resume(pdu(1, 121, { systemName: 'before' }), 50 * SECOND, 0)).toEqual([]);
      const [neighbour] = lldp.neighbours.values();
      expect([neighbour?.lldpdu.systemName, neighbour?.expires]).toEqual(['now', 121 * SECOND]);
    });

    test('is no received frame', () => {
      const lldp = running();
      lldp.resume(pdu(1), 7 * SECOND, 0);
      expect(lldp.counters.statsFramesInTotal).toBe(0);
    });

    test.each([
      ['its TTL has run out', pdu(1), 5 * SECOND],
      ['it is a shutdown', pdu(1, 0), 50 * SECOND],
      ['it cannot be read', hex('0202'), 50 * SECOND],
    ])('not when %s', (_, octets, expires) => {
      const lldp = running();
      expect(lldp.resume(octets, expires, 5 * SECOND)).toEqual([]);
      expect(lldp.neighbours.size).toBe(0);
    });
  });
});

describe('validation (lldp.md 7)', () => {
  const CHASSIS = '0207 04 021122334481';
  const PORT = '0407 03 021122334481';
  const TTL = '0602 0079';
  const MANDATORY = `${CHASSIS} ${PORT} ${TTL}`;
  const EVB = 'fe09 0080c2 0d 03 07 b0 56 12';
  const DISCARDED = { statsFramesDiscardedTotal: 1, statsFramesInErrorsTotal: 1 };
  const OVERRUN = { ...DISCARDED, statsTLVsDiscardedTotal: 1 };
  const TLV_IN_ERROR = { statsTLVsDiscardedTotal: 1, statsFramesInErrorsTotal: 1 };
  const UNKNOWN = { statsTLVsUnrecognizedTotal: 1 };
  const long = (type: number, length: number) =>
    `${((type << 9) | length).toString(16).padStart(4, '0')} ${'41'.repeat(length)}`;

  const rows: [string, string, Record<string, number>, 'stored' | 'discarded'][] = [
    ['vectors.md V1: as it should be', `${MANDATORY} 0000`, {}, 'stored'],
    ['lldp.md 7 row 1: first TLV is no Chassis ID', `${PORT} ${CHASSIS} ${TTL} 0000`, DISCARDED, 'discarded'],
    ['lldp.md 7 row 1: Chassis ID of 1 octet', `0201 04 ${PORT} ${TTL} 0000`, DISCARDED, 'discarded'],
    [
      'lldp.md 7 row 1: Chassis ID of 257 octets',
      `${long(1, 257)} ${PORT} ${TTL} 0000`,
      DISCARDED,
      'discarded',
    ],
    ['lldp.md 7 row 1: Chassis ID of 256 octets', `${long(1, 256)} ${PORT} ${TTL} 0000`, {}, 'stored'],
    ['lldp.md 7 row 1: nothing at all', '', DISCARDED, 'discarded'],
    ['lldp.md 7 row 2: second TLV is no Port ID', `${CHASSIS} ${TTL} ${PORT} 0000`, DISCARDED, 'discarded'],
    ['lldp.md 7 row 2: Port ID of 1 octet', `${CHASSIS} 0401 03 ${TTL} 0000`, DISCARDED, 'discarded'],
    [
      'lldp.md 7 row 2: Port ID of 257 octets',
      `${CHASSIS} ${long(2, 257)} ${TTL} 0000`,
      DISCARDED,
      'discarded',
    ],
    ['lldp.md 7 row 2: no Port ID', CHASSIS, DISCARDED, 'discarded'],
    ['lldp.md 7 row 3: third TLV is no TTL', `${CHASSIS} ${PORT} 0a00 ${TTL} 0000`, DISCARDED, 'discarded'],
    ['lldp.md 7 row 3: TTL of 1 octet', `${CHASSIS} ${PORT} 0601 79 0000`, DISCARDED, 'discarded'],
    ['lldp.md 7 row 3: no TTL', `${CHASSIS} ${PORT}`, DISCARDED, 'discarded'],
    ['7: octets past a TTL of length > 2 are ignored', `${CHASSIS} ${PORT} 0603 0079ff 0000`, {}, 'stored'],
    ['lldp.md 7 row 4: TTL 0, the rest is skipped', `${CHASSIS} ${PORT} 0602 0000 02ff`, {}, 'discarded'],
    ['lldp.md 7 row 5: Chassis ID twice', `${MANDATORY} ${CHASSIS} 0000`, DISCARDED, 'discarded'],
    ['lldp.md 7 row 5: Port ID twice', `${MANDATORY} ${PORT} 0000`, DISCARDED, 'discarded'],
    ['lldp.md 7 row 5: TTL twice', `${MANDATORY} ${TTL} 0000`, DISCARDED, 'discarded'],
    ['lldp.md 7 row 6: a TLV beyond the end', `${MANDATORY} 0a05 41424344`, OVERRUN, 'discarded'],
    ['lldp.md 7 row 6: half a TLV header', `${MANDATORY} 0a`, OVERRUN, 'discarded'],
    ['lldp.md 7 row 6: the Chassis ID beyond the end', '0207 04 0211', OVERRUN, 'discarded'],
    [
      'lldp.md 7 row 7: End TLV with a length',
      `${MANDATORY} 0001 ff 0a`,
      { statsFramesInErrorsTotal: 1 },
      'stored',
    ],
    ['lldp.md 7 row 8: no End TLV', `${MANDATORY} ${EVB}`, {}, 'stored'],
    ['1: octets behind End are padding', `${MANDATORY} 0000 ffffffff`, {}, 'stored'],
    [
      'lldp.md 7 row 9: Port Description of 256 octets',
      `${MANDATORY} ${long(4, 256)} 0000`,
      TLV_IN_ERROR,
      'stored',
    ],
    [
      'lldp.md 7 row 9: System Name of 256 octets',
      `${MANDATORY} ${long(5, 256)} 0000`,
      TLV_IN_ERROR,
      'stored',
    ],
    [
      'lldp.md 7 row 9: System Description of 256 octets',
      `${MANDATORY} ${long(6, 256)} 0000`,
      TLV_IN_ERROR,
      'stored',
    ],
    ['lldp.md 7 row 9: System Description of 255 octets', `${MANDATORY} ${long(6, 255)} 0000`, {}, 'stored'],
    ['lldp.md 7 row 9: capabilities of 3 octets', `${MANDATORY} 0e03 000080 0000`, TLV_IN_ERROR, 'stored'],
    [
      'lldp.md 7 row 9: capabilities of 5 octets',
      `${MANDATORY} 0e05 0000800080 0000`,
      TLV_IN_ERROR,
      'stored',
    ],
    [
      'lldp.md 7 row 9: management address of 8 octets',
      `${MANDATORY} ${long(8, 8)} 0000`,
      TLV_IN_ERROR,
      'stored',
    ],
    [
      'lldp.md 7 row 9: management address of 168 octets',
      `${MANDATORY} ${long(8, 168)} 0000`,
      TLV_IN_ERROR,
      'stored',
    ],
    ['lldp.md 7 row 9: management address of 9 octets', `${MANDATORY} ${long(8, 9)} 0000`, {}, 'stored'],
    ['lldp.md 7 row 9: management address of 167 octets', `${MANDATORY} ${long(8, 167)} 0000`, {}, 'stored'],
    ['lldp.md 7 row 10: type 9', `${MANDATORY} 1200 0000`, UNKNOWN, 'stored'],
    ['lldp.md 7 row 10: type 126', `${MANDATORY} fc01 ff 0000`, UNKNOWN, 'stored'],
    ['lldp.md 7 row 11: type 127 of 3 octets', `${MANDATORY} fe03 0080c2 0000`, TLV_IN_ERROR, 'stored'],
    [
      'lldp.md 7 row 12, vectors.md V20: EVB TLV of length 8',
      `${MANDATORY} fe08 0080c2 0d 00 07 6e 94 0000`,
      { statsTLVsDiscardedTotal: 1 },
      'stored',
    ],
    [
      'lldp.md 7 row 12: draft EVB TLV of length 12',
      `${MANDATORY} fe0c 001b3f 00 c007400700800002 0000`,
      { statsTLVsDiscardedTotal: 1 },
      'stored',
    ],
    [
      'vectors.md V20: EVB TLV of length 10, the extra octet ignored',
      `${MANDATORY} fe0a 0080c2 0d 00 07 6e 94 14 ff 0000`,
      {},
      'stored',
    ],
    ['lldp.md 7 row 13: unknown OUI', `${MANDATORY} fe04 02005e 01 0000`, UNKNOWN, 'stored'],
    [
      'lldp.md 7 row 13: unknown subtype of 00-80-C2',
      `${MANDATORY} fe05 0080c2 0f 00 0000`,
      UNKNOWN,
      'stored',
    ],
    [
      'lldp.md 7 row 14: EVB TLV twice',
      `${MANDATORY} ${EVB} ${EVB} 0000`,
      { statsTLVsDiscardedTotal: 1 },
      'stored',
    ],
    ['lldp.md 7 row 15: empty System Name', `${MANDATORY} 0800 0a00 0c00 0000`, {}, 'stored'],
    ['vectors.md V20: TTL TLV before the port TLV', `${CHASSIS} ${TTL} ${PORT} 0000`, DISCARDED, 'discarded'],
  ];
  test.each(rows)('%s', (_, octets, counters, fate) => {
    const lldp = running();
    const before = { ...lldp.counters };
    const effects = lldp.receive(hex(octets), 0);
    expect(heard(effects)).toEqual(fate === 'stored' ? ['new'] : []);
    expect(lldp.counters).toEqual({ ...before, statsFramesInTotal: 1, ...counters });
  });

  test('lldp.md 7 row 4: TTL 0 deletes the neighbour', () => {
    const lldp = running();
    lldp.receive(hex(`${MANDATORY} 0000`), 0);
    expect(heard(lldp.receive(hex(`${CHASSIS} ${PORT} 0602 0000 02ff`), 0))).toEqual(['shutdown LLDPDU']);
  });

  test('lldp.md 7 row 10, row 13: what is unknown is kept as it came', () => {
    const { lldpdu } = decodeLldpdu(hex(`${MANDATORY} fc01 ff fe05 02005e 01 7a 0000`));
    expect(lldpdu.others).toEqual([
      { type: 126, value: hex('ff') },
      { type: 127, value: hex('02005e017a') },
    ]);
  });

  test('lldp.md 7 row 14: the first EVB TLV counts', () => {
    const { lldpdu } = decodeLldpdu(hex(`${MANDATORY} ${EVB} fe09 0080c2 0d 00 07 6e 94 14 0000`));
    expect(lldpdu.evb).toEqual(evbVectors[1]!.tlv);
  });

  test('defects say where they are', () => {
    const { defects } = decodeLldpdu(hex(`${MANDATORY} 0e03 000080 1200 0001 ff`));
    expect(defects.map(({ offset, reason }) => [offset, reason])).toEqual([
      [22, 'TLV of type 7 with 3 octets'],
      [27, 'unknown TLV type 9'],
      [29, 'End TLV with a length'],
    ]);
  });

  test('a discarded LLDPDU leaves the neighbour as it was, TTL included', () => {
    const lldp = running();
    lldp.receive(hex(`${MANDATORY} 0000`), 0);
    lldp.receive(hex(`${MANDATORY} ${TTL} 0000`), 50 * SECOND);
    const gone = runUntil(lldp, 50 * SECOND, 200 * SECOND).filter(({ kind }) => kind === 'neighbourGone');
    expect(gone.map(({ at }) => at)).toEqual([121 * SECOND]);
  });
});

describe('a neighbour speaks from one address (lldp.md 6)', () => {
  const HOME = '02:00:00:00:00:01' as MacAddress;
  const ELSEWHERE = '02:00:00:00:00:02' as MacAddress;
  const known = () => {
    const lldp = running();
    lldp.receive(pdu(1), 0, HOME);
    return lldp;
  };
  const shown = (lldp: LldpAgent) =>
    [...lldp.neighbours.values()].map(({ source, since, expires }) => [source, since, expires / SECOND]);

  test('from elsewhere its MSAP is that of another one, which takes nothing from it', () => {
    const lldp = known();
    expect(heard(lldp.receive(pdu(1, 65535, { systemName: 'forged' }), SECOND, ELSEWHERE))).toEqual(['new']);
    expect(heard(lldp.receive(pdu(1, 10), 2 * SECOND, HOME))).toEqual(['changed']);
    expect(shown(lldp)).toEqual([
      [HOME, 0, 12],
      [ELSEWHERE, SECOND, 65536],
    ]);
  });

  test('a shutdown from elsewhere is none of its own', () => {
    const lldp = known();
    expect(lldp.receive(pdu(1, 0), 1, ELSEWHERE)).toEqual([]);
    expect(shown(lldp)).toEqual([[HOME, 0, 121]]);
  });

  test('what is known of it', () => {
    const lldp = running();
    const octets = pdu(1, 10);
    const neighbour = {
      key: `4:020000000001/3:020000000001 ${HOME}`,
      lldpdu: decodeLldpdu(octets).lldpdu,
      octets,
      source: HOME,
      since: 0,
      expires: 10 * SECOND,
    };
    expect(lldp.receive(octets, 0, HOME)).toEqual([{ kind: 'neighbour', event: 'new', neighbour }]);
    expect(lldp.receive(octets, 0, HOME)).toEqual([{ kind: 'neighbour', event: 'refreshed', neighbour }]);
    expect(lldp.receive(pdu(1, 0), 1, HOME)).toEqual([
      { kind: 'neighbourGone', neighbour, reason: 'shutdown LLDPDU' },
    ]);
    const again = agent();
    expect(again.resume(octets, 10 * SECOND, 1, HOME)).toEqual([
      { kind: 'neighbour', event: 'new', neighbour: { ...neighbour, since: 1 } },
    ]);
  });
});

describe('room for a neighbour that speaks EVB', () => {
  const evb = evbVectors[0]!.tlv;
  const evbDraft = { smode: 0xc0, scap: 7, cmode: 0x80, ccap: 0, svsi: 0, cvsi: 0, rte: 15 };
  const fullOf = (more: (n: number) => Partial<Lldpdu>) => {
    const lldp = running();
    for (let n = 1; n <= 8; n++) lldp.receive(pdu(n, 121, more(n)), 0);
    return lldp;
  };

  test.each([
    ['ratified', { evb }],
    ['draft', { evbDraft }],
  ])('%s: the first of those that do not makes it', (_, more) => {
    const lldp = fullOf((n) => (n < 3 ? more : {}));
    expect(heard(lldp.receive(pdu(9, 121, more), 1))).toEqual(['made room for an EVB peer', 'new']);
    expect([...lldp.neighbours.keys()].map((key) => Number.parseInt(key.slice(12, 14), 16))).toEqual([
      1, 2, 4, 5, 6, 7, 8, 9,
    ]);
    expect([lldp.counters.statsFramesDiscardedTotal, lldp.tooManyNeighbors]).toEqual([0, false]);
  });

  const speakers = (n: number) => (n % 2 === 0 ? { evb } : { evbDraft });
  const STAY = 60 * SECOND;
  const chassis = (lldp: LldpAgent) =>
    [...lldp.neighbours.values()].map(({ lldpdu }) => lldpdu.chassisId.id[5]);
  const key = (n: number) => `4:02000000000${n}/3:02000000000${n} undefined`;

  test('where all of them speak it, there is none while they are new', () => {
    const lldp = fullOf(speakers);
    expect(lldp.receive(pdu(9, 121, { evb }), STAY - 1)).toEqual([]);
    expect([lldp.counters.statsFramesDiscardedTotal, lldp.tooManyNeighbors]).toEqual([1, true]);
  });

  test('later that of the one that has been there longest, a minute each, however often they are heard', () => {
    const lldp = fullOf(speakers);
    lldp.receive(pdu(1, 1000, { evb }), STAY - 1);
    expect(heard(lldp.receive(pdu(9, 1000, { evb }), STAY))).toEqual(['made room for an EVB peer', 'new']);
    expect(chassis(lldp)).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
    for (let n = 2; n <= 8; n++) lldp.receive(pdu(10 + n, 1000, { evb }), STAY);
    expect(chassis(lldp)).toEqual([9, 12, 13, 14, 15, 16, 17, 18]);
    expect(lldp.receive(pdu(1, 1000, { evb }), 2 * STAY - 1)).toEqual([]);
    expect(heard(lldp.receive(pdu(1, 1000, { evb }), 2 * STAY))).toEqual([
      'made room for an EVB peer',
      'new',
    ]);
    expect(chassis(lldp)).toEqual([12, 13, 14, 15, 16, 17, 18, 1]);
  });

  test('one that does not speak it makes nobody go', () => {
    const lldp = fullOf(speakers);
    expect(lldp.receive(pdu(9, 1000), 2 * STAY)).toEqual([]);
  });

  test('what is favoured has it at once, whether it speaks it or not', () => {
    for (const more of [{ evb }, {}]) {
      const lldp = fullOf(speakers);
      lldp.favoured = [key(9)];
      expect(heard(lldp.receive(pdu(9, 121, more), 1))).toEqual(['made room for an EVB peer', 'new']);
      expect(chassis(lldp)).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
    }
  });

  test('what is favoured makes none', () => {
    const lldp = fullOf(speakers);
    lldp.favoured = [key(1), key(2)];
    lldp.receive(pdu(9, 1000, { evb }), STAY);
    expect(chassis(lldp)).toEqual([1, 2, 4, 5, 6, 7, 8, 9]);
    const silent = fullOf(() => ({}));
    silent.favoured = [key(1)];
    silent.receive(pdu(9, 1000, { evb }), 1);
    expect(chassis(silent)).toEqual([1, 3, 4, 5, 6, 7, 8, 9]);
  });

  test('tooManyNeighborsTimer ends with the second it is due', () => {
    const lldp = fullOf(() => ({}));
    lldp.receive(pdu(9, 10), 0);
    lldp.advance(10 * SECOND);
    expect(lldp.tooManyNeighbors).toBe(false);
  });
});

describe('times and states at the edges', () => {
  test('a port that is down wants nothing', () => {
    const lldp = running();
    lldp.setPortEnabled(false, 0);
    expect(lldp.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  });

  test('what was resumed before the port is up is not urgent', () => {
    const lldp = agent();
    lldp.resume(pdu(1), 5 * SECOND, 0);
    expect(lldp.nextDeadline()).toBe(5 * SECOND);
  });

  test('nothing is resumed where nothing is received', () => {
    const lldp = agent();
    lldp.setAdminStatus('enabledTxOnly');
    expect(lldp.resume(pdu(1), 5 * SECOND, 0)).toEqual([]);
  });

  test('reception told on again keeps the neighbours', () => {
    const lldp = running();
    lldp.receive(pdu(1), 0);
    expect(heard(lldp.setAdminStatus('enabledRxTx'))).toEqual([]);
    expect(lldp.neighbours.size).toBe(1);
  });

  test('lldp.md 4 row 4 TX_TICK: ticks that come late give their credit each', () => {
    const lldp = running();
    for (let n = 0; n < 10; n++) lldp.localChanged(local);
    lldp.advance(3 * SECOND);
    const before = lldp.counters.statsFramesOutTotal;
    for (let n = 0; n < 10; n++) lldp.localChanged(local);
    // One of the three went with the change that still waited.
    expect(lldp.counters.statsFramesOutTotal - before).toBe(2);
  });

  test('lldp.md 5 row 4 TX_SHUTDOWN_FRAME: txTTR runs meanwhile', () => {
    const lldp = running({ reinitDelay: 3 });
    lldp.shutdown();
    lldp.setAdminStatus('enabledRxTx');
    expect(sentAt(runUntil(lldp, 0, 40 * SECOND))).toEqual([3, 30]);
  });

  test('reinitDelay is over after a long sleep', () => {
    const lldp = running();
    lldp.shutdown();
    lldp.advance(3600 * SECOND);
    expect(ttls(lldp.setAdminStatus('enabledRxTx'))).toEqual([121]);
  });
});
