/** Who else speaks EVB on the link: a guest behind the port, a switch that is put in the place of another. */

import { describe, expect, it } from 'vitest';
import {
  ETHERTYPE_LLDP,
  type EthernetFrame,
  NEAREST_CUSTOMER_BRIDGE,
} from '../../protocols/ethernet/index.ts';
import { decodeLldpdu, encodeLldpdu, type Lldpdu } from '../../protocols/lldp-codec/index.ts';
import { type MacAddress, macToOctets } from '../../protocols/octets/index.ts';
import { VSIID_UUID, vsiKey } from '../../protocols/vdp/index.ts';
import { bridgeTlv, stationTlv } from '../evb/peers.ts';
import { BRIDGE, guest, STATION, Wire } from './wire.ts';

type Side = 'station' | 'bridge';
const SIDES = ['station', 'bridge'] as const;
const DIALECTS = ['ratified', 'draft'] as const;
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
/** LLDPDU intervals of half a minute. */
const TRIAL = 3 * 30 * SECOND;
const STAY = MINUTE;
const EVIL = '52:54:00:66:66:66' as MacAddress;

const other = (side: Side) => (side === 'station' ? 'bridge' : 'station');
const macOf = (side: Side) => (side === 'station' ? STATION : BRIDGE);
const DEAF_DRAFT = { smode: 0xc0, scap: 7, cmode: 0x80, ccap: 0, svsi: 0, cvsi: 0, rte: 15 };
/** What somebody says to `to` who has not heard it. */
const deaf = (to: Side, dialect: 'ratified' | 'draft'): Partial<Lldpdu> => {
  if (dialect === 'draft') return { evbDraft: DEAF_DRAFT };
  const blank = { sgid: false, rrreq: false, rrstat: 0 };
  return { evb: to === 'station' ? bridgeTlv({ rrctr: false, stationStatus: blank }) : stationTlv() };
};
/** What `wire`'s other side would say: it cannot be told from one that hears. */
const forged = (wire: Wire, to: Side): Partial<Lldpdu> => {
  const { evb, evbDraft } = decodeLldpdu(wire.sent(other(to), ETHERTYPE_LLDP).at(-1)!.payload).lldpdu;
  return evb === undefined ? { evbDraft: evbDraft! } : { evb };
};

/** An LLDPDU of `source`, which names itself `identity`. */
function says(more: Partial<Lldpdu>, source = EVIL, identity = source, ttl = 65535): EthernetFrame {
  const id = macToOctets(identity);
  const ids = { chassisId: { subtype: 4, id }, portId: { subtype: 3, id } };
  const { octets } = encodeLldpdu({ ...ids, ttl, others: [], ...more });
  return { destination: NEAREST_CUSTOMER_BRIDGE, source, etherType: ETHERTYPE_LLDP, payload: octets };
}

const wired = (dialect: 'ratified' | 'draft' | 'auto' = 'ratified') =>
  new Wire({ protocol: dialect, peer: 'auto' }, { protocol: dialect });
const peerOf = (wire: Wire, side: Side) => wire[side].port!.peerMac;
const command = guest(1, 'associate', { idFormat: VSIID_UUID });
const associated = (wire: Wire) =>
  [wire.station.vsis.get(vsiKey(command))?.state, wire.bridge.vsis.get(vsiKey(command))?.state].join();
const BOTH = 'associated,associated';
/** Nothing of `side` arrives any more. */
const silence = (wire: Wire, side: Side) => {
  wire.passes = (from) => from !== side;
};
/** One whose TTL has run out at `side`. */
function alone(side: Side, dialect: 'ratified' | 'draft' = 'ratified'): Wire {
  const wire = wired(dialect).up().pass(10);
  wire.ask(command);
  wire.pass(10);
  silence(wire, other(side));
  wire.pass(3 * MINUTE);
  expect(peerOf(wire, side)).toBeUndefined();
  return wire;
}

