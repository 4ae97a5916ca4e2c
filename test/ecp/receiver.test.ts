import { describe, expect, test } from 'vitest';
import { decodeEcpdu, type Ecpdu, EcpReceiver } from '../../protocols/ecp/index.ts';
import {
  decodeFrame,
  ETHERTYPE_ECP,
  encodeFrame,
  NEAREST_CUSTOMER_BRIDGE,
} from '../../protocols/ethernet/index.ts';
import { type MacAddress, toHex } from '../../protocols/octets/index.ts';
import { BRIDGE, STATION, V7, V8 } from '../fixtures/vectors.ts';

const OTHER = '02:11:22:33:44:99' as MacAddress;
/** What the peer sends last of a request comes 4 s after the first. */
const TIMING = { maxRetries: 3, ackTimer: 1000 };
const request = (sequence: number, more: Partial<Ecpdu> = {}): Ecpdu => ({
  version: 1,
  operation: 'request',
  subtype: 1,
  sequence,
  ulpdu: Uint8Array.of(sequence & 255),
  ...more,
});
/** What the machine does with a request: acks it, indicates it. */
function told(ecp: EcpReceiver, ecpdu: Ecpdu, source = STATION, accept = true, now = 0): string[] {
  return ecp.request(ecpdu, source, now, accept).map((effect) => {
    if (effect.kind === 'indicate') return `indicate ${toHex(effect.ulpdu)}`;
    const { operation, sequence } = decodeEcpdu(effect.ecpdu);
    return `${operation} ${sequence}`;
  });
}

