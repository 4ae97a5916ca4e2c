import { describe, expect, it } from 'vitest';
import { decodeEcpDraftPdu, encodeEcpDraftPdu } from '../../protocols/ecp/index.ts';
import {
  ETHERTYPE_ECP,
  ETHERTYPE_ECP_DRAFT,
  ETHERTYPE_LLDP,
  type EthernetFrame,
  NEAREST_BRIDGE,
  NEAREST_CUSTOMER_BRIDGE,
} from '../../protocols/ethernet/index.ts';
import { decodeLldpdu, encodeLldpdu, type Lldpdu } from '../../protocols/lldp-codec/index.ts';
import type { MacAddress } from '../../protocols/octets/index.ts';
import {
  decodeVdpDraft,
  VDP_DRAFT_TIMERS,
  type VdpRequest,
  VSIID_UUID,
  type VsiCommand,
  vsiKey,
} from '../../protocols/vdp/index.ts';
import { BRIDGE, guest, guestMac, STATION, Wire } from './wire.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
/** LLDPDU intervals after which the draft is spoken, in a time that another LLDPDU surely falls into. */
const FOUND = 3 * 30 * SECOND;

/** A guest that draft 0.2 has words for. */
function drafted(n: number, request: VdpRequest = 'associate', more: Partial<VsiCommand> = {}): VsiCommand {
  return guest(n, request, { idFormat: VSIID_UUID, ...more });
}
const key = (n: number) => vsiKey(drafted(n));
const state = (wire: Wire, n: number) => wire.station.vsis.get(key(n))?.state;
const atBridge = (wire: Wire, n: number) => wire.bridge.vsis.get(key(n))?.state;
const outcome = (wire: Wire, ticket: number) => {
  const settlement = wire.settled.get(ticket);
  return settlement === undefined ? 'open' : (settlement.error?.message ?? 'done');
};
const draft = (station = {}, bridge = {}, port = {}) =>
  new Wire({ protocol: 'draft', ...station }, { protocol: 'draft', ...bridge }, port);
const protocols = (wire: Wire) => [wire.station.protocol, wire.bridge.protocol];
const requests = (wire: Wire, from: 'station' | 'bridge', since = 0) =>
  wire
    .sent(from, ETHERTYPE_ECP_DRAFT, since)
    .map(({ payload }) => decodeEcpDraftPdu(payload))
    .filter(({ operation }) => operation === 'request')
    .map(({ ulpdu }) => decodeVdpDraft(ulpdu).vsis);

