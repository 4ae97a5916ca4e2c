import { describe, expect, test } from 'vitest';
import {
  decodeEcpDraftPdu,
  ECP_DRAFT,
  ECP_DRAFT_RETRIES,
  ECP_RATIFIED,
  EcpReceiver,
  type EcpTransmitEffect,
  EcpTransmitter,
} from '../../protocols/ecp/index.ts';
import { toHex } from '../../protocols/octets/index.ts';
import { VDP_DRAFT_TIMERS } from '../../protocols/vdp/index.ts';
import { hex, STATION } from '../fixtures/vectors.ts';

const TIMING = { maxRetries: ECP_DRAFT_RETRIES, ackTimer: VDP_DRAFT_TIMERS.ackTimer };
const A = hex('fe01 aa 0000');
const B = hex('fe01 bb 0000');

const transmitter = (more: object = {}) => new EcpTransmitter({ ...TIMING, ...more }, 7, ECP_DRAFT);
const told = (effects: EcpTransmitEffect[]) =>
  effects.map((effect) => {
    if (effect.kind !== 'send') return `${effect.kind} ${effect.sequence} after ${effect.attempts}`;
    const { operation, sequence, ulpdu } = decodeEcpDraftPdu(effect.ecpdu);
    return `${operation} ${sequence} ${toHex(ulpdu)}`;
  });
const ack = (sequence: number) => ({ subtype: 0, sequence });

describe('transmit machine of draft 0.2', () => {
  test('ecp.md 2.2 row 1 INIT_TRANSMIT: nothing is sent until VDP has something to say', () => {
    const ecp = transmitter();
    expect([ecp.advance(10_000), ecp.idle, ecp.nextDeadline()]).toEqual([[], true, Number.POSITIVE_INFINITY]);
  });

  test('ecp.md 2.2 row 2 REQUEST_PDU: each PDU has its own count of retries', () => {
    const ecp = transmitter();
    ecp.request(A, 0);
    ecp.advance(500);
    ecp.ack(ack(7), 600);
    expect(told(ecp.request(B, 700))).toEqual(['request 8 fe01bb0000']);
    expect(told(ecp.advance(1200))).toEqual(['request 8 fe01bb0000']);
    expect(told(ecp.advance(1700))).toEqual(['request 8 fe01bb0000']);
    expect(told(ecp.advance(2200))).toEqual(['undelivered 8 after 3']);
  });

  test('ecp.md 2.2 row 3 TRANSMIT_ECPDU: sent with the next number, ackTimer 500 ms', () => {
    const ecp = transmitter();
    expect(told(ecp.request(A, 0))).toEqual(['request 7 fe01aa0000']);
    expect(ecp.nextDeadline()).toBe(500);
  });

  test('ecp.md 2.2 row 4 WAIT_FOR_ACK: three transmissions in all, given up after 1.5 s', () => {
    const ecp = transmitter();
    ecp.request(A, 0);
    ecp.request(B, 0);
    expect(ecp.advance(499)).toEqual([]);
    expect(told(ecp.advance(500))).toEqual(['request 7 fe01aa0000']);
    expect(told(ecp.advance(1000))).toEqual(['request 7 fe01aa0000']);
    expect(told(ecp.advance(1500))).toEqual(['undelivered 7 after 3', 'request 8 fe01bb0000']);
  });

  test('ecp.md 2.2 row 4 WAIT_FOR_ACK: the ack with the number sent', () => {
    const ecp = transmitter();
    ecp.request(A, 0);
    expect(ecp.ack(ack(6), 1)).toEqual([]);
    expect(ecp.ack({ subtype: 1, sequence: 7 }, 1)).toEqual([]);
    expect(told(ecp.ack(ack(7), 1))).toEqual(['delivered 7 after 1']);
    expect(ecp.idle).toBe(true);
  });

  test('ecp.md 2.2: new number per retransmission (knob); the ack of any of them counts', () => {
    const ecp = transmitter({ renumber: true });
    ecp.request(A, 0);
    expect(told(ecp.advance(500))).toEqual(['request 8 fe01aa0000']);
    expect(told(ecp.advance(1000))).toEqual(['request 9 fe01aa0000']);
    expect(told(ecp.ack(ack(8), 1001))).toEqual(['delivered 8 after 3']);
    expect(told(ecp.request(B, 2000))).toEqual(['request 10 fe01bb0000']);
    expect(ecp.ack(ack(9), 2001)).toEqual([]);
  });
});

