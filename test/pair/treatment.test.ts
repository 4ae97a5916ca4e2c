/** How a station tells whether the bridge is lldpad, and changes the filters of a VSI with it (vdp.md 4.2). */

import { describe, expect, it } from 'vitest';
import { decodeEcpdu } from '../../protocols/ecp/index.ts';
import { ETHERTYPE_ECP } from '../../protocols/ethernet/index.ts';
import type { EvbParameters } from '../../protocols/lldp-codec/index.ts';
import { decodeVdp, vdpTimers, vsiKey } from '../../protocols/vdp/index.ts';
import { Treatment } from '../../src/station/treatment.ts';
import { bridge, LldpadBridge, PROPOSAL, station, ZteBridge } from '../evb/peers.ts';
import { guest, guestMac, Wire } from './wire.ts';

const VALUES = [19, 20, 21] as const;
const proposals = VALUES.flatMap((rwd) => VALUES.map((rka) => ({ ...PROPOSAL, rwd, rka })));
const ROUNDS = 4;

interface Peer {
  tlv: ReturnType<typeof bridge>['tlv'];
  receive(tlv: Peer['tlv']): unknown;
}

/** Whether a peer is taken for lldpad once both have said what they had to say. */
function takenForLldpad(own: EvbParameters, peer: Peer): boolean {
  const us = station(own);
  const treatment = new Treatment('auto');
  for (let round = 0; round < ROUNDS; round++) {
    peer.receive(us.tlv);
    us.receive(peer.tlv, '');
    treatment.heard(us.remote, us.tlv);
  }
  return treatment.isLldpad;
}

describe('lldpad is offered', () => {
  it.each([
    [PROPOSAL, { ...PROPOSAL, rte: 8 }],
    [
      { r: 7, rte: 31, rwd: 31, rka: 28 },
      { r: 7, rte: 8, rwd: 27, rka: 27 },
    ],
  ])('timers that it can bear, and stays recognized with them: of %j', (own, offered) => {
    const us = station(own);
    const peer = new LldpadBridge({ ...PROPOSAL, rte: 8 });
    const treatment = new Treatment('auto');
    const seen: boolean[] = [];
    for (let round = 0; round < 3 * ROUNDS; round++) {
      peer.receive(us.tlv);
      us.receive(peer.tlv, '');
      treatment.heard(us.remote, us.tlv);
      const proposal = treatment.proposal(own);
      us.setPolicy({ reflectiveRelay: true, groupIds: true, proposal });
      seen.push(treatment.isLldpad);
    }
    expect(seen.slice(1)).toEqual(seen.slice(1).map(() => true));
    expect(us.operational).toEqual(offered);
  });
});

describe('lldpad is recognized', () => {
  it.each(proposals)('whatever it proposes, by a station with the defaults: %j', (local) => {
    expect(takenForLldpad(PROPOSAL, new LldpadBridge(local))).toBe(true);
  });

  it.each(proposals)('whatever the station proposes: %j', (own) => {
    expect(takenForLldpad(own, new LldpadBridge(PROPOSAL))).toBe(true);
  });

  it.each(proposals)('and a bridge of our own kind is not, unless it proposes less in both: %j', (local) => {
    const less = local.rwd < PROPOSAL.rwd && local.rka < PROPOSAL.rka;
    expect(takenForLldpad(PROPOSAL, bridge(local))).toBe(less);
  });

  it.each(proposals)('and a bridge that sends its own proposals is not: %j', (local) => {
    expect(takenForLldpad(PROPOSAL, new ZteBridge(local))).toBe(false);
  });
});

const TOUT = vdpTimers({ r: 3, rte: 8, rwd: 20, rka: 20 }).toutKeepAlive;
const A = { mac: guestMac(1), vid: 10 };
const B = { mac: guestMac(2), vid: 10 };
const only = guest(1, 'associate', { filters: [A] });
const both = guest(1, 'associate', { filters: [A, B] });

const vsi = (wire: Wire) => wire.station.vsis.get(vsiKey(only));
const settled = (wire: Wire, ticket: number) =>
  wire.settled.get(ticket)?.error?.name ?? wire.settled.has(ticket);