describe('draft 0.2, both sides', () => {
  it('relay is agreed within milliseconds, and in force when the port reflects', () => {
    const wire = draft().up().pass(10);
    expect([wire.hairpin, wire.station.relay, wire.bridge.relay]).toEqual([true, 'active', 'active']);
    expect(protocols(wire)).toEqual(['draft', 'draft']);
    const tlvs = wire.sent('bridge', ETHERTYPE_LLDP).map(({ payload }) => decodeLldpdu(payload).lldpdu);
    expect(tlvs.every(({ evb }) => evb === undefined)).toBe(true);
    expect(tlvs.map(({ evbDraft }) => evbDraft!.cmode)).toContain(0x80);
    expect(tlvs.at(-1)!.evbDraft).toMatchObject({ smode: 0xc0, cmode: 0x40, ccap: 7, svsi: 4096 });
  });

  it.each(['preassociate', 'reserve', 'associate'] as const)('%s, and deassociate', (request) => {
    const wire = draft().up().pass(10);
    const ticket = wire.ask(drafted(1, request));
    wire.pass(10);
    const shown = { preassociate: 'preassociated', reserve: 'reserved', associate: 'associated' }[request];
    expect([outcome(wire, ticket), state(wire, 1), atBridge(wire, 1)]).toEqual(['done', shown, shown]);
    const ended = wire.give(key(1));
    wire.pass(10);
    expect([outcome(wire, ended), state(wire, 1), atBridge(wire, 1)]).toEqual(['done', undefined, undefined]);
  });

  it('frames go to the nearest bridge with the Ethertype of the draft, LLDP where the standard sends it', () => {
    const wire = draft().up().pass(10);
    wire.ask(drafted(1));
    wire.pass(10);
    expect(wire.sent('station', ETHERTYPE_ECP)).toEqual([]);
    const destinations = (etherType: number) =>
      [...wire.sent('station', etherType), ...wire.sent('bridge', etherType)].map(
        (frame) => frame.destination,
      );
    expect(new Set(destinations(ETHERTYPE_ECP_DRAFT))).toEqual(new Set([NEAREST_BRIDGE]));
    expect(new Set(destinations(ETHERTYPE_LLDP))).toEqual(new Set([NEAREST_CUSTOMER_BRIDGE]));
  });

  it('a VSI is kept alive, every 10 s', () => {
    const wire = draft().up().pass(10);
    wire.ask(drafted(1));
    wire.pass(10);
    const since = wire.now;
    wire.pass(10 * MINUTE);
    expect([state(wire, 1), atBridge(wire, 1)]).toEqual(['associated', 'associated']);
    const asked = requests(wire, 'station', since).flat().length;
    expect(asked).toBeGreaterThanOrEqual(58);
    expect(asked).toBeLessThanOrEqual(60);
  });

  it('a station that falls silent is released after 30 s', () => {
    const wire = draft({ peer: 'standard' }).up().pass(10);
    wire.ask(drafted(1));
    wire.pass(10);
    wire.passes = (from, { etherType }) => from === 'bridge' || etherType === ETHERTYPE_LLDP;
    wire.pass(VDP_DRAFT_TIMERS.toutKeepAlive - 20);
    expect(atBridge(wire, 1)).toBe('associated');
    wire.pass(40);
    expect(atBridge(wire, 1)).toBeUndefined();
  });

  it('VSIs of several managers go together in one ECPDU', () => {
    const wire = draft();
    const managers = [7, 8].map((id) => Uint8Array.from({ length: 16 }, (_, i) => (i === 0 ? id : 0)));
    for (let n = 0; n < 40; n++) wire.ask(drafted(n, 'associate', { manager: managers[n % 2]! }));
    wire.up().pass(20);
    const asked = requests(wire, 'station');
    expect(Math.max(...asked.map((vsis) => vsis.length))).toBeGreaterThan(20);
    expect(asked.some((vsis) => new Set(vsis.map(({ manager }) => manager)).size === 2)).toBe(true);
    for (let n = 0; n < 40; n++) expect([n, state(wire, n)]).toEqual([n, 'associated']);
    expect(wire.bridge.vsis.get(key(1))!.command.manager).toEqual(managers[1]);
  });

  it('a VID that was left open is the one of the profile', () => {
    const profiles = [{ name: 'web', manager: new Uint8Array(16), type: 1, typeVersion: 1, vlan: 42 }];
    const wire = draft({}, { profiles }).up().pass(10);
    wire.ask(drafted(1, 'associate', { filters: [{ mac: guestMac(1), vid: 0 }] }));
    wire.pass(10);
    expect(wire.station.vsis.get(key(1))!.command.filters).toEqual([{ mac: guestMac(1), vid: 42 }]);
  });

  it('a refusal has the name that the draft gives it, under the request that was refused', () => {
    const wire = draft({}, { admission: 'profiles' }).up().pass(10);
    const since = wire.now;
    const ticket = wire.ask(drafted(1));
    wire.pass(10);
    expect(outcome(wire, ticket)).toBe(`VSI ${wire.station.vsis.get(key(1))!.id} refused: unused VTID`);
    expect(state(wire, 1)).toBe('failed');
    expect(requests(wire, 'bridge', since)[0]).toMatchObject([{ request: 'associate', response: 3 }]);
  });

  it('there is no Keep: a refused change ends the VSI on both sides', () => {
    const wire = draft().up().pass(10);
    wire.ask(drafted(1));
    wire.pass(10);
    wire.kernel = () => 'the kernel says no';
    const ticket = wire.ask(drafted(1, 'associate', { filters: [{ mac: guestMac(2), vid: 10 }] }));
    wire.pass(20);
    expect(outcome(wire, ticket)).toMatch(/refused: VTID violation$/);
    expect([state(wire, 1), atBridge(wire, 1)]).toEqual(['failed', undefined]);
    expect([...wire.admitted]).toEqual([STATION]);
  });

  it('a VSI that the bridge throws out is asked for again', () => {
    const wire = draft().up().pass(10);
    wire.ask(drafted(1));
    wire.pass(10);
    wire.throwOut(key(1));
    wire.pass(10);
    expect([state(wire, 1), atBridge(wire, 1)]).toEqual(['associating', undefined]);
    wire.pass(2 * SECOND);
    expect([state(wire, 1), atBridge(wire, 1)]).toEqual(['associated', 'associated']);
  });

  it('a bridge that forgot everything has it again at once', () => {
    const wire = draft().up().pass(10);
    for (let n = 0; n < 10; n++) wire.ask(drafted(n));
    wire.pass(2 * SECOND);
    wire.restartBridge().pass(2 * SECOND);
    for (let n = 0; n < 10; n++)
      expect([state(wire, n), atBridge(wire, n)]).toEqual(['associated', 'associated']);
  });

  it('daemons are replaced unnoticed', () => {
    const wire = draft().up().pass(10);
    wire.ask(drafted(1));
    wire.pass(10);
    const [shown, before] = [wire.station.vsis.get(key(1))!.history.transitions.length, atBridge(wire, 1)];
    wire.replaceBridge().pass(2 * SECOND);
    wire.replaceStation().pass(2 * SECOND);
    expect([before, atBridge(wire, 1), state(wire, 1)]).toEqual(['associated', 'associated', 'associated']);
    expect(wire.bridge.vsis.get(key(1))!.history.transitions.length).toBe(1);
    expect(shown).toBeGreaterThan(0);
  });

  it('the number of VSIs in use is told (cvsi)', () => {
    const wire = draft().up().pass(10);
    for (let n = 0; n < 5; n++) wire.ask(drafted(n));
    wire.pass(10 * SECOND);
    const told = (from: 'station' | 'bridge') =>
      decodeLldpdu(wire.sent(from, ETHERTYPE_LLDP).at(-1)!.payload).lldpdu.evbDraft!.cvsi;
    expect([told('station'), told('bridge')]).toEqual([5, 5]);
  });

  it('an ack is as long as the request, with zeros behind its header (ecp.md 2.3)', () => {
    const wire = draft().up().pass(10);
    wire.ask(drafted(1));
    wire.pass(10);
    const [asked] = wire.sent('station', ETHERTYPE_ECP_DRAFT);
    const ack = wire
      .sent('bridge', ETHERTYPE_ECP_DRAFT)
      .find(({ payload }) => decodeEcpDraftPdu(payload).operation === 'ack')!;
    expect(ack.payload).toHaveLength(asked!.payload.length);
    expect(ack.payload.subarray(9).every((octet) => octet === 0)).toBe(true);
  });

  it('an ECPDU without TLVs, as lldpad sends one, is acknowledged', () => {
    const wire = draft().up().pass(10);
    const payload = encodeEcpDraftPdu({
      operation: 'request',
      subtype: 0,
      sequence: 1,
      ulpdu: Uint8Array.of(0, 0),
    });
    const frame = { destination: NEAREST_BRIDGE, source: BRIDGE, etherType: ETHERTYPE_ECP_DRAFT, payload };
    const [effect] = wire.station.frame(frame, wire.now);
    expect(effect).toMatchObject({ kind: 'send' });
    expect(wire.station.port!.counters).toMatchObject({ ecpMalformed: 0, vdpMalformed: 0 });
  });

  it('a VSI TLV that cannot be read is counted and dropped, the others stand', () => {
    const wire = draft().up().pass(10);
    wire.ask(drafted(1));
    const [first] = wire.sent('station', ETHERTYPE_ECP_DRAFT);
    const good = decodeEcpDraftPdu(first!.payload);
    const bad = good.ulpdu.slice();
    bad[6] = 9;
    const ulpdu = Uint8Array.from([...bad.subarray(0, -2), ...good.ulpdu]);
    wire.bridge.frame({ ...first!, payload: encodeEcpDraftPdu({ ...good, ulpdu }) }, wire.now);
    expect(wire.bridge.port!.counters.vdpMalformed).toBe(1);
    expect(wire.bridge.vsis.size).toBe(1);
  });
});

