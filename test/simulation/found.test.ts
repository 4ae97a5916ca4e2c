/** What the simulation has found, each told in a few steps: seeds mean something else as soon as the plan changes. */

import { describe, expect, it } from 'vitest';
import { decodeEcpdu, encodeEcpdu } from '../../protocols/ecp/index.ts';
import { ETHERTYPE_ECP, type EthernetFrame } from '../../protocols/ethernet/index.ts';
import { vsiKey } from '../../protocols/vdp/index.ts';
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

describe('nothing is confirmed that the kernel does not let in', () => {
  it('after the port left its bridge and came back', () => {
    const wire = associated();
    wire.bridge.setBridged(false, wire.now);
    wire.bridge.setBridged(true, wire.now);
    wire.bridge.frame(again(wire, 'station'), wire.now);
    expect(atBridge(wire)).toBe('associating');
    expect(wire.bridge.evb.tlv.bridgeStatus.rrctr).toBe(false);
  });

  it('while an address that was given up is being taken out', () => {
    const wire = associated();
    wire.bridge.remove(KEY, 'thrown out', wire.now);
    wire.bridge.frame(again(wire, 'station'), wire.now);
    expect(atBridge(wire)).toBe('associating');
  });
});
