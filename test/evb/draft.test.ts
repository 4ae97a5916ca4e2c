import { describe, expect, test } from 'vitest';
import {
  DRAFT_CAPABILITY_ECP,
  DRAFT_CAPABILITY_RTE,
  DRAFT_CAPABILITY_VDP,
  DRAFT_MODE_RELAY,
  DRAFT_MODE_STANDARD,
  EvbDraft,
  type EvbDraftPolicy,
  type EvbEffect,
} from '../../protocols/evb/index.ts';
import type { EvbDraftTlv } from '../../protocols/lldp-codec/index.ts';

const policy = (more: Partial<EvbDraftPolicy> = {}): EvbDraftPolicy => ({
  reflectiveRelay: true,
  always: false,
  rte: 15,
  vsis: 100,
  ...more,
});
const station = (more: Partial<EvbDraftPolicy> = {}) => new EvbDraft('station', policy(more));
const bridge = (more: Partial<EvbDraftPolicy> = {}) => new EvbDraft('bridge', policy(more));

/** A peer that supports everything and has agreed to it. */
const peer = (more: Partial<EvbDraftTlv> = {}): EvbDraftTlv => ({
  smode: 0xc0,
  scap: 7,
  cmode: 0x40,
  ccap: 7,
  svsi: 3295,
  cvsi: 0,
  rte: 14,
  ...more,
});
const kinds = (effects: EvbEffect[]) => effects.map(({ kind }) => kind);
const RELAY_ON = { kind: 'relay', active: true, reason: 'the bridge reflects' };

describe('before anything was received (evb-tlv.md 3.3)', () => {
  test.each([
    ['station', () => station(), { smode: 0xc0, cmode: 0x40 }],
    ['station without relay', () => station({ reflectiveRelay: false }), { smode: 0x80, cmode: 0x80 }],
    ['bridge: its port does not reflect yet', () => bridge(), { smode: 0xc0, cmode: 0x80 }],
    ['bridge that denies', () => bridge({ reflectiveRelay: false }), { smode: 0x80, cmode: 0x80 }],
    [
      'bridge that always reflects',
      () => bridge({ reflectiveRelay: false, always: true }),
      { smode: 0xc0, cmode: 0x40 },
    ],
  ])('%s', (_, start, modes) => {
    const us = start();
    expect(us.tlv).toEqual({ ...modes, scap: 7, ccap: 0, svsi: 0, cvsi: 0, rte: 15 });
    expect([us.remote, us.vdpAgreed, us.groupIds, us.relayPossible]).toEqual([
      undefined,
      false,
      false,
      false,
    ]);
  });
});

