import { describe, expect, it } from 'vitest';
import { hears } from '../../protocols/evb/index.ts';
import { bridgeTlv, stationTlv } from './peers.ts';

const status = { sgid: true, rrreq: true, rrstat: 3 };
const own = stationTlv(status);
const blank = { sgid: false, rrreq: false, rrstat: 0 };
const deaf = { rrctr: false, stationStatus: blank };
const ours = bridgeTlv({ rrcap: true, rrctr: true, bgid: true });
const bits = { bgid: true, rrcap: true, rrctr: true };

describe('a TLV shows that its sender has heard ours (evb-tlv.md 1.8, 1.9)', () => {
  it('of a bridge by the echo of our status, all of it', () => {
    expect(hears(bridgeTlv({ rrctr: false, stationStatus: status }), own)).toBe(true);
    expect(hears(bridgeTlv(deaf), own)).toBe(false);
    for (const other of [{ sgid: false }, { rrreq: false }, { rrstat: 1 }])
      expect(hears(bridgeTlv({ rrctr: false, stationStatus: { ...status, ...other } }), own)).toBe(false);
  });

  it.each([{ sgid: true }, { rrreq: true }, { rrstat: 3 }])('%j of ours is enough to be echoed', (one) => {
    const stationStatus = { ...blank, ...one };
    expect(hears(bridgeTlv({ rrctr: false, stationStatus }), stationTlv(stationStatus))).toBe(true);
  });

  it('of a bridge not by the echo of what was never filled in', () => {
    expect(hears(bridgeTlv(deaf), stationTlv(blank))).toBe(false);
  });

  it('of a bridge by relay that is on, if we request it', () => {
    expect(hears(bridgeTlv({ ...deaf, rrctr: true }), own)).toBe(true);
    expect(hears(bridgeTlv({ ...deaf, rrctr: true }), stationTlv({ ...status, rrreq: false }))).toBe(false);
  });

  it('of a station by the echo of our status, all of it', () => {
    expect(hears({ ...stationTlv(), bridgeStatus: bits }, ours)).toBe(true);
    for (const other of [{ bgid: false }, { rrcap: false }, { rrctr: false }])
      expect(hears({ ...stationTlv(), bridgeStatus: { ...bits, ...other } }, ours)).toBe(false);
  });

  it.each([{ bgid: true }, { rrcap: true }, { rrctr: true }])(
    '%j of our port is enough to be echoed',
    (one) => {
      const bridgeStatus = { bgid: false, rrcap: false, rrctr: false, ...one };
      expect(hears({ ...stationTlv(), bridgeStatus }, bridgeTlv(bridgeStatus))).toBe(true);
    },
  );

  it('of a station not by the echo of what was never filled in', () => {
    const nothing = { bgid: false, rrcap: false, rrctr: false };
    expect(hears({ ...stationTlv(), bridgeStatus: nothing }, bridgeTlv(nothing))).toBe(false);
  });

  it('never if it is of our own role, or of none', () => {
    expect(hears({ ...stationTlv(), stationStatus: status, bridgeStatus: bits }, own)).toBe(false);
    expect(hears({ ...bridgeTlv({ stationStatus: status }), bridgeStatus: bits }, ours)).toBe(false);
    const both = { ...bridgeTlv({ stationStatus: status }), bridgeStatus: bits };
    for (const mode of [0, 3]) {
      expect(hears({ ...both, mode }, own)).toBe(false);
      expect(hears({ ...both, mode }, ours)).toBe(false);
      expect(hears({ ...both, mode: 2 }, { ...ours, mode })).toBe(false);
      expect(hears(both, { ...own, mode })).toBe(false);
    }
  });
});
