/** What the simulation has found, each told in a few steps: seeds mean something else as soon as the plan changes. */

import { describe, expect, it } from 'vitest';
import { decodeEcpdu, encodeEcpdu } from '../../protocols/ecp/index.ts';
import { ETHERTYPE_ECP, ETHERTYPE_LLDP, type EthernetFrame } from '../../protocols/ethernet/index.ts';
import { decodeLldpdu, EVB_MODE_STATION, encodeLldpdu } from '../../protocols/lldp-codec/index.ts';
import { decodeVdp, vsiKey } from '../../protocols/vdp/index.ts';
import { guest, guestMac, Wire } from '../pair/wire.ts';

const KEY = vsiKey(guest(1));
const MINUTE = 60_000;
const state = (wire: Wire) => wire.station.vsis.get(KEY)?.state;
const atBridge = (wire: Wire) => wire.bridge.vsis.get(KEY)?.state;
const otherFilters = { filters: [{ mac: guestMac(9), vid: 10 }] };

function associated(wire = new Wire()): Wire {
  wire.up().pass(10).ask(guest(1));
  return wire.pass(10);
}

/** An ECP request that was sent, as the peer would say it again with a number of its own. */
function again(wire: Wire, from: 'station' | 'bridge'): EthernetFrame {
  const requests = wire
    .sent(from, ETHERTYPE_ECP)
    .map((frame) => ({ frame, ecpdu: decodeEcpdu(frame.payload) }))
    .filter(({ ecpdu }) => ecpdu.operation === 'request');
  const { frame, ecpdu } = requests[0]!;
  return { ...frame, payload: encodeEcpdu({ ...ecpdu, sequence: 0x7000 }) };
}

describe('a change to group ids that are not agreed', () => {
  it('is refused, what is in force goes on and can be given up', () => {
    const wire = associated(new Wire({ groupIds: true }, { groupIds: false }));
    const grouped = guest(1, 'associate', { filters: [{ mac: guestMac(1), vid: 10, group: 7 }] });
    const ticket = wire.ask(grouped);
    expect(wire.settled.get(ticket)?.error?.name).toBe('NotReady');
    expect([state(wire), wire.station.vsis.get(KEY)?.wanted?.filters]).toEqual([
      'associated',
      guest(1).filters,
    ]);
    wire.pass(MINUTE);
    expect([state(wire), atBridge(wire)]).toEqual(['associated', 'associated']);
    wire.give(KEY);
    wire.pass(10);
    expect([state(wire), atBridge(wire)]).toEqual([undefined, undefined]);
  });
});

describe('an answer to something else', () => {
  it('that comes late does not end what is wanted: it is asked for again', () => {
    const wire = associated();
    const late = again(wire, 'bridge');
    wire.passes = (from) => from === 'station';
    const ticket = wire.ask(guest(1, 'associate', otherFilters));
    wire.station.frame(late, wire.now);
    wire.passes = () => true;
    wire.pass(1_500);
    expect([wire.settled.get(ticket)?.error, state(wire), atBridge(wire)]).toEqual([
      undefined,
      'associated',
      'associated',
    ]);
    expect(wire.admitted.has(guestMac(9))).toBe(true);
  });

  it('that comes each time is believed in the end', () => {
    const wire = associated();
    const late = again(wire, 'bridge');
    wire.passes = (from) => from === 'station';
    wire.ask(guest(1, 'associate', otherFilters));
    for (let time = 0; time < 4; time++) {
      const { ...ecpdu } = decodeEcpdu(late.payload);
      const payload = encodeEcpdu({ ...ecpdu, sequence: 0x7000 + time });
      expect(state(wire)).toBe('associating');
      wire.station.frame({ ...late, payload }, wire.now);
      wire.pass(5_000);
    }
    expect(state(wire)).toBe('failed');
  });
});