describe.each(SIDES)(
  'somebody who takes the place of a silent peer of the %s',
  { timeout: 60_000 },
  (side) => {
    describe.each(DIALECTS)('%s', (dialect) => {
      it.each([
        ['with a name of his own', EVIL],
        ["with the peer's name", macOf(other(side))],
      ])('%s gives it back when the peer speaks', (_, identity) => {
        const wire = alone(side, dialect);
        wire.stranger(side, says(deaf(side, dialect), EVIL, identity));
        expect(peerOf(wire, side)).toBe(EVIL);
        wire.passes = () => true;
        wire.pass(31 * SECOND);
        expect(peerOf(wire, side)).toBe(macOf(other(side)));
        expect(wire.notices.at(-1)).toContain('the EVB peer of before is back');
        wire.pass(MINUTE);
        expect(associated(wire)).toBe(BOTH);
      });

      it('gives it back though he forges what shows that he hears us', () => {
        const wire = alone(side, dialect);
        wire.stranger(side, says(forged(wire, side)));
        wire.passes = () => true;
        wire.pass(31 * SECOND);
        expect(peerOf(wire, side)).toBe(macOf(other(side)));
      });
    });

    it('gives it back after the daemon was replaced, and after the link was down', () => {
      for (const begin of [
        (wire: Wire) => (side === 'station' ? wire.replaceStation() : wire.replaceBridge()),
        (wire: Wire) => wire.down().up(),
      ]) {
        const wire = alone(side);
        begin(wire);
        wire.stranger(side, says(forged(wire, side)));
        expect(peerOf(wire, side)).toBe(EVIL);
        wire.passes = () => true;
        wire.pass(31 * SECOND);
        expect([peerOf(wire, side), associated(wire)]).toEqual([macOf(other(side)), BOTH]);
      }
    });

    it('who was the peer before this one takes it no more than once in the time of a trial', () => {
      const wire = alone(side);
      wire.give(vsiKey(command));
      // Whose place it is comes and goes.
      wire.passes = () => true;
      wire.tampers = (from, frame) => (from === side ? frame : named(frame, EVIL));
      wire.pass(2 * MINUTE);
      const back = says(forged(wire, side), macOf(other(side)), macOf(other(side)), 1);
      const since = wire.now;
      const taken: number[] = [];
      for (let second = 0; second < 300; second++) {
        wire.stranger(side, back);
        const before = peerOf(wire, side);
        wire.pass(SECOND);
        if (peerOf(wire, side) !== before) taken.push(wire.now - since);
      }
      expect(taken).toHaveLength(4);
    });

    it('with seven more of his kind gives it back at once', () => {
      const wire = alone(side);
      for (let n = 0; n < 8; n++)
        wire.stranger(side, says(forged(wire, side), `52:54:00:66:66:0${n}` as MacAddress));
      expect(wire[side].port!.lldp.neighbours.size).toBe(8);
      wire.passes = () => true;
      wire.pass(31 * SECOND);
      expect(peerOf(wire, side)).toBe(macOf(other(side)));
    });

    it('has it after a day of silence, once he has shown that he hears us', () => {
      const wire = alone(side).pass(24 * HOUR);
      // Else ECP would tell.
      wire.give(vsiKey(command));
      wire.stranger(side, says(forged(wire, side)));
      wire.passes = () => true;
      wire.pass(5 * MINUTE);
      expect(peerOf(wire, side)).toBe(EVIL);
      expect(wire[side].port!.rivals).toHaveLength(1);
    });
  },
);

