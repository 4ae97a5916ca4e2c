import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type EvbBridge, type EvbStation, ParameterNegotiation } from '../../protocols/evb/index.ts';
import type { EvbParameters } from '../../protocols/lldp-codec/index.ts';
import { vdpTimers } from '../../protocols/vdp/index.ts';
import { evbVectors } from '../fixtures/vectors.ts';
import { bridge, bridgeTlv, LldpadBridge, octets6to10, PROPOSAL, station, ZteBridge } from './peers.ts';

type Peer = { readonly tlv: EvbStation['tlv']; receive(tlv: EvbStation['tlv']): unknown };

/** Both tell each other until neither has anything new to say; fails when that never happens. */
function settle(us: EvbStation, peer: Peer): void {
  for (let round = 0; round < 10; round++) {
    const before = octets6to10(us.tlv) + octets6to10(peer.tlv);
    us.receive(peer.tlv);
    peer.receive(us.tlv);
    if (octets6to10(us.tlv) + octets6to10(peer.tlv) === before) return;
  }
  throw new Error(`no end of it: ${octets6to10(us.tlv)} / ${octets6to10(peer.tlv)}`);
}

const repropose = (us: EvbStation | EvbBridge, proposal: Partial<EvbParameters>) =>
  'relayWanted' in us
    ? us.setPolicy({
        reflectiveRelay: true,
        groupIds: true,
        always: false,
        proposal: { ...PROPOSAL, ...proposal },
      })
    : us.setPolicy({ reflectiveRelay: true, groupIds: true, proposal: { ...PROPOSAL, ...proposal } });

const sent = ({ tlv }: EvbStation) => ({ rwd: [tlv.rwd, tlv.rwdRol], rka: [tlv.rka, tlv.rkaRol] });

