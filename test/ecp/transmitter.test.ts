import { describe, expect, test } from 'vitest';
import { decodeEcpdu, type EcpTransmitEffect, EcpTransmitter } from '../../protocols/ecp/index.ts';
import { toHex } from '../../protocols/octets/index.ts';
import { exponentToMs } from '../../protocols/vdp/index.ts';
import { timerVectors } from '../fixtures/vectors.ts';
import { type At, runUntil } from '../support/virtual-time.ts';

const TIMING = { maxRetries: 3, ackTimer: 100 };
const machine = (firstSequence = 1, timing = TIMING) => new EcpTransmitter(timing, firstSequence);
const ack = (sequence: number, more: { subtype?: number } = {}) => ({
  subtype: 1,
  sequence,
  ...more,
});
const ulpdu = (n: number) => Uint8Array.of(n);
/** Short for what is sent: sequence number and payload; the rest by its kind. */
const told = (effects: EcpTransmitEffect[]) =>
  effects.map((effect) => {
    if (effect.kind !== 'send') return `${effect.kind} ${effect.sequence} x${effect.attempts}`;
    const { sequence, ulpdu, operation } = decodeEcpdu(effect.ecpdu);
    return `${operation} ${sequence}:${toHex(ulpdu)}`;
  });
const timed = (effects: At<EcpTransmitEffect>[]) =>
  effects.map((effect, i) => `${effect.at} ${told(effects)[i]}`);