describe.each(SIDES)('somebody who is there before any peer of the %s', (side) => {
  it.each(DIALECTS)('%s: gives way to one that hears us, after his time of trial', (dialect) => {
    const wire = wired(dialect).up();
    wire.stranger(side, says(deaf(side, dialect)));
    expect(peerOf(wire, side)).toBe(EVIL);
    wire.pass(TRIAL - 1);
    expect(peerOf(wire, side)).toBe(EVIL);
    wire.pass(10 * SECOND);
    expect([peerOf(wire, side), wire.station.relay]).toEqual([macOf(other(side)), 'active']);
    expect(wire.notices.at(-1)).toContain('another neighbour hears us');
  });

  it('stays the peer if nobody is there who hears us', () => {
    const wire = wired().up();
    silence(wire, other(side));
    wire.stranger(side, says(deaf(side, 'ratified')));
    wire.stranger(side, says(deaf(side, 'ratified'), '52:54:00:66:66:67' as MacAddress));
    wire.pass(HOUR);
    expect([peerOf(wire, side), wire.notices]).toEqual([EVIL, []]);
  });

  it('with seven more of his kind makes room when he has been there for a while', () => {
    const wire = wired().up();
    for (let n = 0; n < 8; n++)
      wire.stranger(side, says(deaf(side, 'ratified'), `52:54:00:66:66:0${n}` as MacAddress));
    wire.pass(TRIAL + STAY);
    expect(peerOf(wire, side)).toBe(macOf(other(side)));
    expect(wire[side].port!.rivals).toHaveLength(7);
  });

  it('and forges that he hears us stays the peer, and the other one is shown', () => {
    const known = wired().up().pass(10);
    const wire = wired().up();
    for (let n = 0; n < 2; n++) {
      wire.stranger(side, says(forged(known, side)));
      wire.pass(SECOND);
    }
    wire.pass(HOUR);
    expect(peerOf(wire, side)).toBe(EVIL);
    expect(wire[side].port!.rivals.map(({ source }) => source)).toEqual([macOf(other(side))]);
  });
});

describe('ECP', () => {
  /** A station whose peer is a stranger that forges everything but does not acknowledge. */
  function misled(): Wire {
    const known = wired().up().pass(10);
    const wire = wired().up();
    wire.stranger('station', says(forged(known, 'station')));
    return wire.pass(MINUTE);
  }

  it('that the peer does not acknowledge and another neighbour does makes that one the peer, for good', () => {
    const wire = misled();
    const ticket = wire.ask(command);
    // Two are not enough.
    wire.pass(1.9 * SECOND);
    expect(peerOf(wire, 'station')).toBe(EVIL);
    wire.pass(SECOND);
    expect(peerOf(wire, 'station')).toBe(BRIDGE);
    expect(wire.notices.at(-1)).toContain('another neighbour acknowledges ECP');
    expect(wire.settled.get(ticket)?.error).toBeUndefined();
    expect([wire.settled.has(ticket), associated(wire)]).toEqual([true, BOTH]);
    const known = wired().up().pass(10);
    wire.stranger('station', says(forged(known, 'station')));
    wire.pass(HOUR);
    expect([peerOf(wire, 'station'), associated(wire)]).toEqual([BRIDGE, BOTH]);
  });

  it('that the peer has once acknowledged and does not for a while leaves it where it is', () => {
    const wire = wired().up().pass(10);
    wire.ask(command);
    wire.pass(10);
    // Another bridge hears it all and answers, the real one is deaf for a while.
    wire.stranger('station', says(forged(wire, 'station')));
    wire.tampers = (from, frame) => (from === 'bridge' && isEcp(frame) ? { ...frame, source: EVIL } : frame);
    wire.give(vsiKey(command));
    wire.pass(5 * SECOND);
    expect([peerOf(wire, 'station'), wire.station.port!.counters.ecpForeign > 0]).toEqual([BRIDGE, true]);
  });

  it('that a peer which is slow at first does not acknowledge leaves it where it is', () => {
    const wire = wired().up().pass(10);
    wire.stranger('station', says(forged(wire, 'station')));
    const start = wire.now;
    // The stranger acknowledges what the bridge does not hear.
    wire.tampers = (from, frame) =>
      from === 'bridge' && isEcp(frame) && wire.now < start + 1.5 * SECOND
        ? { ...frame, source: EVIL }
        : frame;
    wire.ask(command);
    wire.pass(10 * SECOND);
    expect([peerOf(wire, 'station'), wire.station.port!.ecpCounters.txErrors]).toEqual([BRIDGE, 2]);
    expect(associated(wire)).toBe(BOTH);
  });

  it('that nobody acknowledges makes nobody the peer', () => {
    const wire = misled();
    wire.passes = (_, frame) => !isEcp(frame);
    wire.ask(command);
    wire.pass(5 * MINUTE);
    expect(peerOf(wire, 'station')).toBe(EVIL);
  });

  it('acknowledged by who speaks no EVB makes nobody the peer', () => {
    const wire = misled();
    wire.tampers = (from, frame) =>
      from === 'bridge' && isEcp(frame) ? { ...frame, source: '52:54:00:66:66:67' as MacAddress } : frame;
    wire.ask(command);
    wire.pass(10 * SECOND);
    expect(peerOf(wire, 'station')).toBe(EVIL);
  });

  it('acknowledged with another number makes nobody the peer', () => {
    const wire = misled();
    wire.tampers = (from, frame) => {
      if (from !== 'bridge' || !isEcp(frame)) return frame;
      const payload = frame.payload.slice();
      payload[3] = payload[3]! ^ 1;
      return { ...frame, payload };
    };
    wire.ask(command);
    wire.pass(5 * SECOND);
    expect(peerOf(wire, 'station')).toBe(EVIL);
  });
});

