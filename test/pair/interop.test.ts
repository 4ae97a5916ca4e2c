/** The knobs of `interop:` that change what station and bridge say to each other. */

import { describe, expect, it } from 'vitest';
import { decodeEcpdu } from '../../protocols/ecp/index.ts';
import { ETHERTYPE_ECP, ETHERTYPE_LLDP } from '../../protocols/ethernet/index.ts';
import { decodeVdp, STATUS_ACK, vdpTimers, vsiKey, vsiName } from '../../protocols/vdp/index.ts';
import { guest, guestMac, Wire } from './wire.ts';

const TIMERS = vdpTimers({ r: 3, rte: 14, rwd: 20, rka: 20 });
const OPEN = { enforce: false };
const settled = (wire: Wire, ticket: number) =>
  wire.settled.get(ticket)?.error?.name ?? wire.settled.has(ticket);
const atBridge = (wire: Wire) =>
  [...wire.bridge.vsis.values()].map(({ id, state, command }) => [id, state, command.type]);
/** The VSI TLVs of a side, read as a peer reads them. */
function said(wire: Wire, from: 'station' | 'bridge', countless = false) {
  const ulpdus = wire
    .sent(from, ETHERTYPE_ECP)
    .map(({ payload }) => decodeEcpdu(payload))
    .filter(({ operation }) => operation === 'request')
    .map(({ ulpdu }) => decodeVdp(ulpdu, countless));
  return { vsis: ulpdus.flatMap(({ vsis }) => vsis), invalid: ulpdus.flatMap(({ invalid }) => invalid) };
}

describe('vsi-key', () => {
  const one = guest(1);
  const other = guest(1, 'associate', { type: 2 });
  const id = vsiName(one);

  it('vsiid: another type is a change of the VSI', () => {
    const wire = new Wire({}, OPEN).up().pass(10);
    wire.ask(one);
    wire.pass(100);
    wire.ask(other);
    wire.pass(100);
    expect(atBridge(wire)).toEqual([[id, 'associated', 2]]);
  });

  it('lldpad: another type is another VSI, with a name of its own; the first ends without keepalives', () => {
    const wire = new Wire({}, OPEN, { vsiKey: 'lldpad' }).up().pass(10);
    wire.ask(one);
    wire.pass(100);
    const ticket = wire.ask(other);
    wire.pass(100);
    expect(settled(wire, ticket)).toBe(true);
    expect(atBridge(wire)).toEqual([
      [id, 'associated', 1],
      [`${id}+2`, 'associated', 2],
    ]);
    wire.pass(TIMERS.toutKeepAlive);
    expect(atBridge(wire)).toEqual([[`${id}+2`, 'associated', 2]]);
    wire.pass(2 * TIMERS.toutKeepAlive);
    expect(wire.station.vsis.get(vsiKey(one))).toMatchObject({ state: 'associated', command: { type: 2 } });
    expect(atBridge(wire)).toEqual([[`${id}+2`, 'associated', 2]]);
  });
});

describe('deassoc-ack', () => {
  it.each([
    [false, 0],
    [true, STATUS_ACK],
  ])('%s: an unsolicited DeAssociate has status %i, and the station takes it', (deassocAck, status) => {
    const wire = new Wire({}, OPEN, { deassocAck }).up().pass(10);
    wire.ask(guest(1));
    wire.pass(100);
    wire.throwOut(vsiKey(guest(1)));
    wire.pass(100);
    expect(said(wire, 'bridge').vsis.at(-1)).toMatchObject({ request: 'deassociate', status });
    expect(wire.station.vsis.get(vsiKey(guest(1)))).toMatchObject({ state: 'associating' });
    wire.pass(2_000);
    expect(wire.station.vsis.get(vsiKey(guest(1)))).toMatchObject({ state: 'associated' });
  });
});

describe('filter-count', () => {
  const two = guest(1, 'associate', { filters: [1, 2].map((n) => ({ mac: guestMac(n), vid: 10 })) });

  it('absent: VSIs are associated by TLVs without it', () => {
    const wire = new Wire({}, OPEN, { filterCount: 'absent' }).up().pass(10);
    const ticket = wire.ask(two);
    wire.pass(100);
    expect(settled(wire, ticket)).toBe(true);
    for (const side of ['station', 'bridge'] as const) {
      expect(said(wire, side).vsis).toEqual([]);
      expect(said(wire, side, true)).toMatchObject({ vsis: [{ filters: two.filters }], invalid: [] });
    }
  });

  it('present: TLVs without it are refused', () => {
    const wire = new Wire({}, OPEN).up().pass(10);
    wire.tampers = (from, frame) => {
      if (from !== 'station' || frame.etherType !== ETHERTYPE_ECP) return frame;
      const payload = Uint8Array.from(frame.payload);
      // The count of the one VSI TLV: ECP header, Manager ID, TLV header, fixed part.
      if (payload.length > 60) payload[4 + 18 + 2 + 24] = 9;
      return { ...frame, payload };
    };
    const ticket = wire.ask(two);
    wire.pass(100);
    expect(settled(wire, ticket)).toBe('Refused');
  });
});

describe('evb-first', () => {
  const deaf = (evbFirst: boolean) => {
    const wire = new Wire({}, OPEN, { evbFirst });
    wire.passes = (from, { etherType }) => from === 'station' || etherType !== ETHERTYPE_LLDP;
    return wire.up().pass(10);
  };

  it('true: nothing is asked of a bridge that says nothing of EVB', () => {
    const wire = deaf(true);
    const ticket = wire.ask(guest(1));
    wire.pass(TIMERS.respWaitDelay);
    expect(settled(wire, ticket)).toBe(false);
    expect(said(wire, 'station').vsis).toEqual([]);
  });

  it('false: it is asked all the same, kept alive, and asked again when the link was down', () => {
    const wire = deaf(false);
    const ticket = wire.ask(guest(1));
    wire.pass(100);
    expect(settled(wire, ticket)).toBe(true);
    wire.pass(3 * TIMERS.toutKeepAlive);
    expect(atBridge(wire)).toEqual([[vsiName(guest(1)), 'associated', 1]]);
    wire.down().pass(1_000);
    expect(atBridge(wire)).toEqual([]);
    wire.up().pass(2_000);
    expect(atBridge(wire)).toEqual([[vsiName(guest(1)), 'associated', 1]]);
  });
});