describe('what the machines reset to', () => {
  test('transmit: what waited is forgotten, the number and the dialect are new', () => {
    const ecp = transmitter();
    ecp.request(A, 0);
    ecp.request(B, 0);
    expect(ecp.idle).toBe(false);
    ecp.reset(ECP_RATIFIED);
    expect([ecp.idle, ecp.advance(500), ecp.nextDeadline()]).toEqual([true, [], Number.POSITIVE_INFINITY]);
    expect(ecp.request(A, 0)).toEqual([
      {
        kind: 'send',
        ecpdu: ECP_RATIFIED.encode({ operation: 'request', subtype: 1, sequence: 8, ulpdu: A }),
      },
    ]);
  });

  test('receive: the dialect is new', () => {
    const ecp = new EcpReceiver(TIMING, ECP_DRAFT);
    ecp.reset(ECP_RATIFIED);
    const request = { operation: 'request', subtype: 1, sequence: 1, ulpdu: A } as const;
    expect(ecp.request(request, STATION, 0)[0]).toEqual({ kind: 'send', ecpdu: hex('1401 0001') });
  });
});

describe('receive machine of draft 0.2 (ecp.md 2.3)', () => {
  const request = { operation: 'request', subtype: 0, sequence: 9, ulpdu: A } as const;

  test('the ack is as long as the request, zeros behind its header', () => {
    const ecp = new EcpReceiver(TIMING, ECP_DRAFT);
    expect(ecp.request(request, STATION, 0)).toEqual([
      { kind: 'send', ecpdu: hex('001b3f 00 0000 01 0009 0000000000') },
      { kind: 'indicate', ulpdu: A },
    ]);
  });

  test('the same number from the same source: acked again, not processed', () => {
    const ecp = new EcpReceiver(TIMING, ECP_DRAFT);
    ecp.request(request, STATION, 0);
    expect(ecp.request(request, STATION, 500).map(({ kind }) => kind)).toEqual(['send']);
  });

  test('another subtype is dropped', () => {
    const ecp = new EcpReceiver(TIMING, ECP_DRAFT);
    expect(ecp.request({ ...request, subtype: 1 }, STATION, 0)).toEqual([]);
  });
});

describe('the dialects', () => {
  test('how much fits a frame', () => {
    expect(ECP_DRAFT_RETRIES).toBe(2);
    expect([ECP_RATIFIED.ulpduMax, ECP_DRAFT.ulpduMax]).toEqual([1494, 1491]);
  });

  test.each([
    ['ratified', () => ECP_RATIFIED, '1001 0102 fe01aa0000', '1401 0102'],
    ['draft', () => ECP_DRAFT, '001b3f 00 0000 00 0102 fe01aa0000', '001b3f 00 0000 01 0102 0000000000'],
  ])('%s: both ways, and its ack', (_, get, octets, ackOctets) => {
    const dialect = get();
    const pdu = { operation: 'request', subtype: dialect.subtype, sequence: 0x102, ulpdu: A } as const;
    expect(toHex(dialect.encode(pdu))).toBe(octets.replaceAll(' ', ''));
    expect(dialect.decode(hex(octets))).toMatchObject(pdu);
    expect(toHex(dialect.encodeAck(pdu))).toBe(ackOctets.replaceAll(' ', ''));
  });
});