describe('what the draft has no words for', () => {
  const cases: [string, Partial<VsiCommand>, RegExp][] = [
    ['another VSIID than a UUID', { idFormat: 4 }, /by its UUID only/],
    ['a filter without MAC', { filters: [{ vid: 10 }] }, /filters of MAC and VID/],
    [
      'a filter with a group',
      { filters: [{ mac: guestMac(1), vid: 10, group: 3 }] },
      /filters of MAC and VID/,
    ],
    ['a PCP', { filters: [{ mac: guestMac(1), vid: 10, pcp: 3 }] }, /no PCP/],
    ['a wide manager id', { manager: new Uint8Array(16).fill(1) }, /manager ids from 0 to 255/],
  ];
  it.each(cases)('%s is refused at once on a draft link', (_, more, text) => {
    const wire = draft({ groupIds: true }).up().pass(10);
    const error = wire.station.objection(drafted(1, 'associate', more), 'test');
    expect([error?.name, error?.message]).toEqual(['InvalidArgument', expect.stringMatching(text)]);
  });

  it.each(cases)('%s is refused when auto has found the draft', (_, more, text) => {
    const wire = draft({ protocol: 'auto', groupIds: true });
    const ticket = wire.ask(drafted(1, 'associate', more));
    wire.up().pass(FOUND + 10);
    expect(wire.settled.get(ticket)!.error).toMatchObject({
      name: 'NotReady',
      message: expect.stringMatching(text),
    });
    expect(wire.station.port!.counters.ecpMalformed).toBe(0);
  });

  // Another VSIID is another VSI.
  it.each(cases.slice(1))(
    '%s, wanted of a VSI in force while the bridge is away, changes nothing',
    (_, more, text) => {
      const wire = draft({ protocol: 'auto', groupIds: true })
        .up()
        .pass(FOUND + 10);
      wire.ask(drafted(1));
      wire.pass(10);
      wire.station.frame(goodbye(wire), wire.now);
      expect([wire.station.protocol, state(wire, 1)]).toEqual(['none', 'associated']);
      const ticket = wire.ask(drafted(1, 'associate', more));
      wire.restartBridge().pass(10 * SECOND);
      expect(outcome(wire, ticket)).toMatch(text);
      wire.pass(5 * MINUTE);
      expect([state(wire, 1), atBridge(wire, 1)]).toEqual(['associated', 'associated']);
      expect(wire.station.vsis.get(key(1))!.wanted).toMatchObject({ filters: drafted(1).filters });
    },
  );

  it.each(cases)('%s, in force, is wanted on and comes back with the standard', (_, more) => {
    const wire = new Wire({ protocol: 'auto', groupIds: true }, { groupIds: true, enforce: false })
      .up()
      .pass(10);
    const command = drafted(1, 'associate', more);
    const ticket = wire.ask(command);
    wire.pass(20);
    const shown = () => wire.station.vsis.get(vsiKey(command))?.state;
    expect([outcome(wire, ticket), shown()]).toEqual(['done', 'associated']);
    wire.setBridgePolicy({ protocol: 'draft' });
    wire.pass(FOUND + MINUTE);
    expect([protocols(wire), shown()]).toEqual([['draft', 'draft'], 'associating']);
    wire.setBridgePolicy({ protocol: 'ratified' });
    wire.pass(MINUTE);
    expect([protocols(wire), shown()]).toEqual([['ratified', 'ratified'], 'associated']);
  });

  it('what a bridge that is started again in the draft has in force is let go without a word', () => {
    const wire = new Wire({}, { enforce: false }).up();
    wire.tampers = (from, frame) => (from === 'station' ? withDraft(frame) : frame);
    wire.pass(10);
    const command = guest(1, 'associate', { filters: [{ vid: 10 }] });
    wire.ask(command);
    wire.pass(10);
    expect([...wire.bridge.vsis.values()].map((vsi) => vsi.state)).toEqual(['associated']);
    wire.replaceBridge(true, { protocol: 'draft' }).pass(10 * MINUTE);
    expect([wire.bridge.protocol, wire.bridge.vsis.size]).toEqual(['draft', 0]);
  });

  it('a manager id in the last octet, where that is configured', () => {
    const manager = Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? 9 : 0));
    const wire = draft({}, {}, { managerOctet: 'last' }).up().pass(10);
    const ticket = wire.ask(drafted(1, 'associate', { manager }));
    wire.pass(10);
    expect(outcome(wire, ticket)).toBe('done');
    expect(requests(wire, 'station')[0]![0]!.manager).toBe(9);
    expect(wire.bridge.vsis.get(key(1))!.command.manager).toEqual(manager);
  });
});