describe('another switch in the place of the one before', { timeout: 60_000 }, () => {
  const NEW = '02:00:00:00:00:03' as MacAddress;
  /** The bridge has another address and another name from now on. */
  function exchanged(wire: Wire): Wire {
    wire.tampers = (from, frame) => (from === 'station' ? frame : named(frame, NEW));
    return wire;
  }
  const running = () => {
    const wire = wired().up().pass(10);
    wire.ask(command);
    return wire.pass(10);
  };

  it('without the link falling is the peer when the TTL of the other has run out', () => {
    const wire = exchanged(running())
      .restartBridge()
      .pass(121 * SECOND);
    expect([peerOf(wire, 'station'), wire.station.relay]).toEqual([NEW, 'active']);
    wire.pass(MINUTE);
    expect(associated(wire)).toBe(BOTH);
  });

  it('is the peer at once when the link has been down', () => {
    const wire = running();
    exchanged(wire.down().pass(10)).up().pass(SECOND);
    expect([peerOf(wire, 'station'), associated(wire)]).toEqual([NEW, BOTH]);
  });

  it('is the one that is remembered a day after the start, whatever the time of day was before', () => {
    const wire = wired().up().pass(10);
    wire.proven.station = { ...wire.proven.station!, until: Number.MAX_SAFE_INTEGER };
    exchanged(wire).down().replaceStation();
    wire.restartBridge().pass(24 * HOUR + MINUTE);
    expect(wire.proven.station?.source).toBe(NEW);
  });

  it('is the one that is remembered after a day, and the old one is a stranger then', () => {
    const wire = exchanged(wired().up().pass(10).down().pass(10));
    wire.up().pass(24 * HOUR + MINUTE);
    expect(wire.proven.station?.source).toBe(NEW);
    wire.stranger('station', says(forged(wire, 'station'), BRIDGE));
    wire.pass(MINUTE);
    expect(peerOf(wire, 'station')).toBe(NEW);
  });

  it('may be told apart from the old one by a goodbye of ours', () => {
    const wire = running();
    expect(wire.proven.station?.source).toBe(BRIDGE);
    expect(wire.station.shutdown(wire.now)).toContainEqual({ kind: 'proven', proven: undefined });
  });
});