describe('a refusal of what has been overtaken', () => {
  it('does not end what is wanted now, where lldpad has to be told the end first', () => {
    const wire = associated(new Wire({ peer: 'lldpad' }));
    wire.ask(guest(1, 'preassociate', { filters: [{ vid: 10 }] }));
    const ticket = wire.ask(guest(1, 'associate', otherFilters));
    wire.pass(MINUTE);
    expect([wire.settled.get(ticket), state(wire), atBridge(wire)]).toMatchObject([
      { error: undefined },
      'associated',
      'associated',
    ]);
  });

  it('is not a second end of what is given up', () => {
    const wire = associated();
    wire.ask(guest(1, 'preassociate', { filters: [{ vid: 10 }] }));
    wire.give(KEY);
    const before = wire.durable.length;
    wire.pass(MINUTE);
    expect(wire.durable.slice(before)).toEqual([`${KEY} gone`]);
    expect([state(wire), atBridge(wire)]).toEqual([undefined, undefined]);
  });
});

describe('an unsolicited DeAssociate', () => {
  it('that crosses a request does not end what is wanted', () => {
    const wire = associated();
    const ticket = wire.ask(guest(1, 'associate', otherFilters));
    wire.throwOut(KEY);
    wire.pass(2_000);
    expect([wire.settled.get(ticket)?.error, state(wire), atBridge(wire)]).toEqual([
      undefined,
      'associated',
      'associated',
    ]);
  });
});

describe('nothing is confirmed that the kernel does not let in', () => {
  it('after the port left its bridge and came back', () => {
    const wire = associated();
    wire.bridge.setBridged(false, wire.now);
    wire.bridge.setBridged(true, wire.now);
    wire.bridge.frame(again(wire, 'station'), wire.now);
    expect(atBridge(wire)).toBe('associating');
    expect(wire.bridge.ratified.tlv.bridgeStatus.rrctr).toBe(false);
  });

  it('while an address that was given up is being taken out', () => {
    const wire = associated();
    wire.bridge.remove(KEY, 'thrown out', wire.now);
    wire.bridge.frame(again(wire, 'station'), wire.now);
    expect(atBridge(wire)).toBe('associating');
  });
});

describe('an association in force', () => {
  const answers = (wire: Wire, since: number) =>
    wire.sent('bridge', ETHERTYPE_ECP, since).flatMap((frame) => {
      const { operation, ulpdu } = decodeEcpdu(frame.payload);
      return operation === 'ack' ? [] : decodeVdp(ulpdu).vsis.map(({ request }) => request);
    });

  it('ends when the kernel refuses its address later, and is asked for again', () => {
    const wire = associated();
    wire.admitted.delete(guestMac(1));
    wire.kernel = () => 'it has a static entry at another port';
    wire.setBridgePolicy({});
    wire.pass(10);
    expect([atBridge(wire), state(wire)]).toEqual([undefined, 'associating']);
    wire.kernel = () => undefined;
    wire.pass(2_000);
    expect([atBridge(wire), state(wire)]).toEqual(['associated', 'associated']);
  });

  it('is not confirmed by a bridge that was started again before its kernel has said so', () => {
    const wire = associated();
    const before = wire.now;
    wire.replaceBridge();
    wire.bridge.frame(again(wire, 'station'), wire.now);
    wire.pass(0.9);
    expect(answers(wire, before)).toEqual([]);
    wire.pass(10);
    expect(answers(wire, before)).toEqual(['associate']);
    expect([atBridge(wire), state(wire)]).toEqual(['associated', 'associated']);
  });

  it('is over when its port left the bridge while nobody ran', () => {
    const wire = associated();
    wire.admitted.clear();
    const before = wire.now;
    wire.replaceBridge(false);
    wire.bridge.frame(again(wire, 'station'), wire.now);
    wire.pass(10);
    expect(answers(wire, before)).toEqual(['deassociate']);
    expect(atBridge(wire)).toBe(undefined);
  });
});

