import { EvbBridge, EvbStation } from '../../protocols/evb/index.ts';
import { type EvbParameters, type EvbTlv, encodeEvbTlv } from '../../protocols/lldp-codec/index.ts';
import { toHex } from '../../protocols/octets/index.ts';

export const PROPOSAL: EvbParameters = { r: 3, rte: 14, rwd: 20, rka: 20 };

export const station = (proposal: Partial<EvbParameters> = {}, reflectiveRelay = true, groupIds = true) =>
  new EvbStation({ reflectiveRelay, groupIds, proposal: { ...PROPOSAL, ...proposal } });

export const bridge = (proposal: Partial<EvbParameters> = {}, reflectiveRelay = true, groupIds = true) =>
  new EvbBridge({ reflectiveRelay, groupIds, always: false, proposal: { ...PROPOSAL, ...proposal } });

/** The five octets behind OUI and subtype, as evb-tlv.md 1.10 shows them. */
export const octets6to10 = (tlv: EvbTlv) => toHex(encodeEvbTlv(tlv)).match(/../g)!.join(' ');

/** A bridge's TLV with what a test is about. */
export function bridgeTlv(
  more: Partial<EvbTlv> & { rrcap?: boolean; rrctr?: boolean; bgid?: boolean } = {},
): EvbTlv {
  const { rrcap = true, rrctr = true, bgid = true, ...rest } = more;
  return {
    bridgeStatus: { bgid, rrcap, rrctr },
    stationStatus: { sgid: false, rrreq: false, rrstat: 0 },
    mode: 1,
    ...PROPOSAL,
    rwdRol: false,
    rkaRol: false,
    ...rest,
  };
}

export function stationTlv(
  more: Partial<EvbTlv> & { rrreq?: boolean; sgid?: boolean; rrstat?: number } = {},
): EvbTlv {
  const { rrreq = true, sgid = true, rrstat = 3, ...rest } = more;
  return {
    bridgeStatus: { bgid: false, rrcap: false, rrctr: false },
    stationStatus: { sgid, rrreq, rrstat },
    mode: 2,
    ...PROPOSAL,
    rwdRol: false,
    rkaRol: false,
    ...rest,
  };
}

/** lldpad as the bridge: transmits the operational maxima, ROL also on a tie, echoes our status (evb-tlv.md 1.7, interop-notes.md 2). */
export class LldpadBridge {
  local: EvbParameters;
  #remote: EvbTlv | undefined;

  constructor(local: EvbParameters) {
    this.local = local;
  }

  receive(tlv: EvbTlv): void {
    this.#remote = tlv;
  }

  get tlv(): EvbTlv {
    const remote = this.#remote ?? { r: 0, rte: 0, rwd: 0, rka: 0 };
    const larger = (field: keyof EvbParameters) => Math.max(this.local[field], remote[field]);
    return bridgeTlv({
      r: larger('r'),
      rte: larger('rte'),
      rwd: larger('rwd'),
      rka: larger('rka'),
      rwdRol: remote.rwd >= this.local.rwd,
      rkaRol: remote.rka >= this.local.rka,
      rrctr: this.#remote?.stationStatus.rrreq === true,
      ...(this.#remote && { stationStatus: this.#remote.stationStatus }),
    });
  }
}

/** ZTE as the bridge: transmits its own proposals, ROL when ours is larger, never echoes (evb-tlv.md 1.7, 1.9). */
export class ZteBridge {
  local: EvbParameters;
  #remote: EvbTlv | undefined;

  constructor(local: EvbParameters) {
    this.local = local;
  }

  receive(tlv: EvbTlv): void {
    this.#remote = tlv;
  }

  get tlv(): EvbTlv {
    return bridgeTlv({
      ...this.local,
      rwdRol: (this.#remote?.rwd ?? 0) > this.local.rwd,
      rkaRol: (this.#remote?.rka ?? 0) > this.local.rka,
      rrctr: this.#remote?.stationStatus.rrreq === true,
    });
  }
}
