import {
  EVB_MODE_BRIDGE,
  EVB_MODE_STATION,
  type EvbParameters,
  type EvbTlv,
  encodeEvbTlv,
} from '../lldp-codec/index.ts';
import { ParameterNegotiation } from './negotiation.ts';
import { type EvbEffect, Told } from './told.ts';

export interface EvbBridgePolicy {
  /** RRCAP: the port can reflect and may do so for this station. */
  reflectiveRelay: boolean;
  /** The port reflects whether it is asked or not: RRCTR stays 1. */
  always: boolean;
  /** BGID */
  groupIds: boolean;
  proposal: EvbParameters;
}

/**
 * EVB bridge, ratified (evb-tlv.md 1.9). RRREQ and RRCAP make the `relay` effect that asks for the port's hairpin; RRCTR, which
 * says that relay is in force, follows when the port has done it (`applied`).
 */
export class EvbBridge {
  remote: EvbTlv | undefined;
  #policy: EvbBridgePolicy;
  readonly #negotiation: ParameterNegotiation;
  readonly #told: Told<EvbTlv>;
  #applied = false;

  constructor(policy: EvbBridgePolicy) {
    this.#policy = policy;
    this.#negotiation = new ParameterNegotiation(policy.proposal);
    this.#told = new Told(encodeEvbTlv, this.#build(), this.#negotiation.operational());
  }

  get tlv(): EvbTlv {
    return this.#told.tlv;
  }

  get operational(): EvbParameters {
    return this.#told.operational!;
  }

  /** RRCTR */
  get relayActive(): boolean {
    return this.#policy.always || this.#applied;
  }

  /** RRREQ and RRCAP: what the port is to do. */
  get relayWanted(): boolean {
    return this.#policy.reflectiveRelay && this.remote?.stationStatus.rrreq === true;
  }

  /** VDP may be spoken. */
  get vdpAgreed(): boolean {
    return this.remote !== undefined;
  }

  get groupIds(): boolean {
    return this.#policy.groupIds && this.remote?.stationStatus.sgid === true;
  }

  setPolicy(policy: EvbBridgePolicy): EvbEffect[] {
    const wantedBefore = this.relayWanted;
    this.#policy = policy;
    this.#negotiation.propose(policy.proposal);
    return this.#recompute(wantedBefore, 'policy changed');
  }

  /** An LLDPDU of the neighbour: its EVB TLV, or undefined when it carries none. Another mode than station counts as none. */
  receive(tlv: EvbTlv | undefined, reason = 'the EVB TLV of the station is gone'): EvbEffect[] {
    if (tlv?.mode !== EVB_MODE_STATION) return this.lost(reason);
    const wantedBefore = this.relayWanted;
    const changes: EvbEffect[] = this.remote === undefined ? [{ kind: 'up' }] : [];
    this.remote = tlv;
    this.#negotiation.receive(tlv);
    const asked = tlv.stationStatus.rrreq
      ? 'the station requests relay'
      : 'the station does not request relay';
    return this.#recompute(wantedBefore, asked, changes);
  }

  /** Neighbour lost, aged out or shut down; link down. */
  lost(reason: string): EvbEffect[] {
    if (this.remote === undefined) return [];
    const wantedBefore = this.relayWanted;
    this.remote = undefined;
    this.#negotiation.forget();
    return [{ kind: 'down', reason }, ...this.#recompute(wantedBefore, reason)];
  }

  /** The port reflects now, or no longer. */
  applied(reflecting: boolean): EvbEffect[] {
    this.#applied = reflecting;
    return this.#recompute(this.relayWanted, '');
  }

  #recompute(wantedBefore: boolean, reason: string, changes: EvbEffect[] = []): EvbEffect[] {
    if (this.relayWanted !== wantedBefore) changes.push({ kind: 'relay', active: this.relayWanted, reason });
    return this.#told.update(this.#build(), changes, this.#negotiation.operational());
  }

  #build(): EvbTlv {
    return {
      bridgeStatus: {
        bgid: this.#policy.groupIds,
        rrcap: this.#policy.reflectiveRelay || this.#policy.always,
        rrctr: this.relayActive,
      },
      stationStatus: this.remote?.stationStatus ?? { sgid: false, rrreq: false, rrstat: 0 },
      mode: EVB_MODE_BRIDGE,
      ...this.#negotiation.transmit(),
    };
  }
}