describe('a peer in our own role', () => {
  it('confirms nothing', () => {
    const wire = associated();
    const [frame] = wire.sent('bridge', ETHERTYPE_LLDP);
    const { lldpdu } = decodeLldpdu(frame!.payload);
    const mirrored = { ...lldpdu, evb: { ...lldpdu.evb!, mode: EVB_MODE_STATION } };
    wire.station.frame({ ...frame!, payload: encodeLldpdu(mirrored).octets }, wire.now);
    const unconfirmed = () => wire.station.vsis.get(KEY)?.unconfirmed;
    expect(unconfirmed()).toBe(true);
    wire.passes = () => false;
    wire.pass(MINUTE / 5);
    wire.station.frame(again(wire, 'bridge'), wire.now);
    expect(unconfirmed()).toBe(true);
  });
});

describe('Keep', () => {
  it('confirms what stands, after its bridge was gone', () => {
    const wire = associated();
    wire.kernel = () => 'no';
    wire.passes = () => false;
    const ticket = wire.ask(guest(1, 'associate', otherFilters));
    const said = wire.sent('bridge', ETHERTYPE_LLDP).at(-1)!;
    const goodbye = encodeLldpdu({ ...decodeLldpdu(said.payload).lldpdu, ttl: 0 }).octets;
    wire.station.frame({ ...said, payload: goodbye }, wire.now);
    expect(wire.station.vsis.get(KEY)!.unconfirmed).toBe(true);
    wire.station.frame(said, wire.now);
    wire.passes = () => true;
    wire.pass(1_000);
    expect(wire.settled.get(ticket)?.error?.message).toContain('the association of before stands');
    expect([state(wire), wire.station.vsis.get(KEY)!.unconfirmed]).toEqual(['associated', false]);
  });
});

describe('what waits for ECP', () => {
  it('is not sent when the peer that it was for has aged', () => {
    const wire = associated();
    wire.passes = () => false;
    wire.ask(guest(2));
    // Behind that one, which is not acknowledged, as the TTL runs out.
    const until = wire.station.port!.peer!.expires;
    wire.pass(until - wire.now - 1).ask(guest(3));
    wire.ask(guest(4));
    const before = wire.now + 1;
    wire.pass(100);
    expect(wire.sent('station', ETHERTYPE_ECP, before)).toEqual([]);
  });
});

describe('what a port remembers', () => {
  it('of answers that it gave is nothing', () => {
    const wire = associated();
    expect(wire.bridge.port!.unanswered.size).toBe(0);
  });

  it('of requests of a VSI that is over is nothing', () => {
    const wire = new Wire().up().pass(10);
    wire.loses = ({ operation }) => operation === 'request';
    wire.ask(guest(1));
    wire.pass(10);
    expect(wire.station.port!.unanswered.size).toBe(1);
    wire.give(KEY);
    wire.pass(MINUTE);
    expect([wire.station.vsis.size, wire.station.port!.unanswered.size]).toEqual([0, 0]);
  });
});

describe('a bridge that was killed and started again', () => {
  it('counts toutKeepAlive with what is negotiated', () => {
    const slow = { r: 3, rte: 14, rwd: 20, rka: 20 };
    const wire = associated(new Wire({ proposal: slow }, { proposal: { ...slow, rka: 14 } }));
    wire.pass(100).replaceBridge().pass(5_000);
    expect([state(wire), atBridge(wire)]).toEqual(['associated', 'associated']);
    expect(wire.station.vsis.get(KEY)!.history.transitions).toHaveLength(2);
  });

  it('and has forgotten everything hears its station at once, though that has nothing new to say', () => {
    const wire = associated(new Wire({ reflectiveRelay: 'off', groupIds: true }));
    wire.pass(5_000).restartBridge().pass(50);
    expect([state(wire), atBridge(wire)]).toEqual(['associated', 'associated']);
  });
});