describe('protocol: auto (interop-notes.md 1)', () => {
  it.each([
    ['station', { protocol: 'auto' }, {}],
    ['bridge', {}, { protocol: 'auto' }],
  ] as const)(
    'a %s finds the draft when it has heard nothing else for three intervals',
    (_, station, bridge) => {
      const wire = draft(station, bridge).up();
      const ticket = wire.ask(drafted(1));
      wire.pass(FOUND - 10);
      expect([outcome(wire, ticket), protocols(wire).includes('none')]).toEqual(['open', true]);
      wire.pass(20);
      expect(protocols(wire)).toEqual(['draft', 'draft']);
      wire.pass(2 * SECOND);
      expect(outcome(wire, ticket)).toBe('done');
      expect(wire.notices).toEqual([expect.stringMatching(/draft 0\.2 for 90 s: it is spoken/)]);
    },
  );

  it('a link whose EVB is turned off meanwhile waits for nothing', () => {
    const wire = draft({ protocol: 'auto' }).up().pass(SECOND);
    wire.setStationPolicy({ evb: false });
    const after = wire.now + 2 * FOUND;
    wire.station.advance(after);
    expect(wire.station.nextDeadline()).toBeGreaterThan(after);
  });

  it('auto on both sides is ratified', () => {
    const wire = draft({ protocol: 'auto' }, { protocol: 'auto' })
      .up()
      .pass(10 * MINUTE);
    expect(protocols(wire)).toEqual(['ratified', 'ratified']);
    expect(wire.notices).toEqual([]);
  });

  it('the standard counts where a peer sends both TLVs', () => {
    const wire = draft({ protocol: 'auto' }, { protocol: 'ratified' }).up();
    wire.tampers = (from, frame) => (from === 'bridge' ? withDraft(frame) : frame);
    wire.pass(10 * MINUTE);
    expect(wire.station.protocol).toBe('ratified');
  });

  it('a bridge that has learnt the standard is followed at once, and VSIs go on', () => {
    const wire = draft({ protocol: 'auto' }).up();
    wire.ask(drafted(1));
    wire.pass(FOUND + 5 * SECOND);
    expect([wire.station.protocol, state(wire, 1)]).toEqual(['draft', 'associated']);
    wire.setBridgePolicy({ protocol: 'ratified' });
    wire.pass(5 * SECOND);
    expect([...protocols(wire), state(wire, 1), atBridge(wire, 1)]).toEqual([
      'ratified',
      'ratified',
      'associated',
      'associated',
    ]);
    expect(wire.notices.at(-1)).toMatch(/no longer spoken/);
  });

  it('the draft is spoken at once when the link comes back, and after a restart', () => {
    const wire = draft({ protocol: 'auto' })
      .up()
      .pass(FOUND + 10);
    wire.down().pass(SECOND);
    wire.up().pass(10);
    expect(wire.station.protocol).toBe('draft');
    wire.ask(drafted(1));
    wire.pass(10);
    wire.replaceStation().pass(10);
    expect([wire.station.protocol, state(wire, 1)]).toEqual(['draft', 'associated']);
  });

  it('a stranger with a ratified TLV does not unseat a draft peer', () => {
    const wire = draft({ protocol: 'auto' })
      .up()
      .pass(FOUND + 10);
    const stranger = '52:54:00:66:66:66' as MacAddress;
    const payload = lldpdu({
      chassisId: { subtype: 4, id: Uint8Array.of(0x52, 0x54, 0, 0x66, 0x66, 0x66) },
      evb: { ...wire.bridge.ratified.tlv },
    });
    wire.station.frame(
      { destination: NEAREST_CUSTOMER_BRIDGE, source: stranger, etherType: ETHERTYPE_LLDP, payload },
      wire.now,
    );
    wire.pass(MINUTE);
    expect([wire.station.protocol, wire.station.port!.rivals.length]).toEqual(['draft', 1]);
  });

  it('a neighbour without EVB does not make anybody speak the draft', () => {
    const wire = draft({ protocol: 'auto' }, { evb: false })
      .up()
      .pass(10 * MINUTE);
    expect([wire.station.protocol, wire.notices]).toEqual(['none', []]);
    expect(wire.sent('station', ETHERTYPE_LLDP).every((frame) => evbOf(frame).evbDraft === undefined)).toBe(
      true,
    );
  });

  it('a neighbour that speaks the other dialect is the reason why there is no peer, and as long as it is there', () => {
    const standard =
      'the neighbour speaks the EVB of the standard, this link that of draft 0.2 (protocol: draft)';
    const wire = draft({}, { protocol: 'auto' }).up().pass(1);
    expect(wire.shown).toEqual({
      station: standard,
      bridge: 'the neighbour speaks the EVB of draft 0.2 only, it is spoken after 90 s of that',
    });
    wire.setBridgePolicy({ protocol: 'ratified' });
    wire.pass(1);
    expect(wire.shown).toEqual({
      station: standard,
      bridge:
        'the neighbour speaks the EVB of draft 0.2 only, this link that of the standard (protocol: ratified)',
    });
    wire.setBridgePolicy({ evb: false });
    wire.pass(SECOND);
    expect(wire.shown).toEqual({ station: 'no EVB peer heard yet', bridge: 'EVB is off on this port' });
    wire.setBridgePolicy({ evb: true });
    wire.pass(SECOND);
    expect(wire.shown.station).toBe(standard);
    wire.tampers = (from, frame) => (from === 'bridge' ? { ...frame, etherType: 0x0800 } : frame);
    wire.pass(10 * MINUTE);
    expect(wire.shown.station).toBe('no EVB peer heard yet');
  });

  it('the configuration decides, when it changes', () => {
    const wire = draft({}, { protocol: 'auto' })
      .up()
      .pass(FOUND + 10);
    expect(protocols(wire)).toEqual(['draft', 'draft']);
    wire.setStationPolicy({ protocol: 'ratified' });
    wire.pass(10);
    expect(protocols(wire)).toEqual(['ratified', 'ratified']);
    wire.setStationPolicy({ protocol: 'draft' });
    wire.setBridgePolicy({ protocol: 'draft' });
    // LLDP's credit is used up by so many changes.
    wire.pass(5 * SECOND);
    expect(protocols(wire)).toEqual(['draft', 'draft']);
  });
});