describe('receive machine (ecp.md 1.4)', () => {
  const rows: {
    row: string;
    start?: (ecp: EcpReceiver) => void;
    event: (ecp: EcpReceiver) => string[];
    effects: string[];
    target?: string;
  }[] = [
    {
      row: 'ecp.md 1.4 row 1 RECEIVE_WAIT, row 2 RECEIVE_FIRST: a valid request counts as new',
      event: (ecp) => told(ecp, request(7)),
      effects: ['ack 7', 'indicate 07'],
    },
    {
      row: 'ecp.md 1.4 row 1 RECEIVE_WAIT, row 2 RECEIVE_FIRST: a first request with sequence 0',
      event: (ecp) => told(ecp, request(0)),
      effects: ['ack 0', 'indicate 00'],
    },
    {
      row: 'ecp.md 1.4 row 3 RECEIVE_ECPDU, row 5 SEND_ACK: seq = lastSeq: ack only',
      start: (ecp) => told(ecp, request(7)),
      event: (ecp) => told(ecp, request(7)),
      effects: ['ack 7'],
    },
    {
      row: 'ecp.md 1.4 row 3 RECEIVE_ECPDU, row 4 NEW_ECPDU, row 6 RECEIVE_WAIT_2: the next number',
      start: (ecp) => told(ecp, request(7)),
      event: (ecp) => told(ecp, request(8)),
      effects: ['ack 8', 'indicate 08'],
    },
    {
      row: 'ecp.md 1.4 row 4 NEW_ECPDU: no window and no order: an older number is new',
      start: (ecp) => [7, 8].map((sequence) => told(ecp, request(sequence))),
      event: (ecp) => told(ecp, request(7)),
      effects: ['ack 7', 'indicate 07'],
    },
    {
      row: 'ecp.md 1.4 row 4 NEW_ECPDU: the peer restarts at 1',
      start: (ecp) => told(ecp, request(900)),
      event: (ecp) => told(ecp, request(1)),
      effects: ['ack 1', 'indicate 01'],
    },
    {
      row: 'the same number from another source is new',
      start: (ecp) => told(ecp, request(7)),
      event: (ecp) => told(ecp, request(7), OTHER),
      effects: ['ack 7', 'indicate 07'],
    },
    {
      row: 'no room in the ULP: no ack',
      event: (ecp) => told(ecp, request(7), STATION, false),
      effects: [],
      target: 'RECEIVE_WAIT',
    },
    {
      row: 'no room in the ULP, lastSeq unchanged: its retransmission is new',
      start: (ecp) => {
        told(ecp, request(6));
        told(ecp, request(7), STATION, false);
      },
      event: (ecp) => told(ecp, request(7)),
      effects: ['ack 7', 'indicate 07'],
    },
    {
      row: 'no room in the ULP, lastSeq unchanged: the one before is still a duplicate, acked',
      start: (ecp) => {
        told(ecp, request(6));
        told(ecp, request(7), STATION, false);
      },
      event: (ecp) => told(ecp, request(6), STATION, false),
      effects: ['ack 6'],
    },
    {
      row: 'vectors.md V20: subtype 3 -> dropped, no ack',
      event: (ecp) => told(ecp, request(7, { subtype: 3 })),
      effects: [],
      target: 'RECEIVE_WAIT',
    },
    {
      row: '1.6: subtype 2 (PE-CSP), which nobody consumes -> dropped, no ack',
      start: (ecp) => told(ecp, request(6)),
      event: (ecp) => [...told(ecp, request(7, { subtype: 2 })), ...told(ecp, request(6))],
      effects: ['ack 6'],
    },
    {
      row: 'neighbour gone: its next number is new, whatever it is (interop-notes.md 10 row 2)',
      start: (ecp) => {
        told(ecp, request(1));
        ecp.reset();
      },
      event: (ecp) => told(ecp, request(1)),
      effects: ['ack 1', 'indicate 01'],
    },
    {
      row: 'ecp.md 1.4 row 3 RECEIVE_ECPDU: seq = lastSeq while the peer still sends it again',
      start: (ecp) => {
        told(ecp, request(1));
        told(ecp, request(1), STATION, true, 3000);
      },
      event: (ecp) => told(ecp, request(1), STATION, true, 7000),
      effects: ['ack 1'],
    },
    {
      row: 'ecp.md 1.4 row 3 RECEIVE_ECPDU: seq = lastSeq when the peer has long given it up: it was started again',
      start: (ecp) => told(ecp, request(1)),
      event: (ecp) => told(ecp, request(1), STATION, true, 4001),
      effects: ['ack 1', 'indicate 01'],
    },
  ];
  test.each(rows.map((row) => [row.row, row] as const))(
    '%s',
    (_, { start, event, effects, target = 'RECEIVE_WAIT_2' }) => {
      const ecp = new EcpReceiver(TIMING);
      start?.(ecp);
      expect(event(ecp)).toEqual(effects);
      expect(ecp.state).toBe(target);
    },
  );

  test('reset is RECEIVE_WAIT', () => {
    const ecp = new EcpReceiver(TIMING);
    told(ecp, request(1));
    ecp.reset();
    expect(ecp.state).toBe('RECEIVE_WAIT');
  });

  test('vectors.md V20: V7 twice: acked twice with V8, processed once', () => {
    const ecp = new EcpReceiver(TIMING);
    const ecpdu = decodeEcpdu(decodeFrame(V7.octets).payload);
    const effects = [ecp.request(ecpdu, STATION, 0), ecp.request(ecpdu, STATION, 0)].flat();
    const acks = effects.flatMap((effect) => (effect.kind === 'send' ? [effect.ecpdu] : []));
    const frames = acks.map((payload) =>
      toHex(
        encodeFrame({
          destination: NEAREST_CUSTOMER_BRIDGE,
          source: BRIDGE,
          etherType: ETHERTYPE_ECP,
          payload,
        }),
      ),
    );
    expect(frames).toEqual([toHex(V8.octets), toHex(V8.octets)]);
    expect(effects.filter(({ kind }) => kind === 'indicate')).toEqual([
      { kind: 'indicate', ulpdu: ecpdu.ulpdu },
    ]);
  });

  test('counters', () => {
    const ecp = new EcpReceiver(TIMING);
    told(ecp, request(1));
    told(ecp, request(1));
    told(ecp, request(2));
    told(ecp, request(3, { subtype: 2 }));
    told(ecp, request(3), STATION, false);
    expect(ecp.counters).toEqual({ rxFrameCount: 3, rxDuplicates: 1, rxUnknownSubtype: 1, rxRefused: 1 });
  });
});
