import {
  EVB_MODE_BRIDGE,
  EVB_MODE_STATION,
  type EvbParameters,
  type EvbTlv,
  encodeEvbTlv,
  RRSTAT_UNKNOWN,
} from '../lldp-codec/index.ts';
import { isBlank, sameStatus } from './hears.ts';
import { ParameterNegotiation } from './negotiation.ts';
import { type EvbEffect, Told } from './told.ts';

export interface EvbStationPolicy {
  /** RRREQ */
  reflectiveRelay: boolean;
  /** SGID */
  groupIds: boolean;
  proposal: EvbParameters;
}

/** EVB station, ratified (evb-tlv.md 1.8). */
export class EvbStation {
  remote: EvbTlv | undefined;
  #policy: EvbStationPolicy;
  readonly #negotiation: ParameterNegotiation;
  readonly #told: Told<EvbTlv>;
  /** The bridge has echoed our status octet, one that differs from an octet never filled in. */
  #echoed = false;

  constructor(policy: EvbStationPolicy) {
    this.#policy = policy;
    this.#negotiation = new ParameterNegotiation(policy.proposal);
    this.#told = new Told(encodeEvbTlv, this.#build(), this.#negotiation.operational());
  }

  /** What goes into the next LLDPDU. */
  get tlv(): EvbTlv {
    return this.#told.tlv;
  }

  get operational(): EvbParameters {
    return this.#told.operational!;
  }

  get relayActive(): boolean {
    return this.#policy.reflectiveRelay && this.remote?.bridgeStatus.rrctr === true;
  }

  /** RRCAP: the bridge can reflect. */
  get relayPossible(): boolean {
    return this.remote?.bridgeStatus.rrcap === true;
  }

  /** VDP may be spoken. */
  get vdpAgreed(): boolean {
    return this.remote !== undefined;
  }

  get groupIds(): boolean {
    return this.#policy.groupIds && this.remote?.bridgeStatus.bgid === true;
  }

  setPolicy(policy: EvbStationPolicy): EvbEffect[] {
    const relayBefore = this.relayActive;
    this.#policy = policy;
    this.#negotiation.propose(policy.proposal);
    return this.#recompute(relayBefore, 'policy changed');
  }

  /** An LLDPDU of the neighbour: its EVB TLV, or undefined when it carries none. Another mode than bridge counts as none. */
  receive(tlv: EvbTlv | undefined, reason = 'the EVB TLV of the bridge is gone'): EvbEffect[] {
    if (tlv?.mode !== EVB_MODE_BRIDGE) return this.#down(reason);
    const relayBefore = this.relayActive;
    const before = this.remote;
    const restarted = before && this.#restarted(before, tlv);
    if (restarted !== undefined) this.#echoed = false;
    else if (sameStatus(tlv.stationStatus, this.tlv.stationStatus)) this.#echoed = true;
    this.remote = tlv;
    this.#negotiation.receive(tlv);
    const changes: EvbEffect[] = [];
    if (before === undefined) changes.push({ kind: 'up' });
    if (restarted !== undefined) changes.push({ kind: 'peerRestarted', reason: restarted });
    return this.#recompute(relayBefore, relayReason(tlv), changes);
  }

  /** Neighbour lost, aged out or shut down; link down. */
  lost(reason: string): EvbEffect[] {
    return this.#down(reason);
  }

  #down(reason: string): EvbEffect[] {
    if (this.remote === undefined) return [];
    const relayBefore = this.relayActive;
    this.remote = undefined;
    this.#echoed = false;
    this.#negotiation.forget();
    return [{ kind: 'down', reason }, ...this.#recompute(relayBefore, reason)];
  }

  /** Why `tlv` looks like that of a bridge which lost its state since `before`; undefined when it does not (evb-tlv.md 1.8). */
  #restarted(before: EvbTlv, tlv: EvbTlv): string | undefined {
    const echo = tlv.stationStatus;
    // A status without RRREQ that is filled in is the late echo of a request of ours to turn relay off.
    const asked = !this.#policy.reflectiveRelay || (!echo.rrreq && !isBlank(echo));
    if (before.bridgeStatus.rrctr && !tlv.bridgeStatus.rrctr && tlv.bridgeStatus.rrcap && !asked) {
      return 'the bridge turned relay off without being asked: it restarted';
    }
    if (this.#echoed && isBlank(echo)) return 'the bridge no longer echoes our status: it restarted';
    return undefined;
  }

  #recompute(relayBefore: boolean, reason: string, changes: EvbEffect[] = []): EvbEffect[] {
    if (this.relayActive !== relayBefore) changes.push({ kind: 'relay', active: this.relayActive, reason });
    const effects = this.#told.update(this.#build(), changes, this.#negotiation.operational());
    // A blank status and one that was never filled in look the same: neither tells an echo.
    if (isBlank(this.tlv.stationStatus)) this.#echoed = false;
    return effects;
  }

  #build(): EvbTlv {
    const remote = this.remote;
    return {
      bridgeStatus: remote?.bridgeStatus ?? { bgid: false, rrcap: false, rrctr: false },
      stationStatus: {
        sgid: this.#policy.groupIds,
        rrreq: this.#policy.reflectiveRelay,
        rrstat: remote === undefined ? RRSTAT_UNKNOWN : remote.bridgeStatus.rrctr ? 1 : 0,
      },
      mode: EVB_MODE_STATION,
      ...this.#negotiation.transmit(),
    };
  }
}

function relayReason(tlv: EvbTlv): string {
  if (tlv.bridgeStatus.rrctr) return 'the bridge reflects';
  return tlv.bridgeStatus.rrcap
    ? 'the bridge has not turned relay on'
    : 'the bridge is not capable of reflective relay';
}