describe('a draft peer', () => {
  it('without ECP and VDP reflects, and VSIs wait for it to speak them', () => {
    const wire = draft();
    const mute = (_: string, frame: EthernetFrame) =>
      tampered(frame, (evbDraft) => ({ ...evbDraft, scap: 4, ccap: 4 }));
    wire.tampers = mute;
    const ticket = wire.ask(drafted(1));
    wire.up().pass(5 * SECOND);
    expect([wire.station.relay, wire.station.vdpUp, outcome(wire, ticket)]).toEqual([
      'active',
      false,
      'open',
    ]);
    expect(wire.station.vsis.get(key(1))!.history.last!.reason).toBe(
      'waiting: the bridge offers no ECP and VDP',
    );
    wire.tampers = (_, frame) => frame;
    wire.pass(31 * SECOND);
    expect([wire.station.vdpUp, outcome(wire, ticket)]).toEqual([true, 'done']);
  });

  it('that offers ECP and VDP no longer, by a garbled TLV perhaps, confirms nothing until it does', () => {
    const wire = draft().up().pass(10);
    wire.ask(drafted(1));
    wire.pass(10);
    wire.tampers = (_, frame) => tampered(frame, (evbDraft) => ({ ...evbDraft, scap: 5, ccap: 5 }));
    wire.setBridgePolicy({ vsisPerLink: 7 });
    wire.pass(10);
    const { state: now, unconfirmed } = {
      state: state(wire, 1),
      unconfirmed: wire.station.vsis.get(key(1))!.unconfirmed,
    };
    expect([wire.station.vdpUp, now, unconfirmed]).toEqual([false, 'associated', true]);
    wire.tampers = (_, frame) => frame;
    wire.setBridgePolicy({ vsisPerLink: 8 });
    wire.pass(5 * SECOND);
    expect([state(wire, 1), wire.station.vsis.get(key(1))!.unconfirmed]).toEqual(['associated', false]);
  });

  it('that withdraws its TLV is gone, and comes back', () => {
    const wire = draft().up().pass(10);
    wire.ask(drafted(1));
    wire.pass(10);
    wire.setBridgePolicy({ evb: false });
    wire.pass(10);
    expect([wire.station.relay, wire.hairpin, atBridge(wire, 1)]).toEqual(['no-peer', false, undefined]);
    wire.setBridgePolicy({ evb: true });
    wire.pass(5 * SECOND);
    expect([wire.station.relay, state(wire, 1), atBridge(wire, 1)]).toEqual([
      'active',
      'associated',
      'associated',
    ]);
  });

  it('LLDP to the nearest bridge, where that is configured', () => {
    const wire = draft({}, {}, { lldpScope: 'nearest-bridge' }).up().pass(10);
    expect(wire.station.relay).toBe('active');
    expect(wire.sent('station', ETHERTYPE_LLDP).map((frame) => frame.destination)).toContain(NEAREST_BRIDGE);
    expect(wire.sent('station', ETHERTYPE_LLDP).map((frame) => frame.destination)).not.toContain(
      NEAREST_CUSTOMER_BRIDGE,
    );
  });
});