/** What the station asked for since: request and number of filters. */
const asked = (wire: Wire, since: number) =>
  wire
    .sent('station', ETHERTYPE_ECP, since)
    .map(({ payload }) => decodeEcpdu(payload))
    .filter(({ operation }) => operation === 'request')
    .flatMap(({ ulpdu }) =>
      decodeVdp(ulpdu).vsis.map(({ request, filters }) => `${request} ${filters.length}`),
    );

/** A bridge that never says a late DeAssociate, so that only time tells. `ticket` asked for other filters at `since`. */
function changing(peer: 'lldpad' | 'standard', before = only, after = both) {
  const wire = new Wire(
    { peer, proposal: { ...PROPOSAL, rte: 8 } },
    { proposal: { ...PROPOSAL, rte: 8 }, enforce: false },
  );
  wire.up().pass(10);
  wire.ask(before);
  wire.pass(100);
  const since = wire.now;
  return { wire, since, ticket: wire.ask(after) };
}

describe('other filters of a VSI in force', () => {
  it('are asked for at once of a bridge that follows the standard', () => {
    const { wire, since, ticket } = changing('standard');
    wire.pass(100);
    expect(settled(wire, ticket)).toBe(true);
    expect(asked(wire, since)).toEqual(['associate 2']);
  });

  it('are asked for when lldpad has forgotten those of before', () => {
    const { wire, since, ticket } = changing('lldpad');
    wire.pass(TOUT);
    expect(asked(wire, since)).toEqual(['deassociate 1']);
    expect(settled(wire, ticket)).toBe(false);
    expect(vsi(wire)).toMatchObject({ state: 'associating' });
    expect(vsi(wire)!.history.last!.reason).toContain('forgotten');
    wire.pass(2_000);
    expect(asked(wire, since)).toEqual(['deassociate 1', 'associate 2']);
    expect(settled(wire, ticket)).toBe(true);
    expect(vsi(wire)!.machine.operCmd!.filters).toEqual([A, B]);
  });

  it('are asked for at once when nothing but the type changes, or the format: another VSI to lldpad', () => {
    for (const after of [
      guest(1, 'associate', { filters: [A, B], type: 2 }),
      guest(1, 'associate', { filters: [{ vid: 10 }] }),
    ]) {
      const { wire, since, ticket } = changing('lldpad', only, after);
      wire.pass(100);
      expect(settled(wire, ticket)).toBe(true);
      expect(asked(wire, since)).toEqual([`associate ${after.filters.length}`]);
    }
  });

  it('are waited for too when only the PCP is another, or the order', () => {
    const marked = guest(1, 'associate', { filters: [{ ...A, pcp: 5 }] });
    for (const [before, after] of [
      [only, marked],
      [both, guest(1, 'associate', { filters: [B, A] })],
    ]) {
      const { wire, since } = changing('lldpad', before, after);
      wire.pass(100);
      expect(asked(wire, since).join()).toMatch(/^deassociate \d$/);
    }
  });

  it('taken back while lldpad forgets are asked for at once', () => {
    const { wire, since, ticket } = changing('lldpad');
    wire.pass(1_000);
    const back = wire.ask(only);
    wire.pass(100);
    expect([settled(wire, ticket), settled(wire, back)]).toEqual(['Conflict', true]);
    expect(asked(wire, since)).toEqual(['deassociate 1', 'associate 1']);
  });

  it('given up while lldpad forgets are never asked for', () => {
    const { wire, since } = changing('lldpad');
    wire.pass(1_000);
    const end = wire.give(vsiKey(only));
    wire.pass(2 * TOUT);
    expect(settled(wire, end)).toBe(true);
    expect(asked(wire, since)).toEqual(['deassociate 1']);
  });

  it('asked for while the first are not confirmed yet wait as well', () => {
    const wire = new Wire({ peer: 'lldpad' }).up().pass(10);
    const since = wire.now;
    wire.ask(only);
    const ticket = wire.ask(both);
    wire.pass(1_000);
    expect(asked(wire, since)).toEqual(['associate 1', 'deassociate 1']);
    wire.pass(2 * TOUT);
    expect(settled(wire, ticket)).toBe(true);
    expect(vsi(wire)!.machine.operCmd!.filters).toEqual([A, B]);
  });

  it('asked for after the VSI was deassociated wait until lldpad has forgotten it', () => {
    const wire = new Wire({ peer: 'lldpad' }).up().pass(10);
    wire.ask(only);
    wire.pass(100);
    wire.give(vsiKey(only));
    wire.pass(100);
    expect(vsi(wire)).toBeUndefined();
    const since = wire.now;
    const ticket = wire.ask(both);
    wire.pass(1_000);
    expect(asked(wire, since)).toEqual([]);
    wire.pass(2 * TOUT);
    expect(settled(wire, ticket)).toBe(true);
  });

  it('are asked for at once when the bridge had refused the first', () => {
    const wire = new Wire({ peer: 'lldpad' }).up().pass(10);
    wire.kernel = () => 'no';
    const refused = wire.ask(only);
    wire.pass(100);
    expect(settled(wire, refused)).toBe('Refused');
    wire.kernel = () => undefined;
    const ticket = wire.ask(both);
    wire.pass(100);
    expect(settled(wire, ticket)).toBe(true);
  });
});

