import { type EvbDraftTlv, encodeEvbDraftTlv } from '../lldp-codec/index.ts';
import { type EvbEffect, Told } from './told.ts';

/** Forwarding modes (smode, cmode) and capabilities (scap, ccap) of the draft's EVB TLV (evb-tlv.md 3.1). */
export const DRAFT_MODE_STANDARD = 0x80;
export const DRAFT_MODE_RELAY = 0x40;
export const DRAFT_CAPABILITY_RTE = 0x04;
export const DRAFT_CAPABILITY_ECP = 0x02;
export const DRAFT_CAPABILITY_VDP = 0x01;

const CAPABILITIES = DRAFT_CAPABILITY_RTE | DRAFT_CAPABILITY_ECP | DRAFT_CAPABILITY_VDP;
const MODES = DRAFT_MODE_STANDARD | DRAFT_MODE_RELAY;
const SPEAKS_VDP = DRAFT_CAPABILITY_ECP | DRAFT_CAPABILITY_VDP;

export interface EvbDraftPolicy {
  /** Reflective relay is a supported mode: a station wants it, a bridge can do it. */
  reflectiveRelay: boolean;
  /** A bridge whose port reflects whether it is asked or not. */
  always: boolean;
  /** Exponent of the retransmission timer; nobody uses it (ecp.md 2.2). */
  rte: number;
  /** svsi: VSIs that there may be. */
  vsis: number;
}

/**
 * EVB of draft 0.2 (evb-tlv.md 3.3). Its TLV does not tell a station from a bridge: both send what they support (smode, scap)
 * and what is in force (cmode, ccap). A bridge says that relay is in force when its port reflects (`applied`).
 */
export class EvbDraft {
  remote: EvbDraftTlv | undefined;
  readonly #role: 'station' | 'bridge';
  #policy: EvbDraftPolicy;
  #vsis = 0;
  #rte: number;
  #applied = false;
  readonly #told: Told<EvbDraftTlv>;

  constructor(role: 'station' | 'bridge', policy: EvbDraftPolicy) {
    this.#role = role;
    this.#policy = policy;
    this.#rte = policy.rte;
    this.#told = new Told(encodeEvbDraftTlv, this.#build());
  }

  /** What goes into the next LLDPDU. */
  get tlv(): EvbDraftTlv {
    return this.#told.tlv;
  }

  /** Both sides offer ECP and VDP. */
  get vdpAgreed(): boolean {
    return (this.#capabilities & SPEAKS_VDP) === SPEAKS_VDP;
  }

  /** The draft has no group ids. */
  get groupIds(): boolean {
    return false;
  }

  /** The bridge supports reflective relay. */
  get relayPossible(): boolean {
    return this.remote !== undefined && (this.remote.smode & DRAFT_MODE_RELAY) !== 0;
  }

  /** Both sides support it: what the port of a bridge is to do. */
  get relayWanted(): boolean {
    return this.#policy.reflectiveRelay && this.relayPossible;
  }

  /** The bridge reflects, and says so. */
  get relayActive(): boolean {
    if (this.#role === 'bridge') return this.#policy.always || this.#applied;
    return this.relayWanted && (this.remote!.cmode & DRAFT_MODE_RELAY) !== 0;
  }

  setPolicy(policy: EvbDraftPolicy): EvbEffect[] {
    const before = this.#standing();
    this.#policy = policy;
    this.#rte = policy.rte;
    return this.#recompute(before, 'policy changed');
  }

  /** cvsi: VSIs in use. */
  setVsis(vsis: number): EvbEffect[] {
    this.#vsis = vsis;
    return this.#recompute(this.#standing(), '');
  }

  /** The neighbour's TLV, or undefined when its LLDPDU carries none. One without a known forwarding mode is passed over. */
  receive(tlv: EvbDraftTlv | undefined, reason = 'the draft EVB TLV of the peer is gone'): EvbEffect[] {
    if (tlv === undefined) return this.lost(reason);
    if ((tlv.smode & MODES) === 0) return [];
    const before = this.#standing();
    const was = this.remote;
    this.remote = tlv;
    const changes: EvbEffect[] = was === undefined ? [{ kind: 'up' }] : [];
    const restarted = was !== undefined && confirms(was) && !confirms(tlv);
    if (restarted && this.vdpAgreed)
      changes.push({
        kind: 'peerRestarted',
        reason: 'the peer no longer confirms ECP and VDP: it restarted',
      });
    else if (was !== undefined && this.vdpAgreed && !before.vdpAgreed)
      changes.push({ kind: 'peerRestarted', reason: 'the peer offers ECP and VDP now' });
    if (before.vdpAgreed && !this.vdpAgreed)
      changes.push({ kind: 'vdpDown', reason: 'the peer offers ECP and VDP no longer' });
    return this.#recompute(before, relayReason(tlv), changes);
  }

  /** Neighbour lost, aged out or shut down; link down. */
  lost(reason: string): EvbEffect[] {
    if (this.remote === undefined) return [];
    const before = this.#standing();
    this.remote = undefined;
    this.#rte = this.#policy.rte;
    return this.#recompute(before, reason, [{ kind: 'down', reason }]);
  }

  /** The port reflects now, or no longer. */
  applied(reflecting: boolean): EvbEffect[] {
    const before = this.#standing();
    this.#applied = reflecting;
    return this.#recompute(before, '');
  }

  /** ccap: what both sides support. */
  get #capabilities(): number {
    return this.remote === undefined ? 0 : CAPABILITIES & this.remote.scap;
  }

  #standing() {
    // A station's relay follows the bridge, a bridge's port the station.
    return {
      relay: this.#role === 'station' ? this.relayActive : this.relayWanted,
      vdpAgreed: this.vdpAgreed,
    };
  }

  #recompute(
    before: { relay: boolean; vdpAgreed: boolean },
    reason: string,
    changes: EvbEffect[] = [],
  ): EvbEffect[] {
    const { relay } = this.#standing();
    if (relay !== before.relay) changes.push({ kind: 'relay', active: relay, reason });
    return this.#told.update(this.#build(), changes);
  }

  #build(): EvbDraftTlv {
    const { remote, vdpAgreed } = this;
    const { reflectiveRelay, always, rte, vsis } = this.#policy;
    const ccap = this.#capabilities;
    if ((ccap & DRAFT_CAPABILITY_RTE) !== 0 && rte > 0 && remote!.rte > 0)
      this.#rte = Math.max(rte, remote!.rte);
    const supported = reflectiveRelay || always;
    // What a peer that is not there yet supports is taken for granted, as lldpad does it.
    const agreed = supported && (remote === undefined || this.relayPossible);
    const relays = this.#role === 'bridge' ? this.relayActive : agreed;
    return {
      smode: supported ? MODES : DRAFT_MODE_STANDARD,
      scap: CAPABILITIES,
      cmode: relays ? DRAFT_MODE_RELAY : DRAFT_MODE_STANDARD,
      ccap,
      svsi: vdpAgreed ? vsis : 0,
      cvsi: vdpAgreed ? Math.min(this.#vsis, vsis) : 0,
      rte: this.#rte,
    };
  }
}

function relayReason({ smode, cmode }: EvbDraftTlv): string {
  if ((smode & DRAFT_MODE_RELAY) === 0) return 'the peer does not support reflective relay';
  return (cmode & DRAFT_MODE_RELAY) === 0 ? 'the bridge has not turned relay on' : 'the bridge reflects';
}

/** The peer has heard us and speaks VDP with us. */
export function confirms({ ccap }: EvbDraftTlv): boolean {
  return (ccap & SPEAKS_VDP) === SPEAKS_VDP;
}