describe('negotiation (evb-tlv.md 3.3)', () => {
  test.each([0x00, 0x3f])('step 1: smode %i has no known mode: ignored, the old state stays', (smode) => {
    const us = station();
    expect(us.receive(peer({ smode }))).toEqual([]);
    expect(us.remote).toBeUndefined();
    us.receive(peer());
    expect(us.receive(peer({ smode, scap: 0 }))).toEqual([]);
    expect([us.vdpAgreed, us.relayActive]).toEqual([true, true]);
  });

  test.each([
    ['both support relay', station(), 0xc0, 0x40],
    ['relay alone', station(), 0x40, 0x40],
    ['the peer does not', station(), 0x80, 0x80],
    ['we do not', station({ reflectiveRelay: false }), 0xc0, 0x80],
  ])('step 2: cmode, %s', (_, us, smode, cmode) => {
    us.receive(peer({ smode }));
    expect(us.tlv.cmode).toBe(cmode);
    expect([us.relayPossible, us.relayWanted]).toEqual([smode !== 0x80, cmode === 0x40]);
  });

  test.each([0, 1, 2, 3, 4, 5, 6, 7, 0xff])('step 3: ccap is what both support: %i', (scap) => {
    const us = station();
    us.receive(peer({ scap }));
    expect(us.tlv.ccap).toBe(scap & 7);
    expect(us.vdpAgreed).toBe((scap & 3) === 3);
  });

  test.each([
    ['the larger of both: ours', 15, peer({ rte: 14 }), 15],
    ['the larger of both: theirs', 15, peer({ rte: 16 }), 16],
    ['theirs is 0: left', 15, peer({ rte: 0 }), 15],
    ['ours is 0: left', 0, peer({ rte: 16 }), 0],
    ['1 counts', 1, peer({ rte: 2 }), 2],
    ['theirs of 1 counts', 1, peer({ rte: 1 }), 1],
    ['ours before anything is heard', 15, peer({ rte: 15 }), 15],
    ['not agreed: left', 15, peer({ rte: 16, scap: 3 }), 15],
  ])('step 4: rte, %s', (_, rte, tlv, expected) => {
    const us = station({ rte });
    us.receive(tlv);
    expect(us.tlv.rte).toBe(expected);
  });

  test('step 4: rte of a peer that no longer tells one stays', () => {
    const us = station();
    us.receive(peer({ rte: 16 }));
    us.receive(peer({ rte: 0 }));
    expect(us.tlv.rte).toBe(16);
    us.setPolicy(policy({ rte: 12 }));
    expect(us.tlv.rte).toBe(12);
  });

  test('step 4: the larger one falls with what the peer tells', () => {
    const us = station();
    us.receive(peer({ rte: 16 }));
    us.receive(peer({ rte: 1 }));
    expect(us.tlv.rte).toBe(15);
  });

  test('step 5: svsi and cvsi when VDP is agreed, else 0; not more in use than there may be', () => {
    const us = station();
    expect(us.setVsis(3)).toEqual([]);
    expect([us.tlv.svsi, us.tlv.cvsi]).toEqual([0, 0]);
    us.receive(peer());
    expect([us.tlv.svsi, us.tlv.cvsi]).toEqual([100, 3]);
    expect(us.setVsis(4)).toEqual([{ kind: 'localChange' }]);
    expect(us.setVsis(101)).toEqual([{ kind: 'localChange' }]);
    expect([us.tlv.svsi, us.tlv.cvsi]).toEqual([100, 100]);
  });

  test('step 5: none in use at first', () => {
    const us = station();
    us.receive(peer());
    expect(us.tlv.cvsi).toBe(0);
  });

  test('step 6: localChange only when our TLV changed', () => {
    const us = station();
    expect(kinds(us.receive(peer()))).toEqual(['up', 'relay', 'localChange']);
    expect(us.receive(peer())).toEqual([]);
    expect(us.receive(peer({ cvsi: 9, svsi: 1 }))).toEqual([]);
  });
});

describe('station', () => {
  test('relay is in effect when the bridge says so', () => {
    const us = station();
    expect(us.receive(peer({ cmode: 0x80 }))).toEqual([{ kind: 'up' }, { kind: 'localChange' }]);
    expect(us.relayActive).toBe(false);
    expect(us.receive(peer())).toEqual([RELAY_ON]);
    expect(us.relayActive).toBe(true);
    expect(us.receive(peer({ cmode: 0x80 }))).toEqual([
      { kind: 'relay', active: false, reason: 'the bridge has not turned relay on' },
    ]);
  });

  test('what its port does is not its business', () => {
    const us = station();
    us.receive(peer({ cmode: 0x80 }));
    expect([us.applied(true), us.relayActive]).toEqual([[], false]);
  });

  test('relay ends: it is no longer requested', () => {
    const us = station();
    us.receive(peer());
    expect(us.setPolicy(policy({ reflectiveRelay: false }))[0]).toEqual({
      kind: 'relay',
      active: false,
      reason: 'policy changed',
    });
    expect([us.relayActive, us.receive(peer())]).toEqual([false, []]);
  });

  test('relay ends: the peer no longer supports it', () => {
    const us = station();
    us.receive(peer());
    expect(us.receive(peer({ smode: 0x80 }))[0]).toEqual({
      kind: 'relay',
      active: false,
      reason: 'the peer does not support reflective relay',
    });
    expect(us.relayActive).toBe(false);
  });

  test('always is a word to bridges: a station with it says what it supports', () => {
    const us = station({ reflectiveRelay: false, always: true });
    us.receive(peer());
    expect([us.tlv.smode, us.tlv.cmode, us.relayActive]).toEqual([0xc0, 0x40, false]);
  });

  test('lost: told, everything as at the start', () => {
    const us = station();
    const before = us.tlv;
    us.receive(peer({ rte: 20 }));
    expect(us.lost('link down')).toEqual([
      { kind: 'down', reason: 'link down' },
      { kind: 'relay', active: false, reason: 'link down' },
      { kind: 'localChange' },
    ]);
    expect([us.tlv, us.remote]).toEqual([before, undefined]);
    expect(us.lost('again')).toEqual([]);
  });

  test('a TLV withdrawn is a peer lost', () => {
    const us = station();
    us.receive(peer());
    expect(us.receive(undefined)[0]).toEqual({
      kind: 'down',
      reason: 'the draft EVB TLV of the peer is gone',
    });
  });
});