describe('protocol: auto', () => {
  it.each(SIDES)('a %s that is led into the draft while its peer is silent comes back with it', (side) => {
    const wire = new Wire(
      { protocol: side === 'station' ? 'auto' : 'ratified' },
      { protocol: side === 'bridge' ? 'auto' : 'ratified' },
    );
    wire.up().pass(10).ask(command);
    wire.pass(10);
    silence(wire, other(side));
    wire.pass(3 * MINUTE);
    wire.stranger(side, says({ evbDraft: { ...DEAF_DRAFT, ccap: 7 } }));
    wire.pass(2 * TRIAL);
    expect([wire[side].protocol, peerOf(wire, side)]).toEqual(['draft', EVIL]);
    wire.passes = () => true;
    wire.pass(31 * SECOND);
    expect([wire[side].protocol, peerOf(wire, side)]).toEqual(['ratified', macOf(other(side))]);
    wire.pass(MINUTE);
    expect(associated(wire)).toBe(BOTH);
  });

  it.each(SIDES)(
    'a %s whose peer speaks the draft is not kept from it by a standard that does not hear us',
    (side) => {
      const wire = new Wire(
        { protocol: side === 'station' ? 'auto' : 'draft' },
        { protocol: side === 'bridge' ? 'auto' : 'draft' },
      );
      wire.up().stranger(side, says(deaf(side, 'ratified')));
      wire.pass(TRIAL + 3 * 30 * SECOND + 30 * SECOND);
      expect([wire[side].protocol, peerOf(wire, side)]).toEqual(['draft', macOf(other(side))]);
      wire.pass(HOUR);
      expect(wire.notices.filter((text) => text.includes('draft'))).toHaveLength(1);
    },
  );

  it('a peer whose acknowledgements are lost is not left for a stranger who speaks the draft', () => {
    const wire = new Wire({ protocol: 'auto' }).up().pass(10);
    wire.passes = (from, frame) => from === 'station' || !isEcp(frame);
    wire.ask(command);
    wire.stranger('station', says({ evbDraft: { ...DEAF_DRAFT, ccap: 7 } }));
    wire.pass(HOUR);
    expect([wire.station.protocol, peerOf(wire, 'station')]).toEqual(['ratified', BRIDGE]);
    expect(wire.notices).toEqual([]);
  });

  it('a link that was led into the draft by one who acknowledges nothing comes back to who speaks the standard', () => {
    const wire = new Wire({ protocol: 'auto' });
    silence(wire, 'bridge');
    wire.up().ask(command);
    wire.stranger('station', says({ evbDraft: { ...DEAF_DRAFT, ccap: 7 } }));
    wire.pass(TRIAL + SECOND);
    expect([wire.station.protocol, peerOf(wire, 'station')]).toEqual(['draft', EVIL]);
    wire.passes = () => true;
    wire.pass(MINUTE);
    expect([wire.station.protocol, peerOf(wire, 'station'), associated(wire)]).toEqual([
      'ratified',
      BRIDGE,
      BOTH,
    ]);
  });

  it('what a peer said in one dialect is not kept in the other', () => {
    const wire = new Wire({ protocol: 'auto' }).up().pass(10);
    expect(wire.kept.station).toBe(BRIDGE);
    wire.setStationPolicy({ protocol: 'draft' });
    expect([wire.kept.station, peerOf(wire, 'station')]).toEqual([undefined, undefined]);
  });

  it('a known peer that speaks the draft is followed into it past a stranger', () => {
    const wire = new Wire({ protocol: 'auto' }, { protocol: 'draft' }).up().pass(TRIAL + 10);
    wire.ask(command);
    wire.pass(10);
    silence(wire, 'bridge');
    wire.pass(3 * MINUTE);
    wire.stranger('station', says(forged(wired().up().pass(10), 'station')));
    wire.pass(SECOND);
    expect(wire.station.protocol).toBe('ratified');
    wire.passes = () => true;
    wire.pass(30 * SECOND + TRIAL + SECOND);
    expect([wire.station.protocol, peerOf(wire, 'station'), associated(wire)]).toEqual([
      'draft',
      BRIDGE,
      BOTH,
    ]);
  });
});

describe('what is shown', () => {
  it.each(SIDES)('changes when another neighbour of the %s comes and when it goes', (side) => {
    const wire = wired().up().pass(10);
    const before = wire.told[side];
    wire.stranger(side, says(forged(wire, side), EVIL, EVIL, 20));
    expect([wire.told[side] - before, wire[side].port!.rivals.length]).toEqual([1, 1]);
    wire.stranger(side, says(forged(wire, side), EVIL, EVIL, 20));
    expect(wire.told[side] - before).toBe(1);
    wire.pass(21 * SECOND);
    expect([wire.told[side] - before, wire[side].port!.rivals.length]).toEqual([2, 0]);
  });
});

/** The same frame as another would send it. */
function named(frame: EthernetFrame, source: MacAddress): EthernetFrame {
  if (isEcp(frame)) return { ...frame, source };
  const { lldpdu } = decodeLldpdu(frame.payload);
  return says(lldpdu, source, source, lldpdu.ttl);
}

function isEcp({ etherType }: EthernetFrame): boolean {
  return etherType !== ETHERTYPE_LLDP;
}