describe('transmit machine (ecp.md 1.3)', () => {
  const outstanding = () => {
    const ecp = machine();
    ecp.request(ulpdu(1), 0);
    return ecp;
  };
  const rows: {
    row: string;
    start: () => EcpTransmitter;
    event: (ecp: EcpTransmitter) => EcpTransmitEffect[];
    effects: string[];
    target: string;
    sequence: number;
  }[] = [
    {
      row: 'ecp.md 1.3 row 1 INIT_TRANSMIT: always -> WAIT_FOR_REQ',
      start: machine,
      event: () => [],
      effects: [],
      target: 'WAIT_FOR_REQ',
      sequence: 1,
    },
    {
      row: 'ecp.md 1.3 row 2 WAIT_FOR_REQ: a request is queued -> TRANSMIT_ECPDU',
      start: machine,
      event: (ecp) => ecp.request(ulpdu(1), 0),
      effects: ['request 1:01'],
      target: 'TRANSMIT_ECPDU',
      sequence: 1,
    },
    {
      row: 'ecp.md 1.3 row 2 WAIT_FOR_REQ: time passes -> WAIT_FOR_REQ',
      start: machine,
      event: (ecp) => ecp.advance(1e9),
      effects: [],
      target: 'WAIT_FOR_REQ',
      sequence: 1,
    },
    {
      row: 'ecp.md 1.3 row 3 TRANSMIT_ECPDU: ackReceived -> WAIT_FOR_REQ, next sequence number',
      start: outstanding,
      event: (ecp) => ecp.ack(ack(1), 5),
      effects: ['delivered 1 x1'],
      target: 'WAIT_FOR_REQ',
      sequence: 2,
    },
    {
      row: 'ecp.md 1.3 row 3 TRANSMIT_ECPDU: ackTimer still runs -> TRANSMIT_ECPDU',
      start: outstanding,
      event: (ecp) => ecp.advance(99.99),
      effects: [],
      target: 'TRANSMIT_ECPDU',
      sequence: 1,
    },
    {
      row: 'ecp.md 1.3 row 3 TRANSMIT_ECPDU: ackTimer expired, retries <= maxRetries -> TRANSMIT_ECPDU',
      start: outstanding,
      event: (ecp) => ecp.advance(100),
      effects: ['request 1:01'],
      target: 'TRANSMIT_ECPDU',
      sequence: 1,
    },
    {
      row: 'ecp.md 1.3 row 3 TRANSMIT_ECPDU, row 4 COUNT_ERRORS: retries > maxRetries -> WAIT_FOR_REQ, the ECPDU is dropped',
      start: () => {
        const ecp = outstanding();
        for (const now of [100, 200, 300]) ecp.advance(now);
        return ecp;
      },
      event: (ecp) => ecp.advance(400),
      effects: ['undelivered 1 x4'],
      target: 'WAIT_FOR_REQ',
      sequence: 2,
    },
    {
      row: 'ack with another sequence number (vectors.md V20: V8 with 0102 while 0101 is outstanding)',
      start: () => {
        const ecp = machine(0x0101);
        ecp.request(ulpdu(1), 0);
        return ecp;
      },
      event: (ecp) => ecp.ack(ack(0x0102), 5),
      effects: [],
      target: 'TRANSMIT_ECPDU',
      sequence: 0x0101,
    },
    {
      row: 'ack of another subtype',
      start: outstanding,
      event: (ecp) => ecp.ack(ack(1, { subtype: 2 }), 5),
      effects: [],
      target: 'TRANSMIT_ECPDU',
      sequence: 1,
    },
    {
      row: 'ack while nothing is outstanding, with the number to come',
      start: machine,
      event: (ecp) => ecp.ack(ack(1), 5),
      effects: [],
      target: 'WAIT_FOR_REQ',
      sequence: 1,
    },
    {
      row: 'late ack of a completed ECPDU',
      start: () => {
        const ecp = outstanding();
        ecp.ack(ack(1), 5);
        ecp.request(ulpdu(2), 6);
        return ecp;
      },
      event: (ecp) => ecp.ack(ack(1), 7),
      effects: [],
      target: 'TRANSMIT_ECPDU',
      sequence: 2,
    },
  ];
  test.each(rows.map((row) => [row.row, row] as const))(
    '%s',
    (_, { start, event, effects, target, sequence }) => {
      const ecp = start();
      expect(told(event(ecp))).toEqual(effects);
      expect([ecp.state, ecp.sequence]).toEqual([target, sequence]);
    },
  );

  test.each([
    [0, [0], 100],
    [1, [0, 100], 200],
    [3, [0, 100, 200, 300], 400],
    [7, [0, 100, 200, 300, 400, 500, 600, 700], 800],
  ])('R = %d: R + 1 transmissions of the same octets, then given up', (maxRetries, times, end) => {
    const ecp = machine(9, { maxRetries, ackTimer: 100 });
    const effects = [
      ...ecp.request(ulpdu(1), 0).map((effect) => ({ ...effect, at: 0 })),
      ...runUntil(ecp, 0, 5000),
    ];
    expect(timed(effects)).toEqual([
      ...times.map((at) => `${at} request 9:01`),
      `${end} undelivered 9 x${maxRetries + 1}`,
    ]);
    const octets = effects.flatMap((effect) => (effect.kind === 'send' ? [toHex(effect.ecpdu)] : []));
    expect(new Set(octets).size).toBe(1);
    expect(ecp.counters).toEqual({ txFrameCount: maxRetries + 1, txRetryCount: maxRetries, txErrors: 1 });
  });

  test.each(timerVectors)(
    'vectors.md V19: R $r, RTE $rte gives up after $giveUp s',
    ({ r, rte, giveUp, ackTimer }) => {
      expect(exponentToMs(rte) / 1000).toBeCloseTo(ackTimer, 12);
      const ecp = machine(1, { maxRetries: r, ackTimer: exponentToMs(rte) });
      ecp.request(ulpdu(1), 0);
      const last = runUntil(ecp, 0, 1e9).at(-1)!;
      expect([last.kind, last.at / 1000]).toEqual(['undelivered', expect.closeTo(giveUp, 9)]);
    },
  );

  test('one outstanding, the others leave in their order as it is acknowledged', () => {
    const ecp = machine();
    const effects = [1, 2, 3].flatMap((n) => ecp.request(ulpdu(n), 0));
    expect(told(effects)).toEqual(['request 1:01']);
    expect(ecp.idle).toBe(false);
    expect(told(ecp.ack(ack(1), 10))).toEqual(['delivered 1 x1', 'request 2:02']);
    expect(told(ecp.ack(ack(2), 20))).toEqual(['delivered 2 x1', 'request 3:03']);
    expect(told(ecp.ack(ack(3), 30))).toEqual(['delivered 3 x1']);
    expect(ecp.idle).toBe(true);
    expect(ecp.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
    expect(ecp.counters).toEqual({ txFrameCount: 3, txRetryCount: 0, txErrors: 0 });
  });

  test('one given up makes room for the next, which has its own retries and ackTimer', () => {
    const ecp = machine(1, { maxRetries: 1, ackTimer: 100 });
    ecp.request(ulpdu(1), 0);
    ecp.request(ulpdu(2), 50);
    expect(timed(runUntil(ecp, 50, 1000))).toEqual([
      '100 request 1:01',
      '200 undelivered 1 x2',
      '200 request 2:02',
      '300 request 2:02',
      '400 undelivered 2 x2',
    ]);
    expect(ecp.counters.txErrors).toBe(2);
  });

  test('acknowledged after a retransmission: what was counted does not follow to the next', () => {
    const ecp = machine();
    ecp.request(ulpdu(1), 0);
    runUntil(ecp, 0, 250);
    expect(told(ecp.ack(ack(1), 260))).toEqual(['delivered 1 x3']);
    ecp.request(ulpdu(2), 300);
    expect(runUntil(ecp, 300, 5000).at(-1)).toMatchObject({ at: 700, kind: 'undelivered', attempts: 4 });
  });

  test('sequence numbers: 65535 is followed by 1, 0 is never sent', () => {
    const ecp = machine(65534);
    const seen = [1, 2, 3, 4].flatMap((n) => {
      const sent = told(ecp.request(ulpdu(n), n));
      ecp.ack(ack(ecp.sequence), n);
      return sent;
    });
    expect(seen).toEqual(['request 65534:01', 'request 65535:02', 'request 1:03', 'request 2:04']);
  });

  test.each([1, 2, 65535])('the first number is the one handed in: %d', (first) => {
    expect(told(machine(first).request(ulpdu(1), 0))).toEqual([`request ${first}:01`]);
  });

  test('1.2: changed operational values apply from the next transmission on', () => {
    const ecp = machine();
    ecp.request(ulpdu(1), 0);
    ecp.timing = { maxRetries: 1, ackTimer: 1000 };
    expect(ecp.nextDeadline()).toBe(100);
    expect(timed(runUntil(ecp, 0, 10_000))).toEqual(['100 request 1:01', '1100 undelivered 1 x2']);
  });

  test('a queue that is full is the caller`s mistake', () => {
    const ecp = machine();
    // One leaves at once, 64 wait.
    for (let n = 0; n < 65; n++) ecp.request(ulpdu(n), 0);
    expect(() => ecp.request(ulpdu(65), 0)).toThrow(RangeError);
    expect(ecp.idle).toBe(false);
  });

  test('the first number is the one handed in, 1 and 65535 too', () => {
    expect([1, 2, 65535].map((first) => machine(first).sequence)).toEqual([1, 2, 65535]);
  });
});