function lldpdu(more: Partial<Lldpdu>): Uint8Array {
  const id = Uint8Array.of(2, 0, 0, 0, 0, 9);
  return encodeLldpdu({
    chassisId: { subtype: 4, id },
    portId: { subtype: 3, id },
    ttl: 120,
    others: [],
    ...more,
  }).octets;
}

function evbOf({ payload }: EthernetFrame): Lldpdu {
  return decodeLldpdu(payload).lldpdu;
}

function tampered(
  frame: EthernetFrame,
  change: (tlv: NonNullable<Lldpdu['evbDraft']>) => NonNullable<Lldpdu['evbDraft']>,
): EthernetFrame {
  if (frame.etherType !== ETHERTYPE_LLDP) return frame;
  const { evbDraft, ...rest } = evbOf(frame);
  if (evbDraft === undefined) return frame;
  return { ...frame, payload: encodeLldpdu({ ...rest, evbDraft: change(evbDraft) }).octets };
}

/** The bridge's shutdown LLDPDU. */
function goodbye(wire: Wire): EthernetFrame {
  const [said] = wire.bridge
    .shutdown(wire.now)
    .flatMap((effect) => (effect.kind === 'send' ? effect.frame : []));
  return said!;
}

function withDraft(frame: EthernetFrame): EthernetFrame {
  if (frame.etherType !== ETHERTYPE_LLDP) return frame;
  const evbDraft = { smode: 0xc0, scap: 7, cmode: 0x40, ccap: 7, svsi: 1, cvsi: 0, rte: 15 };
  return { ...frame, payload: encodeLldpdu({ ...evbOf(frame), evbDraft }).octets };
}