describe('a peer that lost its state', () => {
  const restarts = (effects: EvbEffect[]) => effects.filter(({ kind }) => kind === 'peerRestarted').length;

  test.each([0, 1, 2, 5, 6])('it no longer confirms ECP and VDP: ccap %i', (ccap) => {
    const us = station();
    us.receive(peer());
    expect(us.receive(peer({ ccap }))).toEqual([
      { kind: 'peerRestarted', reason: 'the peer no longer confirms ECP and VDP: it restarted' },
    ]);
    expect(us.receive(peer({ ccap }))).toEqual([]);
    expect(restarts(us.receive(peer()))).toBe(0);
  });

  test('its first TLV, which confirms nothing, is none', () => {
    const us = station();
    expect(restarts(us.receive(peer({ ccap: 0 })))).toBe(0);
    expect(restarts(us.receive(peer()))).toBe(0);
  });

  test('one that gives VDP up is none', () => {
    const us = station();
    us.receive(peer());
    const effects = us.receive(peer({ scap: 4, ccap: 4 }));
    expect(restarts(effects)).toBe(0);
    expect(effects).toContainEqual({ kind: 'vdpDown', reason: 'the peer offers ECP and VDP no longer' });
    expect(us.receive(peer({ scap: 5, ccap: 5 })).map(({ kind }) => kind)).not.toContain('vdpDown');
  });

  test('one that still offers neither is not', () => {
    const us = station();
    us.receive(peer({ scap: 4, ccap: 4 }));
    expect(us.receive(peer({ scap: 5, ccap: 5 }))).not.toContainEqual(
      expect.objectContaining({ kind: 'peerRestarted' }),
    );
  });

  test('one that offers ECP and VDP only now is asked', () => {
    const us = station();
    us.receive(peer({ scap: 4, ccap: 4 }));
    expect(us.receive(peer())).toContainEqual({
      kind: 'peerRestarted',
      reason: 'the peer offers ECP and VDP now',
    });
  });
});

test('modes and capabilities (evb-tlv.md 3.1)', () => {
  expect([DRAFT_MODE_STANDARD, DRAFT_MODE_RELAY]).toEqual([0x80, 0x40]);
  expect([DRAFT_CAPABILITY_RTE, DRAFT_CAPABILITY_ECP, DRAFT_CAPABILITY_VDP]).toEqual([4, 2, 1]);
});

describe('bridge', () => {
  test('relay supported by both: the port is to reflect, and we say so when it does', () => {
    const us = bridge();
    const effects = us.receive(peer({ cmode: 0x40 }));
    expect(effects.filter(({ kind }) => kind === 'relay')).toMatchObject([{ active: true }]);
    expect([us.relayWanted, us.relayActive, us.tlv.cmode]).toEqual([true, false, 0x80]);
    expect(us.applied(true)).toEqual([{ kind: 'localChange' }]);
    expect([us.relayActive, us.tlv.cmode]).toEqual([true, 0x40]);
    expect(us.applied(false)).toEqual([{ kind: 'localChange' }]);
    expect(us.tlv.cmode).toBe(0x80);
  });

  test('a station that does not support it', () => {
    const us = bridge();
    expect(kinds(us.receive(peer({ smode: 0x80 })))).toEqual(['up', 'localChange']);
    expect(us.relayWanted).toBe(false);
  });

  test('lost: the port is to stop; until it has, it reflects', () => {
    const us = bridge();
    us.receive(peer());
    us.applied(true);
    expect(kinds(us.lost('gone'))).toEqual(['down', 'relay', 'localChange']);
    expect([us.relayWanted, us.relayActive, us.tlv.cmode]).toEqual([false, true, 0x40]);
  });

  test('a port that always reflects', () => {
    const us = bridge({ reflectiveRelay: false, always: true });
    us.receive(peer({ smode: 0x80 }));
    expect([us.relayActive, us.relayWanted, us.tlv.cmode]).toEqual([true, false, 0x40]);
  });

  test('policy changes what the port is to do', () => {
    const us = bridge({ reflectiveRelay: false });
    us.receive(peer());
    expect(us.setPolicy(policy())).toEqual([
      { kind: 'relay', active: true, reason: 'policy changed' },
      { kind: 'localChange' },
    ]);
  });
});