describe('combination of local and remote values (evb-tlv.md 1.7)', () => {
  test('with no remote TLV the local proposal applies', () => {
    expect(station({ rwd: 17 }).operational).toEqual({ ...PROPOSAL, rwd: 17 });
  });

  test('vectors.md V3 with V4: R 5, RTE 16, RWD 22, RKA 20', () => {
    const us = station();
    us.receive(evbVectors[1]!.tlv);
    expect(us.operational).toEqual({ r: 5, rte: 16, rwd: 22, rka: 20 });
    expect(vdpTimers(us.operational)).toMatchObject({
      ackTimer: 655.36,
      resourceWaitDelay: 41943.04,
      reinitKeepAlive: 10485.76,
    });
  });

  test.each(['r', 'rte', 'rwd', 'rka'] as const)('%s is the larger of both, by itself', (field) => {
    const us = station();
    us.receive(bridgeTlv({ [field]: PROPOSAL[field] + 2 }));
    expect(us.operational).toEqual({ ...PROPOSAL, [field]: PROPOSAL[field] + 2 });
    us.receive(bridgeTlv({ [field]: PROPOSAL[field] - 2 }));
    expect(us.operational).toEqual(PROPOSAL);
  });

  test('transmit: R and RTE are always our own', () => {
    const us = station();
    us.receive(bridgeTlv({ r: 7, rte: 20 }));
    expect([us.tlv.r, us.tlv.rte]).toEqual([3, 14]);
  });

  test.each([
    ['the peer has more: its value, ROL 1', 24, [24, true]],
    ['a tie: our value, ROL 0', 20, [20, false]],
    ['the peer has less: our value, ROL 0', 18, [20, false]],
  ] as const)('transmit: %s', (_, value, expected) => {
    const us = station();
    us.receive(bridgeTlv({ rwd: value }));
    expect(sent(us)).toEqual({ rwd: expected, rka: [20, false] });
    const other = station();
    other.receive(bridgeTlv({ rka: value }));
    expect(sent(other)).toEqual({ rwd: [20, false], rka: expected });
  });

  test('receive: ROL 1 with a value that we never sent as ours is the peer`s own', () => {
    const us = station();
    us.receive(bridgeTlv({ rwd: 24, rwdRol: true, rka: 23, rkaRol: true }));
    expect(us.operational).toMatchObject({ rwd: 24, rka: 23 });
  });

  test('receive: ROL 1 with a value that we sent as ours is an echo', () => {
    const us = station({ rwd: 24, rka: 23 });
    us.receive(bridgeTlv({ rwd: 24, rwdRol: true, rka: 23, rkaRol: true }));
    repropose(us, {});
    us.receive(bridgeTlv({ rwd: 24, rwdRol: true, rka: 23, rkaRol: true }));
    expect(us.operational).toEqual(PROPOSAL);
  });

  test('receive: the same value with ROL 0 is the peer`s own', () => {
    const us = station({ rwd: 24 });
    us.receive(bridgeTlv({ rwd: 24 }));
    repropose(us, {});
    us.receive(bridgeTlv({ rwd: 24 }));
    expect(us.operational).toMatchObject({ rwd: 24 });
  });

  test('receive: ROL 1 with more than the peer has said of itself is an echo of what it misheard', () => {
    const us = station();
    us.receive(bridgeTlv({ rwd: 18, rka: 18 }));
    us.receive(bridgeTlv({ rwd: 24, rwdRol: true, rka: 23, rkaRol: true }));
    expect(us.operational).toEqual(PROPOSAL);
  });

  test('what both proposed and both have lowered at the same time is not kept up', () => {
    const us = station({ rwd: 24, rka: 24 });
    const peer = bridge({ ...PROPOSAL, rwd: 24, rka: 24 });
    settle(us, peer);
    repropose(us, {});
    repropose(peer, {});
    settle(us, peer);
    expect([us.operational, peer.operational]).toEqual([PROPOSAL, PROPOSAL]);
  });

  test('what the run before proposed and this one does not is not kept up by its echo', () => {
    const peer = bridge({ ...PROPOSAL, rwd: 18, rka: 18 });
    settle(station({ rwd: 24, rka: 24 }), peer);
    const us = station();
    us.receive(peer.tlv);
    // Until the peer has said what it proposes itself, it may be that.
    expect(us.operational).toMatchObject({ rwd: 24, rka: 24 });
    peer.receive(us.tlv);
    settle(us, peer);
    expect([us.operational, peer.operational]).toEqual([PROPOSAL, PROPOSAL]);
  });

  test('what lldpad proposes itself and flags outlives a run of ours', () => {
    const peer = new LldpadBridge({ ...PROPOSAL, rwd: 24, rka: 24 });
    settle(station(), peer);
    const us = station();
    us.receive(peer.tlv);
    expect(us.operational).toMatchObject({ rwd: 24, rka: 24 });
    peer.receive(us.tlv);
    settle(us, peer);
    expect(us.operational).toMatchObject({ rwd: 24, rka: 24 });
  });

  test('one garbled LLDPDU does not raise a value for ever', () => {
    const us = station();
    const peer = bridge({ ...PROPOSAL, rwd: 18, rka: 18 });
    settle(us, peer);
    us.receive({ ...peer.tlv, rwd: 24, rwdRol: false, rka: 23, rkaRol: false });
    expect(us.operational).toMatchObject({ rwd: 24, rka: 23 });
    peer.receive(us.tlv);
    settle(us, peer);
    expect([us.operational, peer.operational]).toEqual([PROPOSAL, PROPOSAL]);
  });

  test('what we sent to the neighbour before does not count for the next', () => {
    const us = station({ rwd: 24 });
    us.receive(bridgeTlv({ rwd: 20 }));
    repropose(us, {});
    us.lost('gone');
    us.receive(bridgeTlv({ rwd: 24, rwdRol: true }));
    expect(us.operational).toMatchObject({ rwd: 24 });
  });

  describe('test cases against lldpad', () => {
    test('20/24: peer 24 ROL 0, we 24 ROL 1, peer 24 ROL 1: operational stays 24', () => {
      const us = station();
      const peer = new LldpadBridge({ ...PROPOSAL, rwd: 24, rka: 24 });
      us.receive(peer.tlv);
      expect(sent(us)).toEqual({ rwd: [24, true], rka: [24, true] });
      peer.receive(us.tlv);
      expect([peer.tlv.rwd, peer.tlv.rwdRol]).toEqual([24, true]);
      us.receive(peer.tlv);
      settle(us, peer);
      expect(us.operational).toMatchObject({ rwd: 24, rka: 24 });
      expect(sent(us)).toEqual({ rwd: [24, true], rka: [24, true] });
    });

    test('24/20, then our proposal lowered to 20: no ratchet', () => {
      const us = station({ rwd: 24, rka: 24 });
      const peer = new LldpadBridge(PROPOSAL);
      settle(us, peer);
      expect([peer.tlv.rwd, peer.tlv.rwdRol]).toEqual([24, true]);
      repropose(us, {});
      us.receive(peer.tlv);
      expect(sent(us)).toEqual({ rwd: [20, false], rka: [20, false] });
      settle(us, peer);
      expect([peer.tlv.rwd, us.operational.rwd, us.operational.rka]).toEqual([20, 20, 20]);
    });

    test('R and RTE lowered: no ratchet either', () => {
      const us = station({ r: 7, rte: 20 });
      const peer = new LldpadBridge(PROPOSAL);
      settle(us, peer);
      repropose(us, {});
      settle(us, peer);
      expect(us.operational).toEqual(PROPOSAL);
    });
  });

  const parameters = fc.record({ r: fc.nat(7), rte: fc.nat(31), rwd: fc.nat(31), rka: fc.nat(31) });
  const larger = (a: EvbParameters, b: EvbParameters) => ({
    r: Math.max(a.r, b.r),
    rte: Math.max(a.rte, b.rte),
    rwd: Math.max(a.rwd, b.rwd),
    rka: Math.max(a.rka, b.rka),
  });

  // Few values, so that proposals meet their own echoes.
  const few = fc.record({ r: fc.nat(3), rte: fc.nat(3), rwd: fc.nat(3), rka: fc.nat(3) });
  const values = fc.oneof(few, parameters);

  test.each([
    ['lldpad', (local: EvbParameters) => new LldpadBridge(local)],
    ['ZTE', (local: EvbParameters) => new ZteBridge(local)],
  ])('whatever we propose one after another, %s and we settle at the larger values', (_, make) => {
    fc.assert(
      fc.property(values, fc.array(values, { minLength: 1, maxLength: 5 }), (theirs, ours) => {
        const us = station(ours[0]);
        const peer = make(theirs);
        for (const proposal of ours) {
          repropose(us, proposal);
          settle(us, peer);
          expect(us.operational).toEqual(larger(proposal, theirs));
        }
      }),
    );
  });

  test('two of ours settle at the larger values, whoever changes its proposal', () => {
    const changes = fc.array(fc.tuple(fc.boolean(), few), { maxLength: 8 });
    fc.assert(
      fc.property(few, few, changes, (ours, theirs, rounds) => {
        const us = station(ours);
        const peer = bridge(theirs);
        let [a, b] = [ours, theirs];
        settle(us, peer);
        for (const [first, proposal] of rounds) {
          if (first) a = proposal;
          else b = proposal;
          repropose(first ? us : peer, proposal);
          settle(us, peer);
          expect(us.operational).toEqual(larger(a, b));
          expect(peer.operational).toEqual(larger(a, b));
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('what is remembered of the peer (evb-tlv.md 1.7)', () => {
  const FIELDS = ['rwd', 'rka'] as const;
  const proposal = (value: number): EvbParameters => ({ r: value, rte: value, rwd: value, rka: value });
  /** A TLV in which both fields say `value`. */
  const says = (value: number, rol: boolean) => ({ ...proposal(value), rwdRol: rol, rkaRol: rol });
  const operational = (us: ParameterNegotiation) => FIELDS.map((field) => us.operational()[field]);
  const proposing = (value: number) => {
    const us = new ParameterNegotiation(proposal(value));
    us.transmit();
    return us;
  };

  test('nothing at first', () => {
    expect(new ParameterNegotiation(proposal(0)).operational()).toEqual(proposal(0));
  });

  test('the next peer has echoed nothing, and claimed nothing', () => {
    const us = proposing(20);
    us.receive(says(10, false));
    us.forget();
    us.receive(says(20, true));
    us.propose(proposal(0));
    expect(operational(us)).toEqual([20, 20]);
    const other = proposing(20);
    other.receive(says(10, false));
    other.forget();
    other.receive(says(12, true));
    other.propose(proposal(0));
    expect(operational(other)).toEqual([12, 12]);
  });

  test('what we did not send as our own is no echo', () => {
    const us = new ParameterNegotiation(proposal(20));
    us.receive(says(24, false));
    us.transmit();
    us.receive(says(20, true));
    us.propose(proposal(10));
    expect(operational(us)).toEqual([20, 20]);
  });

  test('an echo that ours covers hides what was known', () => {
    const us = proposing(24);
    us.receive(says(22, false));
    us.receive(says(24, true));
    us.propose(proposal(20));
    expect(operational(us)).toEqual([20, 20]);
  });

  test('an echo of what ours was leaves the smaller value that is known', () => {
    const us = proposing(24);
    us.propose(proposal(20));
    us.receive(says(22, false));
    us.receive(says(24, true));
    expect(operational(us)).toEqual([22, 22]);
  });

  test('and the same value when the peer has claimed it since ours fell, not when before', () => {
    const since = proposing(4);
    since.propose(proposal(0));
    since.receive(says(4, false));
    since.propose(proposal(0));
    since.receive(says(4, true));
    expect(operational(since)).toEqual([4, 4]);
    const before = proposing(4);
    before.receive(says(4, false));
    before.propose(proposal(0));
    before.receive(says(4, true));
    expect(operational(before)).toEqual([0, 0]);
  });
});