describe('a request without an answer', () => {
  const RTE = { ...PROPOSAL, rte: 8 };
  /** With answers enough that nothing is known against the bridge. */
  function trusting(peer: 'auto' | 'standard' = 'auto') {
    const wire = new Wire({ peer, proposal: RTE }, { proposal: RTE, enforce: false }).up().pass(10);
    for (let n = 2; n < 12; n++) wire.ask(guest(n));
    return wire.pass(100);
  }
  const GIVEN_UP = 4 * vdpTimers(RTE).ackTimer;
  /** Asks for guest 1 while the bridge is deaf for so long. */
  function askTheDeaf(wire: Wire, milliseconds: number) {
    wire.passes = (from, { etherType }) => from === 'bridge' || etherType !== ETHERTYPE_ECP;
    const ticket = wire.ask(only);
    wire.pass(milliseconds);
    wire.passes = () => true;
    return ticket;
  }

  it('that ECP gave up is asked again after half a second, which tells nothing of the bridge', () => {
    const wire = trusting();
    const ticket = askTheDeaf(wire, GIVEN_UP + 1);
    wire.pass(490);
    expect(settled(wire, ticket)).toBe(false);
    wire.pass(20);
    expect(settled(wire, ticket)).toBe(true);
    expect([wire.station.counters.requestsRepeated, wire.station.port!.patient]).toEqual([1, false]);
    expect(wire.notices).toEqual([]);
  });

  it('is asked again with doubled pauses, whether ECP gave it up or not', () => {
    const wire = trusting();
    const ticket = askTheDeaf(wire, GIVEN_UP + 510 + GIVEN_UP);
    wire.pass(990);
    expect(settled(wire, ticket)).toBe(false);
    wire.pass(20);
    expect([settled(wire, ticket), wire.station.counters.requestsRepeated]).toEqual([true, 2]);
  });

  it('that ECP gave up and then delivered in vain tells that the bridge loses it', () => {
    const wire = trusting();
    const ticket = askTheDeaf(wire, GIVEN_UP + 1);
    wire.loses = ({ operation }) => operation === 'request';
    wire.pass(510);
    wire.loses = () => false;
    wire.pass(1_010);
    expect([settled(wire, ticket), wire.station.port!.patient]).toEqual([true, true]);
    expect(wire.notices).toEqual([expect.stringContaining('the bridge loses requests')]);
  });

  it('is not asked again of a bridge that is said to follow the standard', () => {
    const wire = trusting('standard');
    const ticket = askTheDeaf(wire, GIVEN_UP + 1);
    wire.pass(5_000);
    expect([settled(wire, ticket), wire.station.counters.requestsRepeated]).toEqual([false, 0]);
  });

  it('is asked again also when it is no longer wanted, so that it can be ended', () => {
    const wire = trusting();
    askTheDeaf(wire, GIVEN_UP + 1);
    const end = wire.give(vsiKey(only));
    wire.pass(520);
    expect(settled(wire, end)).toBe(true);
    expect([vsi(wire), wire.bridge.vsis.get(vsiKey(only))]).toEqual([undefined, undefined]);
  });
});
